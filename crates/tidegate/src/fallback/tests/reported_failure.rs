//! Which failure is returned when all targets have failed.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::json;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::fallback::{AnswerCache, FallbackInfo, FallbackKind, FallbackLayer};
use crate::rate_limit::OnLimit;
use crate::testing::{chat_request, rejection, request, send, strict, with_deadline};
use crate::{
    Error, ErrorCode, Failure, Gate, HttpService, Outcome, Payload, RateLimitLayer, Rejection, Trail,
};

/// The translator in front of this target rejects the next request.
fn fail_translation(target: &Handle) {
    target.fail_with(|| Rejection::new(Gate::Translate, ErrorCode::InvalidRequest).into());
}

async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>,
{
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn run(
    chain: FallbackLayer,
    first: impl HttpService<Payload, Body: http_body::Body<Data = bytes::Bytes>> + Clone,
    request: Request<Payload>,
) -> Result<(u16, Option<String>, Option<Trail>, String), Error> {
    let response = send(&mut chain.layer(first), request).await?;
    let by = response.extensions().get::<FallbackInfo>().map(|info| info.target().to_owned());
    let trail = Trail::of(response.extensions()).cloned();
    Ok((response.status().as_u16(), by, trail, text(response).await))
}

/// Regression: a rate limit of the first target was reported as a mistake of the caller, because the request
/// could not be translated for the second.
#[tokio::test(start_paused = true)]
async fn a_translation_error_does_not_hide_a_response() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "7").body("slow down");
    fail_translation(&other);
    let result = run(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap();
    assert_eq!((result.0, result.1, &*result.3), (429, None, "slow down"));
    assert!(result.2.is_some());
}

/// Regression: a rejection by the gate of the last target replaced the kept response and its delay.
#[tokio::test(start_paused = true)]
async fn a_rejection_does_not_hide_a_response() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "7").body("slow down");
    other.fail_with(|| Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into());
    let result = run(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap();
    assert_eq!((result.0, result.1, &*result.3), (429, None, "slow down"));
}

/// The same for a target that was not called, because it did not become ready.
#[tokio::test(start_paused = true)]
async fn a_readiness_error_does_not_hide_a_response() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "7").body("slow down");
    other.fail_ready("worker gone");
    let result = run(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap();
    assert_eq!((result.0, result.1, &*result.3), (429, None, "slow down"));
}

/// Regression: the kept rejection was from before the first attempt was sent, and was not marked.
#[tokio::test(start_paused = true)]
async fn a_kept_rejection_is_marked_after_a_simplified_attempt() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a\nb\nc\nd"}]});
    let question = chat_request(body);
    let (first, primary) = strict();
    primary.fail_with(|| Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into());
    primary.answer(500);
    let rejection = rejection(run(FallbackLayer::new().then_simplified(), first, question).await);
    assert_eq!((rejection.gate(), primary.calls()), (Gate::CircuitBreaker, 2));
    assert!(rejection.follows_attempt());
}

/// Regression: a rate limit around a chain refunded requests that had been sent to a provider: twenty calls
/// under a limit of three.
#[tokio::test(start_paused = true)]
async fn a_rejection_after_an_attempt_is_marked() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.otherwise(Answer::status(500));
    other
        .otherwise(Answer::error_with(|| Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into()));
    let limit = RateLimitLayer::per_minute(3).on_limit(OnLimit::Reject);
    let mut limited = limit.layer(FallbackLayer::new().then("b/two", second).layer(first));
    for _ in 0..20 {
        let _ = send(&mut limited, request()).await;
    }
    assert_eq!(primary.calls(), 3);
}

/// Regression: an answer that an inner chain composed was cached, and attributed to another model.
#[tokio::test(start_paused = true)]
async fn a_last_resort_of_an_inner_chain_keeps_its_info() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Why?"}]});
    let question = chat_request(body);
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(503);
    other.answer(503);
    let cache = AnswerCache::new();
    let inner = FallbackLayer::new().then_emergency("later").layer(second);
    let mut chain = FallbackLayer::new().then("b/two", inner).then_cached(cache.clone()).layer(first);
    let response = send(&mut chain, question).await.unwrap();
    let info = response.extensions().get::<FallbackInfo>().unwrap();
    assert_eq!((info.target(), info.kind()), ("@emergency", FallbackKind::Emergency));
    assert!(text(response).await.contains("later"));
    assert!(cache.is_empty());
}

