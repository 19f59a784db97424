//! Fallback chains that ended early, or lost part of their trail.

use tidegate::provider::StatusClassifier;
use tidegate::{
    BackpressureLayer, ClassifyLayer, FallbackLayer, RateLimitLayer, ResilienceBuilder, RetryLayer, Trail,
};
use tidegate_testkit::strict::Answer;
use tower::{Layer, ServiceExt};

use crate::support::{SECOND, call, complete, request, strict};

/// When the first target was retried and ended in an error, its trail was lost: of four attempts, two were
/// recorded.
#[tokio::test(start_paused = true)]
async fn the_trail_continues_after_a_first_target_that_ends_in_an_error() {
    let ((first, primary), (second, _other)) = (strict(), strict());
    primary.otherwise(Answer::error("connection refused"));
    let wire = ClassifyLayer::new(StatusClassifier);
    let retried = RetryLayer::exponential().max_retries(2).layer(wire.layer(first));
    let mut chain = FallbackLayer::new().then("other", wire.layer(second)).layer(retried);
    let response = call(&mut chain).await.unwrap();
    assert_eq!(primary.calls(), 3);
    assert_eq!(Trail::of(response.extensions()).unwrap().attempts(), 4);
}

/// A gate that was closed for longer than the rest of the deadline rejected with `Gate::Deadline`, on which
/// the chain ended. Five seconds were left, and the other target was idle.
#[tokio::test(start_paused = true)]
async fn a_gate_closed_past_the_deadline_falls_back() {
    let ((first, primary), (second, other)) = (strict(), strict());
    let mut service = ResilienceBuilder::new("")
        .total_timeout(5 * SECOND)
        .rate_limit(RateLimitLayer::per_second(10))
        .fallback(FallbackLayer::new().then("other", second))
        .service(first);
    primary.answer(429).header("retry-after", "8");
    for calls in 1..=2 {
        assert_eq!(complete(&mut service).await.unwrap(), 200);
        assert_eq!((primary.calls(), other.calls()), (1, calls));
    }
}

/// The same with the deadline of the first target only, for a closed rate limit.
#[tokio::test(start_paused = true)]
async fn a_gate_closed_past_the_targets_own_deadline_falls_back() {
    let ((first, primary), (second, other)) = (strict(), strict());
    let target = ResilienceBuilder::new("openai/gpt-4o")
        .total_timeout(5 * SECOND)
        .rate_limit(RateLimitLayer::per_second(10))
        .service(first);
    let mut chain = FallbackLayer::new().then("other", second).layer(target);
    primary.answer(429).header("retry-after", "8");
    for calls in 1..=2 {
        assert_eq!(complete(&mut chain).await.unwrap(), 200);
        assert_eq!((primary.calls(), other.calls()), (1, calls));
    }
}

/// The same with the deadline of the first target only, for a limit of calls in flight.
#[tokio::test(start_paused = true)]
async fn a_target_without_permits_until_its_own_deadline_falls_back() {
    let ((first, primary), (second, other)) = (strict(), strict());
    let target = ResilienceBuilder::new("openai/gpt-4o")
        .total_timeout(5 * SECOND)
        .backpressure(BackpressureLayer::max_inflight(1))
        .service(first);
    let mut chain = FallbackLayer::new().then("other", second).layer(target);
    primary.answer(200).stall();
    let _streaming = chain.clone().oneshot(request()).await.unwrap();
    assert_eq!(complete(&mut chain).await.unwrap(), 200);
    assert_eq!((primary.calls(), other.calls()), (1, 1));
}
