//! Calls in flight during the graceful shutdown of the gateway.

mod support;

use std::time::{Duration, Instant};

use support::*;
use tidegate_testkit::{Provider, Reply};
use tokio::net::TcpStream;

const REQUEST: &str = r#"{"model":"any","stream":true,"messages":[]}"#;

#[tokio::test]
async fn calls_in_flight_are_completed_and_new_ones_are_not_accepted() {
    let reply = Reply::ok().tokens(10).pace(Duration::from_millis(50));
    let provider = Provider::openai().otherwise(reply).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let addr = gateway.addr();
    // An idle connection does not delay the shutdown.
    let idle = TcpStream::connect(addr).await.unwrap();

    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let started = Instant::now();
    let reading = tokio::spawn(response.text());
    assert_eq!(gateway.stop().await, 0);
    let took = started.elapsed();
    let text = reading.await.unwrap().unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(took > Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    TcpStream::connect(addr).await.unwrap_err();
    drop(idle);
}

#[tokio::test]
async fn a_call_that_exceeds_the_drain_time_is_aborted() {
    let provider = Provider::openai().otherwise(Reply::ok().stall_after(1)).start().await.unwrap();
    let file = "drain = \"200ms\"\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let started = Instant::now();
    let reading = tokio::spawn(response.text());
    assert_eq!(gateway.stop().await, 1);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(2), "{took:?}");
    let text = reading.await.unwrap().unwrap();
    assert!(text.contains("the gateway stops"), "{text}");
    provider.log().in_flight_is(0).await;
}

#[tokio::test]
async fn a_dropped_gateway_stops_at_once() {
    let provider = Provider::openai().otherwise(Reply::ok().stall_after(1)).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    drop(gateway);
    response.text().await.unwrap_err();
    provider.log().in_flight_is(0).await;
}