/// A translation error does not prevent the wait for a target that is cooling down.
#[tokio::test(start_paused = true)]
async fn a_cooling_target_is_waited_for_despite_a_translation_error() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "1");
    primary.answer(200).body("back");
    fail_translation(&other);
    let request = with_deadline(request(), Duration::from_secs(5));
    let result = run(FallbackLayer::new().then("b/two", second), first, request).await.unwrap();
    assert_eq!((result.0, result.1, &*result.3), (200, None, "back"));
}

#[tokio::test(start_paused = true)]
async fn the_target_of_the_kept_failure_is_named() {
    let ((first, primary), (second, other), (third, last)) = (strict(), strict(), strict());
    primary.answer(503).body("busy");
    other.answer(429).body("slow down");
    fail_translation(&last);
    let chain = FallbackLayer::new().then("b/two", second).then("c/three", third);
    let result = run(chain, first, request()).await.unwrap();
    assert_eq!((result.0, result.1.as_deref(), &*result.3), (429, Some("b/two"), "slow down"));
    assert_eq!(result.2.unwrap().target().as_deref(), Some("b/two"));
}

/// Regression: a failed response was attributed to the inner chain, unless it was the last one.
#[tokio::test(start_paused = true)]
async fn a_nested_chain_names_the_target_that_failed() {
    for is_last in [true, false] {
        let targets = [strict(), strict(), strict(), strict()];
        let [a, b, c, d] = targets.each_ref().map(|(service, _)| service.clone());
        for (_, target) in &targets[..3] {
            target.answer(503);
        }
        fail_translation(&targets[3].1);
        let chain = FallbackLayer::new().then("b/inner", FallbackLayer::new().then("c/three", c).layer(b));
        let chain = if is_last { chain } else { chain.then("d/four", d) };
        let result = run(chain, a, request()).await.unwrap();
        assert_eq!((result.0, result.1.as_deref()), (503, Some("c/three")), "{is_last}");
    }
}

#[tokio::test(start_paused = true)]
async fn if_no_target_can_translate_the_request_that_is_reported() {
    let ((first, primary), (second, other)) = (strict(), strict());
    fail_translation(&primary);
    fail_translation(&other);
    let result = run(FallbackLayer::new().then("b/two", second), first, request()).await;
    assert_eq!(rejection(result).gate(), Gate::Translate);
}

/// Regression: a failure of the simplified request replaced the failure of the caller's own request.
#[tokio::test(start_paused = true)]
async fn a_failure_of_the_simplified_request_does_not_replace_the_kept_one() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a\nb\nc\nd"}]});
    let question = chat_request(body);
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(503).body("busy");
    other.answer(429).body("slow down");
    for target in [&primary, &other] {
        target
            .answer(400)
            .extension(Outcome::from(Failure::new(ErrorCode::InvalidRequest)))
            .body("too short");
    }
    let chain = FallbackLayer::new().then("b/two", second).then_simplified();
    let result = run(chain, first, question).await.unwrap();
    assert_eq!((result.0, result.1.as_deref(), &*result.3), (429, Some("b/two"), "slow down"));
    assert_eq!((primary.calls(), other.calls()), (2, 2));
}

/// A body that is not complete would have to be held open: the failure is returned instead, with its delay.
#[tokio::test(start_paused = true)]
async fn a_failed_response_is_not_held_open() {
    let too_long = "x".repeat(70 * 1024);
    let in_pieces = (0..70_000).fold(Answer::status(429), |answer, _| answer.frame(""));
    for answer in [Answer::status(429).stall(), Answer::status(429).body(too_long), in_pieces] {
        let ((first, primary), (second, other)) = (strict(), strict());
        primary.then(answer.header("retry-after", "7"));
        fail_translation(&other);
        let error = run(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        let wait = failure.retry_hint.and_then(|hint| hint.wait).map(|wait| wait.as_secs());
        assert_eq!((failure.code, wait), (ErrorCode::RateLimited, Some(7)));
        assert_eq!(primary.live_bodies(), 0);
    }
}
