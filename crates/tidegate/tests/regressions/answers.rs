//! Response bodies that were longer than announced, or kept open.

use std::time::SystemTime;

use http::response::Parts;
use http_body_util::BodyExt;
use tidegate::provider::Classifier;
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, ClassifyLayer, Outcome, ResilienceBuilder, RetryLayer,
};
use tidegate_testkit::strict::Answer;
use tower::Layer;

use crate::support::{SECOND, call, in_time, strict};

/// Reads the body of every failed response, and classifies by the status only.
#[derive(Clone)]
struct BodyReader;

impl Classifier for BodyReader {
    fn needs_body(&self, _: &Parts) -> bool {
        true
    }

    fn classify(&self, head: &Parts, _: &[u8], now: SystemTime) -> Outcome {
        Outcome::of_head(head.status, &head.headers, now)
    }
}

/// The head of a 401 arrived at once, but its body stalled. The 401 became a timeout after 30 s and was
/// retried, and two of them opened the circuit.
#[tokio::test(start_paused = true)]
async fn an_error_body_that_stalls_is_classified_by_its_status() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(401).frame("{").stall());
    let mut service = ResilienceBuilder::new("openai/gpt-4o")
        .attempt_timeout(30 * SECOND)
        .retry(RetryLayer::exponential().max_retries(1))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2))
        .classify(BodyReader)
        .service(inner);
    let (response, took) = in_time(call(&mut service)).await;
    assert_eq!((response.unwrap().status().as_u16(), provider.calls()), (401, 1));
    assert!(took <= 5 * SECOND, "{took:?}");
    assert!(service.signals().is_healthy());
}

/// An error body was buffered up to a bound in bytes, and empty frames have none: three million of them
/// occupied 277 MiB.
#[tokio::test(start_paused = true)]
async fn empty_frames_of_an_error_body_are_not_buffered() {
    let (inner, provider) = strict();
    let empty = (0..10_000).fold(Answer::status(500), |answer, _| answer.frame(""));
    provider.then(empty.frame("out of order"));
    let mut body = call(&mut ClassifyLayer::new(BodyReader).layer(inner)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "out of order");
    assert!(body.frame().await.is_none());
}

/// Pitfall P03 (docs/pitfalls.md): a body that was cut off by a timeout released its permit, and kept its
/// connection until the caller dropped the body. One call in flight was allowed, and more connections were
/// open.
#[tokio::test(start_paused = true)]
async fn a_body_that_was_cut_off_releases_its_connection_with_its_permit() {
    let (inner, provider) = strict();
    provider.answer(200).frame("tok").stall();
    let mut service = ResilienceBuilder::new("")
        .attempt_timeout(SECOND)
        .backpressure(BackpressureLayer::max_inflight(1))
        .service(inner);
    let mut response = call(&mut service).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    response.body_mut().frame().await.unwrap().unwrap_err();
    assert_eq!((service.signals().snapshot().current_inflight, provider.live_bodies()), (0, 0));
}
