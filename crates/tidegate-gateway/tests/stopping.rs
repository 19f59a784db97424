//! What becomes of calls in flight when the gateway is told to stop.

mod support;

use std::time::{Duration, Instant};

use support::*;
use tidegate_testkit::{Provider, Reply};
use tokio::net::TcpStream;

const ASK: &str = r#"{"model":"any","stream":true,"messages":[]}"#;

#[tokio::test]
async fn calls_in_flight_end_in_peace_and_new_ones_do_not_begin() {
    let reply = Reply::ok().tokens(10).pace(Duration::from_millis(50));
    let provider = Provider::openai().otherwise(reply).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let addr = gateway.addr();
    // A connection that waits for its next call holds nobody up.
    let idle = TcpStream::connect(addr).await.unwrap();

    let answer = chat(&gateway, ASK).send().await.unwrap();
    let started = Instant::now();
    let reading = tokio::spawn(answer.text());
    gateway.stop().await;
    let took = started.elapsed();
    let text = reading.await.unwrap().unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(took > Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    TcpStream::connect(addr).await.unwrap_err();
    drop(idle);
}

#[tokio::test]
async fn a_call_that_outlives_the_drain_time_is_cut() {
    let provider = Provider::openai().otherwise(Reply::ok().stall_after(1)).start().await.unwrap();
    let file = "drain = \"200ms\"\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let answer = chat(&gateway, ASK).send().await.unwrap();
    let started = Instant::now();
    gateway.stop().await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(2), "{took:?}");
    answer.text().await.unwrap_err();
    provider.log().in_flight_is(0).await;
}

#[tokio::test]
async fn dropped_it_ends_at_once() {
    let provider = Provider::openai().otherwise(Reply::ok().stall_after(1)).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let answer = chat(&gateway, ASK).send().await.unwrap();
    drop(gateway);
    answer.text().await.unwrap_err();
    provider.log().in_flight_is(0).await;
}
