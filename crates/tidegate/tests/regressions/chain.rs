//! Chains that ended early, or forgot where they had been.

use tidegate::{
    BackpressureLayer, ClassifyLayer, FallbackLayer, RateLimitLayer, ResilienceBuilder, RetryLayer,
    StatusClassifier, Trail,
};
use tidegate_testkit::strict::Answer;
use tower::{Layer, ServiceExt};

use crate::support::{SECOND, call, complete, request, strict};

/// A first target that was retried and ended in an error took its trail with it: of four attempts two were told.
#[tokio::test(start_paused = true)]
async fn the_trail_of_a_first_target_that_ends_in_an_error_goes_on() {
    let ((first, primary), (second, _other)) = (strict(), strict());
    primary.otherwise(Answer::error("connection refused"));
    let wire = ClassifyLayer::new(StatusClassifier);
    let retried = RetryLayer::exponential().max_retries(2).layer(wire.layer(first));
    let mut chain = FallbackLayer::new().then("other", wire.layer(second)).layer(retried);
    let response = call(&mut chain).await.unwrap();
    assert_eq!(primary.calls(), 3);
    assert_eq!(Trail::of(response.extensions()).unwrap().attempts(), 4);
}

/// A gate that was closed for longer than the call had time refused in the name of the deadline, and on a deadline
/// the chain gave up: five seconds were left, and the other target idle.
#[tokio::test(start_paused = true)]
async fn a_gate_closed_past_the_deadline_falls_over() {
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

/// The same where the deadline was the first target's own and the call had none: a closed gate.
#[tokio::test(start_paused = true)]
async fn a_target_whose_gate_is_closed_past_its_own_deadline_is_not_the_end_of_the_chain() {
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

/// And a full one.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_full_until_its_own_deadline_is_not_the_end_of_the_chain() {
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
