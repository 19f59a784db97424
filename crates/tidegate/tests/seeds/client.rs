//! Seed items 62 to 69: all parts together, as a client uses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate::circuit_breaker::State;
use tidegate::fallback::FallbackInfo;
use tidegate::provider::{Gate, Verdict};
use tidegate::{
    BoxError, CircuitBreakerLayer, FallbackLayer, Payload, Rejection, ResilienceBuilder, RetryLayer, Trail,
};
use tidegate_testkit::strict::{self, Answer};
use tower::service_fn;

use crate::{any_request, completion, configured};

fn opens_at_once() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().failure_threshold(1)
}

/// Seed item 62. Here, a part is turned on by its presence, and no part is on by default.
#[tokio::test(start_paused = true)]
async fn a_part_is_on_if_it_is_configured() {
    for (text, attempts, opens) in [
        ("", 1, false),
        ("retry = {}", 4, false),
        ("circuit_breaker = { failure_threshold = 1 }", 1, true),
        ("retry = { max_retries = 1 }\ncircuit_breaker = { failure_threshold = 1 }", 1, true),
    ] {
        let (stack, provider) = configured(text);
        provider.otherwise(Answer::status(503));
        assert_eq!(stack.send(any_request()).await.unwrap().status(), 503, "{text}");
        assert_eq!(provider.calls(), attempts, "{text}");
        assert_eq!(stack.signals().snapshot().circuit_state == State::Open, opens, "{text}");
    }
    let (first, primary) = strict::service();
    let (second, _other) = strict::service();
    primary.answer(503);
    let chain =
        ResilienceBuilder::new("a/one").fallback(FallbackLayer::new().then("b/two", second)).service(first);
    assert_eq!(chain.send(any_request()).await.unwrap().status(), 200);
}

/// Seed item 62. Here, only if it is configured, since a response that takes five minutes may be a good one.
#[tokio::test(start_paused = true)]
async fn a_total_timeout_of_thirty_seconds_is_opt_in() {
    let (stack, provider) = configured("timeout = { total = 30 }");
    provider.answer(200).after(Duration::from_secs(31));
    provider.answer(200).after(Duration::from_secs(29));
    let start = tokio::time::Instant::now();
    assert!(stack.send(any_request()).await.is_err());
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    assert_eq!(stack.send(any_request()).await.unwrap().status(), 200);
}

/// Seed item 63. Here, no other target is tried either, unless the program adds it.
#[tokio::test(start_paused = true)]
async fn no_cache_or_fallback_is_used_by_default() {
    let (stack, provider) = configured("retry = {}\ncircuit_breaker = {}");
    provider.answer(200).header("content-type", "application/json").body(completion("we are"));
    stack.send(any_request()).await.unwrap().into_body().collect().await.unwrap();
    provider.otherwise(Answer::status(503));
    let response = stack.send(any_request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.extensions().get::<FallbackInfo>().is_none());
    assert!(stack.signals().snapshot().fallback.is_empty());
}

/// Seed item 64. Here, the parameters of a call are those of the caller, in the dialect of the provider; none
/// has a default.
#[tokio::test(start_paused = true)]
async fn the_request_body_is_forwarded_unchanged() {
    let (stack, provider) = configured(
        "retry = {}\ncircuit_breaker = {}\nbackpressure = {}\nrate_limiter = { requests_per_second = 10 }",
    );
    let request = any_request();
    let sent = request.body().bytes().cloned();
    stack.send(request).await.unwrap();
    assert!(sent.is_some());
    assert_eq!(provider.requests()[0].body, sent);
}

/// Seed item 65.
#[tokio::test(start_paused = true)]
async fn a_response_carries_its_trail_and_fallback_info() {
    let [(first, primary), (second, _other)] = [strict::service(), strict::service()];
    let other = ResilienceBuilder::new("b/two").service(second);
    let stack = ResilienceBuilder::new("a/one")
        .retry(RetryLayer::exponential().max_retries(1))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2).max_attempts_counted_per_call(2))
        .fallback(FallbackLayer::new().then("b/two", other))
        .service(first);
    let response = stack.send(any_request()).await.unwrap();
    assert!(
        response.extensions().get::<FallbackInfo>().is_none() && Trail::of(response.extensions()).is_none()
    );
    drop(response);

    primary.otherwise(Answer::status(503));
    let took = async || {
        let response = stack.send(any_request()).await.unwrap();
        assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().target(), "b/two");
        let trail = Trail::of(response.extensions()).unwrap();
        let has = |is_it: fn(&Verdict) -> bool| trail.steps().iter().any(|step| is_it(&step.verdict));
        let is_retried = has(|verdict| matches!(verdict, Verdict::Waiting(_)));
        let is_rejected =
            has(|verdict| matches!(verdict, Verdict::Rejected { gate: Gate::CircuitBreaker, .. }));
        (is_retried, is_rejected, trail.attempts())
    };
    assert_eq!(took().await, (true, false, 3));
    assert_eq!(took().await, (false, true, 1), "the circuit is open now");
}

