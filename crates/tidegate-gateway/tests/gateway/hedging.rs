//! Hedges through the gateway: a late request is sent to the next provider as well.

use std::time::Duration;

use crate::support::*;
use reqwest::{Method, Response};
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply, Server};

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;
const STREAM: &str = r#"{"model":"any","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

/// The calls of the first provider before one of them may be hedged.
const USUAL_CALLS: usize = 20;

/// Hedges after 300 ms at the earliest, so that a busy machine is not taken for a late provider.
const HEDGE: &str = "policies.default.hedge = { min_samples = 20, percentile = 80, min_delay = \"300ms\" }\n";

struct Fixture {
    gateway: RunningGateway,
    first: Server,
    second: Server,
}

async fn fixture(policy: &str, request: &'static str) -> Fixture {
    let start = async |text: &str| Provider::openai().otherwise(Reply::text(text)).start().await.unwrap();
    let (first, second) = (start("of the first").await, start("of the second").await);
    let providers = openai("a", &first.base_url()) + &openai("b", &second.base_url());
    let gateway = gateway(&(policy.to_owned() + &providers + &route("*", &["a/m", "b/m"]))).await;
    for _ in 0..USUAL_CALLS {
        let response = chat(&gateway, request).send().await.unwrap();
        assert_eq!(header(&response, "x-tidegate-target"), Some("a/m"));
        response.bytes().await.unwrap();
    }
    Fixture { gateway, first, second }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_late_request_is_answered_by_the_next_provider() {
    for request in [REQUEST, STREAM] {
        let Fixture { gateway, first, second } = fixture(HEDGE, request).await;
        first.script().then(Reply::hang());
        let response = chat(&gateway, request).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = ["target", "hedge", "attempts", "fallback"]
            .map(|name| header(&response, &format!("x-tidegate-{name}")).unwrap_or_default().to_owned());
        assert_eq!(headers, ["b/m", "won", "2", "alternative_model"]);
        assert!(response.text().await.unwrap().contains("second"));
        first.log().in_flight_is(0).await;
        assert_eq!(
            (first.log().abandoned(), second.log().calls()),
            (1, 1),
            "the provider that was late is left"
        );
    }
}

#[tokio::test]
async fn the_trail_of_the_call_shows_both_attempts() {
    let Fixture { gateway, first, second: _second } = fixture(HEDGE, REQUEST).await;
    first.script().then(Reply::hang());
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let id = header(&response, "x-tidegate-call").unwrap().to_owned();
    response.bytes().await.unwrap();
    let call = client().request(Method::GET, url(&gateway, &format!("/calls/{id}"))).send().await.unwrap();
    let call = json(call).await;
    let steps = call["trail"]["steps"].as_array().unwrap();
    let verdicts: Vec<_> = steps.iter().map(|step| step["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["hedged", "succeeded", "cancelled"], "{call}");
    assert_eq!((&steps[0]["to"], &steps[0]["target"]), (&"b/m".into(), &"a/m".into()));
}

/// Regression: the error of the gateway itself did not have the header.
#[tokio::test]
async fn a_hedge_of_a_call_without_a_response_is_lost() {
    let policy = HEDGE.to_owned() + "policies.default.timeout.total = \"1s\"\n";
    let Fixture { gateway, first, second } = fixture(&policy, REQUEST).await;
    first.script().then(Reply::hang());
    second.script().then(Reply::hang());
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let headers = ["x-tidegate-hedge", "x-tidegate-attempts"].map(|name| header(&response, name));
    assert_eq!((response.status().as_u16(), headers), (504, [Some("lost"), Some("2")]));
}

#[tokio::test]
async fn a_request_that_must_not_run_twice_is_not_hedged() {
    let Fixture { gateway, first, second } = fixture(HEDGE, REQUEST).await;
    let late = Reply::text("of the first").latency(Duration::from_millis(900));
    first.script().then(late.clone());
    let keyed = chat(&gateway, REQUEST).header("idempotency-key", "mine");
    assert_eq!(header(&keyed.send().await.unwrap(), "x-tidegate-hedge"), None);
    first.script().then(late);
    let stored = r#"{"model":"any","store":true,"messages":[{"role":"user","content":"hello"}]}"#;
    assert_eq!(header(&chat(&gateway, stored).send().await.unwrap(), "x-tidegate-hedge"), None);
    assert_eq!(second.log().calls(), 0);
    first.script().then(Reply::hang());
    assert_eq!(header(&chat(&gateway, REQUEST).send().await.unwrap(), "x-tidegate-hedge"), Some("won"));
    assert_eq!(second.log().calls(), 1);
}

#[tokio::test]
async fn nothing_is_hedged_without_the_policy() {
    let Fixture { gateway, first, second } = fixture("", REQUEST).await;
    first.script().then(Reply::text("of the first").latency(Duration::from_millis(900)));
    assert_eq!(header(&chat(&gateway, REQUEST).send().await.unwrap(), "x-tidegate-hedge"), None);
    assert_eq!(second.log().calls(), 0);
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_both_attempts() {
    let Fixture { gateway, first, second } = fixture(HEDGE, REQUEST).await;
    first.script().then(Reply::hang());
    second.script().then(Reply::hang());
    let call = tokio::spawn(chat(&gateway, REQUEST).send());
    second.log().calls_reach(1).await;
    call.abort();
    first.log().in_flight_is(0).await;
    second.log().in_flight_is(0).await;
}
