#[cfg(feature = "providers")]
mod answers;
mod conversions;
#[cfg(feature = "providers")]
mod probes;
mod streams;

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;
use http_body_util::BodyExt;
use tidegate_testkit::{contract, strict::Answer};
use tower::Layer;

use super::{ClassifyLayer, ERROR_BODY_LIMIT};
use crate::testing::{call, request_with, send, strict, strict_behind, verdicts};
use crate::{
    BodyProbe, Classifier, ErrorCode, Failure, FailureKind, Outcome, StatusClassifier, Trail, Verdict,
};

/// Returns a failure with the length of the body as the provider code.
struct LengthClassifier;

impl Classifier for LengthClassifier {
    fn needs_body(&self, _: &Parts) -> bool {
        true
    }

    fn classify(&self, _: &Parts, body: &[u8], _: SystemTime) -> Outcome {
        let provider_code = Some(body.len().to_string().into());
        Failure { provider_code, ..Failure::new(ErrorCode::QuotaExhausted) }.into()
    }
}

fn code<B>(response: &http::Response<B>) -> (ErrorCode, Option<Box<str>>) {
    let failure = Outcome::of(response).failure().unwrap().clone();
    (failure.code, failure.provider_code)
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::readiness(&|inner| ClassifyLayer::new(LengthClassifier).layer(inner)).await;
    contract::drops(&|inner| ClassifyLayer::new(LengthClassifier).layer(inner)).await;
    contract::check(|inner| ClassifyLayer::new(StatusClassifier).layer(inner)).await;
}

#[tokio::test(start_paused = true)]
async fn a_successful_response_is_passed_on_unread() {
    let (inner, provider) = strict();
    provider.answer(200).frame("tok").stall();
    let response = call(&mut ClassifyLayer::new(LengthClassifier).layer(inner)).await.unwrap();
    assert!(response.extensions().is_empty());
}

/// Reports an error in a header of a successful response.
struct HeaderClassifier;

impl Classifier for HeaderClassifier {
    fn needs_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, head: &Parts, body: &[u8], _: SystemTime) -> Outcome {
        let code = head.headers.get("x-error").map(|_| ErrorCode::RateLimited);
        let provider_code = Some(body.len().to_string().into());
        code.map_or(Outcome::Success, |code| Failure { provider_code, ..Failure::new(code) }.into())
    }

    fn probe_body(&self, head: &Parts, _: &[u8]) -> BodyProbe {
        if head.headers.contains_key("x-error") { BodyProbe::Error } else { BodyProbe::Success }
    }
}

/// Regression: only a head that left the result open was more than a success.
#[tokio::test(start_paused = true)]
async fn an_error_that_the_head_of_a_success_reports_is_a_failure() {
    let with_error = || Answer::status(200).header("x-error", "quota");
    let long = Bytes::from(vec![b'x'; 2 * ERROR_BODY_LIMIT]);
    for (answer, expected) in [
        (with_error().frame("slow ").frame("down"), Some("9".to_owned())),
        (with_error(), Some("0".to_owned())),
        (with_error().frame(long.clone()), Some(ERROR_BODY_LIMIT.to_string())),
        (Answer::status(200).frame("fine"), None),
    ] {
        let (mut service, provider) = strict_behind(&ClassifyLayer::new(HeaderClassifier));
        provider.then(answer);
        let response = send(&mut service, request_with(Trail::new())).await.unwrap();
        let failure = Outcome::of(&response).failure().cloned();
        assert_eq!(
            failure.as_ref().and_then(|failure| failure.provider_code.as_deref()),
            expected.as_deref()
        );
        assert_eq!(failure.is_some_and(|failure| failure.kind == FailureKind::InBand), expected.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_response_is_classified_by_its_body_and_passed_on_byte_for_byte() {
    let (inner, provider) = strict();
    provider.answer(429).frame("ins").frame("ufficient").frame("_quota");
    let response = call(&mut ClassifyLayer::new(LengthClassifier).layer(inner)).await.unwrap();
    assert_eq!(code(&response), (ErrorCode::QuotaExhausted, Some("18".into())));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "insufficient_quota");
    assert_eq!(provider.live_bodies(), 0);
}

/// A large error body is read up to a limit; the rest is left to the caller.
#[tokio::test(start_paused = true)]
async fn an_error_body_is_not_read_beyond_the_limit() {
    let (inner, provider) = strict();
    let chunk = Bytes::from(vec![b'x'; 50_000]);
    let answer = (0..20).fold(Answer::status(500), |answer, _| answer.frame(chunk.clone()));
    provider.then(answer);
    let response = call(&mut ClassifyLayer::new(LengthClassifier).layer(inner)).await.unwrap();
    assert_eq!(code(&response).1.unwrap().parse(), Ok(ERROR_BODY_LIMIT));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn an_error_body_that_breaks_off_is_classified_by_the_bytes_received_and_replaced() {
    let (inner, provider) = strict();
    provider.answer(500).frame("half").break_off("connection reset");
    let response = call(&mut ClassifyLayer::new(LengthClassifier).layer(inner)).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(code(&response).1.as_deref(), Some("4"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "E2002");
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_recorded_in_the_trail_if_there_is_one() {
    let (mut service, provider) = strict_behind(&ClassifyLayer::new(StatusClassifier));
    provider.answer(200);
    provider.answer(503);
    provider.fail("connection refused");
    let trail = Trail::new();
    for _ in 0..3 {
        let request = request_with(trail.clone());
        let _ = send(&mut service, request).await;
    }
    let failed = Verdict::Failed;
    assert_eq!(
        verdicts(&trail),
        [Verdict::Succeeded, failed(ErrorCode::Overloaded), failed(ErrorCode::ServerError)]
    );
    assert_eq!(trail.attempts(), 3);
}