/// Seed items 30 and 66. Here, the last response is returned, since it has the current state; the first
/// failure is in the trail. (With a last resort, its answer is returned:
/// `the_emergency_answer_is_last_and_works_past_the_deadline`.)
#[tokio::test(start_paused = true)]
async fn without_a_last_resort_the_last_response_or_error_is_returned() {
    let [(first, primary), (second, other)] = [strict::service(), strict::service()];
    primary.answer(500).body("first");
    other.answer(503).body("last");
    let layer = FallbackLayer::new().then("b/two", second);
    let stack = ResilienceBuilder::new("a/one").fallback(layer).service(first);
    let response = stack.send(any_request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(
        Trail::of(response.extensions()).unwrap().attempts(),
        1,
        "the other target has no stack, and no wire that records"
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "last");

    // An error is returned unchanged as well.
    primary.answer(500);
    other.then(Answer::error("connection refused"));
    assert_eq!(stack.send(any_request()).await.unwrap_err().to_string(), "connection refused");
}

/// Seed item 67.
#[tokio::test(start_paused = true)]
async fn a_stack_is_degraded_until_its_circuit_closes_and_reports_each_part() {
    let (service, provider) = strict::service();
    let stack = ResilienceBuilder::new("a/one").circuit_breaker(opens_at_once()).service(service);
    let signals = stack.signals();
    assert!(signals.is_healthy());
    provider.answer(500);
    stack.send(any_request()).await.unwrap();
    assert!(!signals.is_healthy());
    let snapshot = serde_json::to_value(signals.snapshot()).unwrap();
    assert_eq!((&snapshot["target"], &snapshot["circuit_state"]), (&"a/one".into(), &"open".into()));
    for part in ["current_inflight", "rate_remaining", "retry", "fallback"] {
        assert!(snapshot.get(part).is_some(), "{part}");
    }
    // The circuit is half-open: one successful probe is required to close it.
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(!signals.is_healthy());
    stack.send(any_request()).await.unwrap().into_body().collect().await.unwrap();
    assert!(signals.is_healthy());
}

/// Seed item 68.
#[tokio::test(start_paused = true)]
async fn reset_closes_the_circuit() {
    let (service, provider) = strict::service();
    let stack = ResilienceBuilder::new("a/one").circuit_breaker(opens_at_once()).service(service);
    provider.answer(500);
    stack.send(any_request()).await.unwrap();
    let error = stack.send(any_request()).await.unwrap_err();
    assert_eq!(Rejection::find(&*error).unwrap().gate(), Gate::CircuitBreaker);
    stack.signals().reset();
    assert!(stack.signals().is_healthy());
    assert_eq!(stack.send(any_request()).await.unwrap().status(), 200);
    assert_eq!(provider.calls(), 2);
}

/// Seed item 69.
#[tokio::test(start_paused = true)]
async fn three_failures_of_ten_are_hidden_by_retries() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let provider = service_fn(move |_: Request<Payload>| {
        let fails = matches!(counting.fetch_add(1, Ordering::Relaxed) % 10, 1 | 5 | 6);
        async move {
            let status = if fails { 503 } else { 200 };
            Ok::<_, BoxError>(Response::builder().status(status).body(Payload::empty()).unwrap())
        }
    });
    let stack = ResilienceBuilder::new("a/one")
        .retry(RetryLayer::exponential())
        .circuit_breaker(CircuitBreakerLayer::new())
        .service(provider);
    for _ in 0..70 {
        let response = stack.send(any_request()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 100, "three of ten were retried");
    assert!(stack.signals().is_healthy());
}
