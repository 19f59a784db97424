//! Attempts that should not have been made, and waits without a purpose.

use std::time::{Duration, SystemTime};

use http::response::Parts;
use http_body_util::BodyExt;
use tidegate::provider::{Classifier, Gate};
use tidegate::retry::Jitter;
use tidegate::{CircuitBreakerLayer, ErrorCode, Outcome, Rejection, ResilienceBuilder, RetryLayer};
use tidegate_testkit::strict::Answer;
use tower::{Layer, ServiceExt};

use crate::support::{SECOND, call, complete, now, request, strict};

/// Pitfall P04 (docs/pitfalls.md): the failure that opened the circuit was followed by a back-off of 11 s,
/// and then by a rejection that was certain before it: "circuit open for another 288s". The response of the
/// provider was lost.
#[tokio::test(start_paused = true)]
async fn no_back_off_before_a_certain_rejection() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503).body("the provider's own message"));
    let mut service = ResilienceBuilder::new("")
        .retry(RetryLayer::exponential().initial_delay(20 * SECOND).max_delay(20 * SECOND).seed(3))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1).cooldown(300 * SECOND))
        .service(inner);
    let start = now();
    let response = call(&mut service).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls(), now() - start), (503, 1, Duration::ZERO));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "the provider's own message");
    assert_eq!(service.signals().snapshot().retry.retries, 0);
}

/// The same while an operator keeps the circuit open, of which no end is known. While others probe, the end may
/// be near.
#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_open_stays_open_and_one_that_probes_may_not() {
    let stack = |circuit: &CircuitBreakerLayer| {
        let retry = RetryLayer::exponential().initial_delay(SECOND / 10).jitter(Jitter::None);
        ResilienceBuilder::new("").retry(retry).circuit_breaker(circuit.clone())
    };
    let (inner, provider) = strict();
    let circuit = CircuitBreakerLayer::new();
    let service = stack(&circuit).service(inner);
    provider.answer(503).after(SECOND);
    let in_flight = tokio::spawn(service.oneshot(request()));
    tokio::task::yield_now().await;
    circuit.handle().force_open();
    assert_eq!((in_flight.await.unwrap().unwrap().status().as_u16(), provider.calls()), (503, 1));

    let (inner, provider) = strict();
    let circuit = CircuitBreakerLayer::new()
        .failure_threshold(1)
        .cooldown(5 * SECOND)
        .cooldown_jitter(0.0)
        .half_open_max(1);
    let mut service = stack(&circuit).service(inner);
    provider.answer(503).after(6 * SECOND);
    let in_flight = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    provider.answer(503);
    complete(&mut service).await.unwrap();
    tokio::time::sleep(11 * SECOND / 2).await;
    provider.answer(200).after(SECOND * 55 / 100);
    let probe = tokio::spawn(service.clone().oneshot(request()));
    assert_eq!(in_flight.await.unwrap().unwrap().status(), 200);
    assert_eq!((probe.await.unwrap().unwrap().status().as_u16(), provider.calls()), (200, 4));
}

/// Calls that an open circuit had rejected made deposits into the retry budget: after 600 of them, 30 calls
/// had 90 retries.
#[tokio::test(start_paused = true)]
async fn rejected_calls_make_no_deposit() {
    let (inner, provider) = strict();
    let layer = RetryLayer::exponential().budget(0.2, 0);
    let mut service = layer.layer(inner);
    let reject = || Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into();
    provider.otherwise(Answer::error_with(reject));
    for _ in 0..600 {
        complete(&mut service).await.unwrap_err();
    }
    provider.otherwise(Answer::status(503));
    for _ in 0..30 {
        complete(&mut service).await.unwrap();
    }
    assert_eq!(layer.handle().statistics().retries, 6);
}

/// Pitfall P32 (docs/pitfalls.md): zero times infinity is NaN, and was taken as the longest wait: 24 s with
/// an initial delay of zero.
#[tokio::test(start_paused = true)]
async fn an_initial_delay_of_zero_stays_zero_with_any_multiplier() {
    for multiplier in [2.0, f64::MAX, f64::INFINITY, f64::NAN] {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(503));
        let layer = RetryLayer::exponential().initial_delay(Duration::ZERO).backoff_multiplier(multiplier);
        let start = now();
        complete(&mut layer.layer(inner)).await.unwrap();
        assert_eq!((provider.calls(), now() - start), (4, Duration::ZERO), "{multiplier}");
    }
}

/// Classifies every response as a success.
#[derive(Clone)]
struct AlwaysSuccess;

impl Classifier for AlwaysSuccess {
    fn needs_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, _: &Parts, _: &[u8], _: SystemTime) -> Outcome {
        Outcome::Success
    }
}

/// A 503 that the classifier had classified as a success carried no outcome. It was classified by its status
/// again, and retried three times.
#[tokio::test(start_paused = true)]
async fn a_success_of_the_classifier_is_not_retried() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503));
    let mut service =
        ResilienceBuilder::new("").retry(RetryLayer::exponential()).classify(AlwaysSuccess).service(inner);
    assert_eq!((complete(&mut service).await.unwrap(), provider.calls()), (503, 1));
}
