//! Attempts that should not have been made, and waits for nothing.

use std::time::{Duration, SystemTime};

use http::response::Parts;
use http_body_util::BodyExt;
use tidegate::{
    CircuitBreakerLayer, Classifier, ErrorCode, Gate, Outcome, Rejection, ResilienceBuilder, RetryLayer,
};
use tidegate_testkit::strict::Answer;
use tower::Layer;

use crate::support::{SECOND, call, complete, now, strict};

/// P04: the failure that opened the circuit was followed by a back-off of 11 s, at the end of which stood what was
/// certain at its beginning: "circuit open for another 288s", and the provider's own words were lost.
#[tokio::test(start_paused = true)]
async fn p04_no_back_off_before_a_refusal_that_is_certain() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503).body("the provider's own words"));
    let mut service = ResilienceBuilder::new("")
        .retry(RetryLayer::exponential().initial_delay(20 * SECOND).max_delay(20 * SECOND).seed(3))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1).cooldown(300 * SECOND))
        .service(inner);
    let start = now();
    let response = call(&mut service).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls(), now() - start), (503, 1, Duration::ZERO));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "the provider's own words");
    assert_eq!(service.signals().snapshot().retry.retries, 0);
}

/// Calls that an open circuit had refused paid into the budget of retries as if they had been traffic: after 600 of
/// them, 30 calls had 90 retries.
#[tokio::test(start_paused = true)]
async fn refused_calls_pay_for_no_retries() {
    let (inner, provider) = strict();
    let layer = RetryLayer::exponential().budget(0.2, 0);
    let mut service = layer.layer(inner);
    let refuse = || Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into();
    provider.otherwise(Answer::error_with(refuse));
    for _ in 0..600 {
        complete(&mut service).await.unwrap_err();
    }
    provider.otherwise(Answer::status(503));
    for _ in 0..30 {
        complete(&mut service).await.unwrap();
    }
    assert_eq!(layer.handle().statistics().retries, 6);
}

/// P32: nothing times infinity is no number, and was taken for the longest wait: 24 s with an initial delay of zero.
#[tokio::test(start_paused = true)]
async fn p32_a_first_wait_of_nothing_stays_nothing_whatever_it_is_multiplied_by() {
    for multiplier in [2.0, f64::MAX, f64::INFINITY, f64::NAN] {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(503));
        let layer = RetryLayer::exponential().initial_delay(Duration::ZERO).backoff_multiplier(multiplier);
        let start = now();
        complete(&mut layer.layer(inner)).await.unwrap();
        assert_eq!((provider.calls(), now() - start), (4, Duration::ZERO), "{multiplier}");
    }
}

/// Finds nothing wrong with any answer.
#[derive(Clone)]
struct Content;

impl Classifier for Content {
    fn wants_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, _: &Parts, _: &[u8], _: SystemTime) -> Outcome {
        Outcome::Success
    }
}

/// A 503 that the classifier had found good left no trace of that verdict, was read by its status again, and asked
/// for three times more.
#[tokio::test(start_paused = true)]
async fn the_classifier_has_the_last_word_on_what_is_a_success() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503));
    let mut service =
        ResilienceBuilder::new("").retry(RetryLayer::exponential()).classify(Content).service(inner);
    assert_eq!((complete(&mut service).await.unwrap(), provider.calls()), (503, 1));
}
