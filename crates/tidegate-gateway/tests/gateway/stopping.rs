//! Calls in flight during the graceful shutdown of the gateway.

use std::time::{Duration, Instant};

use crate::support::*;
use tidegate_testkit::{Provider, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

    let started = Instant::now();
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let reading = tokio::spawn(response.text());
    assert_eq!(gateway.stop().await, 0);
    let took = started.elapsed();
    let text = reading.await.unwrap().unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(10), "{took:?}");
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
    assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(8), "{took:?}");
    let text = reading.await.unwrap().unwrap();
    assert!(text.contains("the gateway stops"), "{text}");
    provider.log().in_flight_is(0).await;
}

/// Regression: the response had no attempt, although the provider had the request.
#[tokio::test]
async fn a_call_that_is_aborted_before_its_head_has_the_attempt_in_flight() {
    let provider = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let file = "drain = \"200ms\"\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let call = tokio::spawn(chat(&gateway, REQUEST).send());
    provider.log().calls_reach(1).await;
    assert_eq!(gateway.stop().await, 1);
    let response = call.await.unwrap().unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-attempts"]),
        (503, &"1".parse().unwrap())
    );
}

/// Callers that begin no request, or a part of one, would otherwise hold a stop for the whole drain time.
#[tokio::test]
async fn connections_without_a_complete_request_do_not_delay_the_stop() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = "drain = \"60s\"\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n";
    let mut callers = Vec::new();
    for part in [
        "",
        "P",
        "PRI",
        head,
        &format!("{head}content-length: 1000\r\n\r\n{{\"model\":"),
        &format!("{head}transfer-encoding: chunked\r\n\r\n9\r\n{{\"m"),
        HEALTH,
        &format!("{HEALTH}{head}"),
        &PREFACE[..18],
        PREFACE,
        // An empty frame of settings, and one that announces more than it has.
        &format!("{PREFACE}\0\0\0\x04\0\0\0\0\0"),
        &format!("{PREFACE}\0\0\0\x04\0\0\0\0\0\0\0\x40\x01\x05\0\0\0\x01\0"),
    ] {
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        caller.write_all(part.as_bytes()).await.unwrap();
        if part.starts_with(HEALTH) {
            assert!(caller.read(&mut [0; 64]).await.unwrap() > 0);
        }
        callers.push(caller);
    }
    assert_eq!(chat(&gateway, REQUEST).send().await.unwrap().status(), 200);
    let started = Instant::now();
    assert_eq!(gateway.stop().await, 0);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_request_that_arrives_slowly_and_a_response_that_is_read_late_are_completed() {
    let long = "x".repeat(24 * 1024 * 1024);
    let provider = Provider::openai().then(Reply::text(&long)).otherwise(Reply::ok()).start().await.unwrap();
    let file = "drain = \"60s\"\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let request = request_bytes(r#"{"model":"any","messages":[]}"#);
    let mut late = TcpStream::connect(gateway.addr()).await.unwrap();
    late.write_all(request.as_bytes()).await.unwrap();
    let begin = late.read_u8().await.unwrap();
    let mut slow = TcpStream::connect(gateway.addr()).await.unwrap();
    let (first, rest) = request.split_at(request.len() - 10);
    slow.write_all(first.as_bytes()).await.unwrap();
    let stopping = tokio::spawn(gateway.stop());
    for byte in rest.bytes() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        slow.write_all(&[byte]).await.unwrap();
    }
    let mut responses = [Vec::new(), vec![begin]];
    slow.read_to_end(&mut responses[0]).await.unwrap();
    late.read_to_end(&mut responses[1]).await.unwrap();
    assert_eq!(stopping.await.unwrap(), 0);
    let [slow, late] = responses.map(|response| String::from_utf8(response).unwrap());
    assert!(slow.starts_with("HTTP/1.1 200 ") && slow.ends_with('}'), "{slow}");
    assert!(late.contains(&long) && late.ends_with('}'), "{} bytes", late.len());
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
