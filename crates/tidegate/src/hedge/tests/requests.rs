//! Requests that must not run twice.

use http::Method;

use super::*;
use crate::retry::RetryOverride;
use crate::{AttemptBudget, RetryLayer};

async fn calls_when_late(request: Request<Payload>) -> usize {
    let (mut service, provider) = strict_behind(&stack("a/m").build());
    warm_up(&mut service, &provider).await;
    provider.otherwise(Answer::status(200).after(30 * SECOND));
    let before = provider.calls();
    let _ = send(&mut service, request).await;
    provider.calls() - before
}

fn post(path: &str, body: &'static str) -> Request<Payload> {
    Request::post(format!("http://provider{path}")).body(Payload::from(body)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_for_an_answer_are_hedged() {
    assert_eq!(calls_when_late(request()).await, 2);
    assert_eq!(calls_when_late(post("/v1/chat/completions", r#"{"model":"m"}"#)).await, 2);
    assert_eq!(calls_when_late(post("/v1/responses", r#"{"model":"m","store":false}"#)).await, 2);
    let mut get = request();
    *get.method_mut() = Method::GET;
    assert_eq!(calls_when_late(get).await, 2);
    let budget = request_with(AttemptBudget::new(2));
    assert_eq!(calls_when_late(budget).await, 2);
}

#[tokio::test(start_paused = true)]
async fn requests_that_must_not_run_twice_are_not_hedged() {
    let changed = |change: fn(&mut Request<Payload>)| {
        let mut request = request();
        change(&mut request);
        request
    };
    for (name, request) in [
        ("no retries", request_with(RetryOverride::off())),
        ("no attempt left", request_with(AttemptBudget::new(1))),
        ("past its deadline", with_deadline(request(), 60 * SECOND)),
        (
            "a key of the caller",
            changed(|request| {
                request.headers_mut().insert("idempotency-key", "mine".parse().unwrap());
            }),
        ),
        ("a method that changes a resource", changed(|request| *request.method_mut() = Method::DELETE)),
        ("a stored response", post("/v1/responses", r#"{"model":"m"}"#)),
        ("a tool of the provider", post("/v1/chat/completions", r#"{"tools":[{"type":"web_search"}]}"#)),
        ("a file", post("/v1/files", "")),
    ] {
        assert!(calls_when_late(request).await <= 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_to_be_kept_is_not_hedged() {
    for (cap, calls) in [(2, 1), (100, 2)] {
        let (mut service, provider) =
            strict_behind(&FallbackLayer::new().body_cap(cap).hedge(HedgeLayer::new()));
        warm_up(&mut service, &provider).await;
        provider.otherwise(Answer::status(200).after(30 * SECOND));
        let before = provider.calls();
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"a prompt"));
        let streamed = request().map(|_| Payload::streamed(body));
        send(&mut service, streamed).await.unwrap();
        assert_eq!(provider.calls() - before, calls, "{cap}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_has_one_attempt_and_a_key_of_its_own() {
    let retry = RetryLayer::exponential().max_retries(3).idempotency_key(true).seed(1);
    let (mut service, provider) = strict_behind(&stack("a/m").retry(retry).build());
    warm_up(&mut service, &provider).await;
    provider.answer(200).after(10 * SECOND);
    provider.answer(503);
    let before = provider.calls();
    let budget = request_with(AttemptBudget::new(5));
    let left = AttemptBudget::of(budget.extensions()).unwrap().clone();
    assert_eq!(send(&mut service, budget).await.unwrap().status(), 200);
    let keys: Vec<_> =
        provider.requests()[before..].iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    assert_eq!((keys.len(), left.remaining()), (2, 3));
    assert_ne!(keys[0], keys[1]);
}
