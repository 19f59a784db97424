//! What is told when nobody has answered.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::json;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::fallback::{AnswerCache, FallbackInfo, FallbackKind, FallbackLayer};
use crate::rate_limit::OnLimit;
use crate::testing::{rejection, request, send, strict};
use crate::{
    BoxError, Deadline, ErrorCode, Failure, Gate, HttpService, Outcome, Payload, RateLimitLayer, Rejection,
    Trail, clock,
};

/// The translator in front of this target has no words for the request.
fn untold(target: &Handle) {
    target.fail_with(|| Rejection::new(Gate::Translate, ErrorCode::InvalidRequest).into());
}

async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>,
{
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn ask(
    chain: FallbackLayer,
    first: impl HttpService<Payload, Body: http_body::Body<Data = bytes::Bytes>> + Clone,
    request: Request<Payload>,
) -> Result<(u16, Option<String>, Option<Trail>, String), BoxError> {
    let response = send(&mut chain.layer(first), request).await?;
    let by = response.extensions().get::<FallbackInfo>().map(|answered| answered.target().to_owned());
    let trail = Trail::of(response.extensions()).cloned();
    Ok((response.status().as_u16(), by, trail, text(response).await))
}

/// A rate limit of the first target was told as a mistake of the caller's, since the second could not be told the
/// request.
#[tokio::test(start_paused = true)]
async fn a_target_that_could_not_be_told_the_request_hides_nothing() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "7").body("slow down");
    untold(&other);
    let told = ask(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap();
    assert_eq!((told.0, told.1, &*told.3), (429, None, "slow down"));
    assert!(told.2.is_some());
}

/// The refusal of the last target's gate was told in place of the answer in hand, and of when to come back.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_ours_hides_no_answer() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "7").body("slow down");
    other.fail_with(|| Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into());
    let told = ask(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap();
    assert_eq!((told.0, told.1, &*told.3), (429, None, "slow down"));
}

/// Nor does a target that was not asked, as it could not be made ready.
#[tokio::test(start_paused = true)]
async fn one_that_was_never_asked_hides_no_answer() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "7").body("slow down");
    other.fail_ready("worker gone");
    let told = ask(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap();
    assert_eq!((told.0, told.1, &*told.3), (429, None, "slow down"));
}

/// The refusal that was kept to be told was of a time before anybody had been asked.
#[tokio::test(start_paused = true)]
async fn a_refusal_before_somebody_was_asked_with_less_says_so() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a\nb\nc\nd"}]});
    let question =
        Request::post("http://provider/v1/chat/completions").body(Payload::from(body.to_string())).unwrap();
    let (first, primary) = strict();
    primary.fail_with(|| Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into());
    primary.answer(500);
    let refusal = rejection(ask(FallbackLayer::new().then_simplified(), first, question).await);
    assert_eq!((refusal.gate(), primary.calls()), (Gate::CircuitBreaker, 2));
    assert!(refusal.follows_attempt());
}

/// A limit around a chain took back what a provider had been asked for: twenty calls under a limit of three.
#[tokio::test(start_paused = true)]
async fn a_refusal_after_somebody_was_asked_says_so() {
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

/// What a chain within a chain made up was remembered as an answer, and told as another model's.
#[tokio::test(start_paused = true)]
async fn what_an_inner_chain_made_up_is_known_for_that() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Why?"}]});
    let question =
        Request::post("http://provider/v1/chat/completions").body(Payload::from(body.to_string())).unwrap();
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(503);
    other.answer(503);
    let cache = AnswerCache::new();
    let inner = FallbackLayer::new().then_emergency("later").layer(second);
    let mut chain = FallbackLayer::new().then("b/two", inner).then_cached(cache.clone()).layer(first);
    let response = send(&mut chain, question).await.unwrap();
    let answered = response.extensions().get::<FallbackInfo>().unwrap();
    assert_eq!((answered.target(), answered.strategy()), ("@emergency", FallbackKind::Emergency));
    assert!(text(response).await.contains("later"));
    assert!(cache.is_empty());
}

/// Nor does it keep the call from waiting for one that only rests.
#[tokio::test(start_paused = true)]
async fn a_target_that_only_rests_is_waited_for_though_another_could_not_be_told_the_request() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "1");
    primary.answer(200).body("back");
    untold(&other);
    let mut request = request();
    Deadline::after(Duration::from_secs(5), clock::now()).tighten(request.extensions_mut());
    let told = ask(FallbackLayer::new().then("b/two", second), first, request).await.unwrap();
    assert_eq!((told.0, told.1, &*told.3), (200, None, "back"));
}

#[tokio::test(start_paused = true)]
async fn the_last_one_who_could_tell_is_the_one_who_is_named() {
    let ((first, primary), (second, other), (third, last)) = (strict(), strict(), strict());
    primary.answer(503).body("busy");
    other.answer(429).body("slow down");
    untold(&last);
    let chain = FallbackLayer::new().then("b/two", second).then("c/three", third);
    let told = ask(chain, first, request()).await.unwrap();
    assert_eq!((told.0, told.1.as_deref(), &*told.3), (429, Some("b/two"), "slow down"));
    assert_eq!(told.2.unwrap().target().as_deref(), Some("b/two"));
}

/// A failed answer was told as the inner chain's, unless it was the last one who said so.
#[tokio::test(start_paused = true)]
async fn a_chain_within_a_chain_says_who_failed() {
    for is_last in [true, false] {
        let targets = [strict(), strict(), strict(), strict()];
        let [a, b, c, d] = targets.each_ref().map(|(service, _)| service.clone());
        for (_, target) in &targets[..3] {
            target.answer(503);
        }
        untold(&targets[3].1);
        let chain = FallbackLayer::new().then("b/inner", FallbackLayer::new().then("c/three", c).layer(b));
        let chain = if is_last { chain } else { chain.then("d/four", d) };
        let told = ask(chain, a, request()).await.unwrap();
        assert_eq!((told.0, told.1.as_deref()), (503, Some("c/three")), "{is_last}");
    }
}

#[tokio::test(start_paused = true)]
async fn if_nobody_could_be_told_the_request_that_is_said() {
    let ((first, primary), (second, other)) = (strict(), strict());
    untold(&primary);
    untold(&other);
    let result = ask(FallbackLayer::new().then("b/two", second), first, request()).await;
    assert_eq!(rejection(result).gate(), Gate::Translate);
}

/// What was said of a simplified request was told in place of what was said of the caller's own.
#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_simplified_request_is_not_told() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a\nb\nc\nd"}]});
    let question =
        Request::post("http://provider/v1/chat/completions").body(Payload::from(body.to_string())).unwrap();
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
    let told = ask(chain, first, question).await.unwrap();
    assert_eq!((told.0, told.1.as_deref(), &*told.3), (429, Some("b/two"), "slow down"));
    assert_eq!((primary.calls(), other.calls()), (2, 2));
}

/// What is not at hand would have to be held open: the failure is told then, with what it said about the time.
#[tokio::test(start_paused = true)]
async fn a_failed_answer_is_not_held_open_to_be_told_later() {
    let too_long = "x".repeat(70 * 1024);
    let in_pieces = (0..2000).fold(Answer::status(429), |answer, _| answer.frame(""));
    for answer in [Answer::status(429).stall(), Answer::status(429).body(too_long), in_pieces] {
        let ((first, primary), (second, other)) = (strict(), strict());
        primary.then(answer.header("retry-after", "7"));
        untold(&other);
        let error = ask(FallbackLayer::new().then("b/two", second), first, request()).await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        let wait = failure.hint.and_then(|hint| hint.wait).map(|wait| wait.as_secs());
        assert_eq!((failure.code, wait), (ErrorCode::RateLimited, Some(7)));
        assert_eq!(primary.live_bodies(), 0);
    }
}
