//! Errors behind a status of 200, in responses that are not streams.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use proptest::prelude::*;
use tidegate_providers::{Provider, ProviderClassifier};
use tidegate_testkit::strict::{Answer, Handle, Strict};
use tower::{Layer, ServiceExt};

use crate::circuit_breaker::State;
use crate::classify::{Classify, StreamClocks};
use crate::testing::{SECOND, call, complete, paused, request, request_with, send, strict};
use crate::{
    CircuitBreakerLayer, ClassifyLayer, Clock, Elapsed, ErrorCode, Failure, FailureKind, FallbackLayer,
    Outcome, Payload, RetryLayer, TimeoutLayer, Trail, UsageMeter, clock,
};

const ERROR: &str = r#"{"error":{"code":429,"message":"slow down","metadata":{"raw":"..."}}}"#;
const ANSWER: &str = r#"{"id":"a","choices":[{"message":{"content":"tok"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;

fn wire(inner: Strict<Payload>) -> Classify<Strict<Payload>> {
    ClassifyLayer::new(ProviderClassifier::new(Provider::Other)).layer(inner)
}

fn json(frames: &[&'static str]) -> Answer {
    let answer = Answer::status(200).header("content-type", "application/json");
    frames.iter().fold(answer, |answer, frame| answer.frame(*frame))
}

fn failure(outcome: Outcome) -> Option<(ErrorCode, FailureKind)> {
    outcome.failure().map(|failure| (failure.code, failure.kind))
}

const RATE_LIMITED: Option<(ErrorCode, FailureKind)> = Some((ErrorCode::RateLimited, FailureKind::InBand));

/// If each byte is a frame of its own, every byte uses some hundred bytes of memory, and each frame could
/// cause another probe.
#[tokio::test(start_paused = true)]
async fn the_number_of_buffered_frames_is_limited() {
    for (blanks, is_detected) in [(1_000, true), (1_100, false)] {
        let (inner, provider) = strict();
        let answer = (0..blanks).fold(json(&[]), |answer, _| answer.frame(" ").pause(SECOND / 1_000));
        provider.then(answer.frame(ERROR));
        let response = call(&mut wire(inner)).await.unwrap();
        assert_eq!(failure(Outcome::of(&response)).is_some(), is_detected, "{blanks}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), blanks + ERROR.len());
    }
}

/// Regression: every frame kept the read buffer of its connection, 128 times the limit in bytes.
#[tokio::test(start_paused = true)]
async fn small_frames_that_are_buffered_do_not_keep_their_read_buffer() {
    let (inner, provider) = strict();
    let buffer = Bytes::from(vec![b' '; 8192]);
    let frames = (0..100).fold(json(&[" "]), |answer, at| answer.frame(buffer.slice(at..=at)));
    provider.then(frames.frame(ERROR));
    let response = call(&mut wire(inner)).await.unwrap();
    assert!(buffer.is_unique());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 101 + ERROR.len());
}

/// OpenRouter had sent a 200 before the provider behind it rejected the request.
#[tokio::test(start_paused = true)]
async fn an_error_behind_a_200_is_a_failure_with_its_code_and_its_bytes() {
    let (inner, provider) = strict();
    provider.then(json(&[ERROR]));
    let trail = Trail::new();
    let request = request_with(trail.clone());
    let response = send(&mut wire(inner), request).await.unwrap();
    assert_eq!((response.status().as_u16(), failure(Outcome::of(&response))), (200, RATE_LIMITED));
    assert_eq!(trail.steps()[0].verdict, crate::Verdict::Failed(ErrorCode::RateLimited));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), ERROR);
    assert_eq!((provider.live_bodies(), provider.violations()), (0, vec![]));
}

/// Responses and errors may repeat parts of the prompt.
#[tokio::test(start_paused = true)]
async fn debug_output_does_not_contain_the_buffered_body() {
    for frames in [&[ERROR][..], &[ANSWER], &["{", "\"choices\":[{\"text\":\"tok\""]] {
        let (inner, provider) = strict();
        provider.then(json(frames));
        let inner = inner.map_response(|response| response.map(UnsyncBoxBody::new));
        let mut service = ClassifyLayer::new(ProviderClassifier::new(Provider::Other)).layer(inner);
        let shown = format!("{:?}", call(&mut service).await.unwrap().into_body());
        assert!(shown.contains("whole"), "{shown}");
        assert!(!shown.contains("slow down") && !shown.contains("tok\\\""), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_code_is_read_from_the_error_as_with_any_status() {
    for (body, code, provider_code) in [
        (
            r#"{"error":{"message":"no credit","type":"insufficient_quota"}}"#,
            "E2002",
            Some("insufficient_quota"),
        ),
        (r#"{"error":{"code":401,"message":"no such key"}}"#, "E1002", Some("401")),
        (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, "E3002", Some("overloaded_error")),
        (r#"{"id":"g","choices":[{"finish_reason":"error","error":{"code":502}}]}"#, "E3001", Some("502")),
        (r#"{"choices":[{"message":{"content":""},"finish_reason":"error"}]}"#, "E3001", Some("error")),
        (
            r#"{"object":"response","status":"failed","error":{"code":"rate_limit_exceeded"}}"#,
            "E2001",
            Some("rate_limit_exceeded"),
        ),
        (r#"{"error":"something"}"#, "E3001", None),
    ] {
        let (inner, provider) = strict();
        provider.then(json(&[body]));
        let outcome = Outcome::of(&call(&mut wire(inner)).await.unwrap());
        let failure = outcome.failure().unwrap_or_else(|| panic!("{body}"));
        assert_eq!((failure.code.code(), failure.provider_code.as_deref()), (code, provider_code), "{body}");
    }
}

/// Retry, breaker and fallback have no special code for it.
#[tokio::test(start_paused = true)]
async fn the_layers_handle_it_like_any_failure() {
    let overloaded = || json(&[r#"{"error":{"code":503,"message":"try later"}}"#]);
    let (inner, provider) = strict();
    provider.then(overloaded());
    provider.then(json(&[ANSWER]));
    let mut retried = RetryLayer::exponential().layer(wire(inner));
    assert_eq!((complete(&mut retried).await.unwrap(), provider.calls()), (200, 2));

    let (inner, provider) = strict();
    provider.otherwise(overloaded());
    let layer = CircuitBreakerLayer::new().failure_threshold(2);
    let mut service = layer.layer(wire(inner));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().state(), State::Closed);
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().state(), State::Open);

    let (inner, provider) = strict();
    provider.otherwise(overloaded());
    let (spare, second) = strict();
    second.otherwise(json(&[ANSWER]));
    let mut chain = FallbackLayer::new().then("spare/m", spare).layer(wire(inner));
    let body = call(&mut chain).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_successful_response_is_passed_on_unchanged() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-took", HeaderValue::from_static("1s"));
    let (inner, provider) = strict();
    provider.then(json(&["  ", r#"{"id":"#, r#""a","content":"t"#, "ok\"", "}"]).trailers(trailers.clone()));
    provider.answer(200).header("content-type", "application/json").body(ANSWER);
    let mut service = wire(inner);

    let response = call(&mut service).await.unwrap();
    assert!(response.extensions().is_empty());
    let mut body = response.into_body();
    for frame in ["  ", r#"{"id":"#, r#""a","content":"t"#, "ok\"", "}"] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), frame);
    }
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(body.frame().await.is_none());

    let body = call(&mut service).await.unwrap().into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(ANSWER.len() as u64), false));
    assert_eq!(body.collect().await.unwrap().to_bytes(), ANSWER);
    assert_eq!(provider.violations(), Vec::<String>::new());
}

/// The response is passed on as soon as it is identified.
#[tokio::test(start_paused = true)]
async fn the_head_does_not_wait_for_the_rest_of_the_body() {
    let (inner, provider) = strict();
    provider.then(json(&[r#"{"choices":[{"message":{"content":"t"#]).stall());
    let start = clock::now();
    assert_eq!(Outcome::of(&call(&mut wire(inner)).await.unwrap()), Outcome::Success);
    assert_eq!(clock::now(), start);
}

#[tokio::test(start_paused = true)]
async fn responses_that_cannot_be_such_an_error_are_not_held() {
    let stalled = |media: &str| Answer::status(200).header("content-type", media).stall();
    let (inner, provider) = strict();
    let mut service = wire(inner);
    let start = clock::now();
    let speech = || Request::post("http://provider/v1/audio/speech").body(Payload::from("{}")).unwrap();
    for media in ["text/plain", "audio/mpeg", "multipart/mixed", "application/json-seq"] {
        provider.then(stalled(media));
        assert_eq!(Outcome::of(&send(&mut service, speech()).await.unwrap()), Outcome::Success);
    }
    provider.then(stalled("application/json").header("content-encoding", "gzip"));
    call(&mut service).await.unwrap();
    provider.then(Answer::status(202).stall());
    send(&mut service, speech()).await.unwrap();
    // Not a response of a model: the status request for an object that failed is itself a success.
    provider.then(json(&[r#"{"object":"response","status":"failed","error":{"code":"server_error"}}"#]));
    let status_request = Request::get("http://provider/v1/responses/1").body(Payload::empty()).unwrap();
    assert_eq!(Outcome::of(&send(&mut service, status_request).await.unwrap()), Outcome::Success);
    assert_eq!(clock::now(), start);
}

/// Some providers keep the connection alive with whitespace for as long as the model computes.
#[tokio::test(start_paused = true)]
async fn leading_whitespace_does_not_end_the_probe() {
    let (inner, provider) = strict();
    let blanks = (0..30).fold(json(&[]), |answer, _| answer.frame("\n").pause(10 * SECOND));
    provider.then(blanks.frame(ERROR));
    let response = call(&mut wire(inner)).await.unwrap();
    assert_eq!(failure(Outcome::of(&response)), RATE_LIMITED);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "\n".repeat(30) + ERROR);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_buffered_than_the_limit() {
    let (inner, provider) = strict();
    let blanks = "\n".repeat(1_000);
    let blanks = (0..70).fold(json(&[]), |answer, _| answer.frame(blanks.clone()));
    provider.then(blanks.pause(SECOND).frame(ERROR));
    let start = clock::now();
    let response = call(&mut wire(inner)).await.unwrap();
    assert_eq!((Outcome::of(&response), clock::now()), (Outcome::Success, start));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 70_000 + ERROR.len());

    // Where no answer is expected, a body that is announced as larger is not probed.
    let large = format!("{ERROR}{}", " ".repeat(70_000));
    let (inner, provider) = strict();
    provider.answer(200).header("content-type", "application/json").body(large);
    let rerank = Request::post("http://provider/v1/rerank").body(Payload::from("{}")).unwrap();
    assert_eq!(Outcome::of(&send(&mut wire(inner), rerank).await.unwrap()), Outcome::Success);
}

/// By the attempt timeout, as if the head had not arrived; or by the first-token timeout if the request is
/// for a stream.
#[tokio::test(start_paused = true)]
async fn a_response_that_stalls_before_it_is_identified_times_out() {
    let (inner, provider) = strict();
    provider.otherwise(json(&["{\"id\":"]).stall());
    let clocks = StreamClocks::new().first_token(3 * SECOND);
    let layer = ClassifyLayer::new(ProviderClassifier::new(Provider::Other)).clocks(clocks);
    let mut service = TimeoutLayer::new(5 * SECOND).layer(layer.layer(inner));
    let mut stream = request();
    *stream.body_mut() = Payload::from(r#"{"stream":true}"#);
    for (request, clock, after) in [(request(), Clock::Attempt, 5), (stream, Clock::FirstToken, 3)] {
        let start = clock::now();
        let error = send(&mut service, request).await.expect_err("a timeout");
        assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), clock);
        assert_eq!(clock::now() - start, after * SECOND);
    }
    assert_eq!(provider.live_bodies(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_does_not_end_is_classified_by_the_bytes_received() {
    let (inner, provider) = strict();
    provider.then(json(&[r#"{"error":{"code":429,"message":"#]).stall());
    provider.then(json(&[r#"{"error":{"code":429,"message":"#]).break_off("reset"));
    let mut service = wire(inner);
    let start = clock::now();
    assert_eq!(failure(Outcome::of(&call(&mut service).await.unwrap())), RATE_LIMITED);
    assert_eq!(clock::now() - start, 5 * SECOND);
    assert_eq!(failure(Outcome::of(&call(&mut service).await.unwrap())), RATE_LIMITED);
}

/// Nothing has been passed on, so that the request can be retried.
#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_before_it_is_identified_is_retried() {
    let (inner, provider) = strict();
    provider.then(json(&["{\"id\":"]).break_off("reset"));
    provider.then(json(&[ANSWER]));
    let mut retried = RetryLayer::exponential().layer(wire(inner));
    assert_eq!((complete(&mut retried).await.unwrap(), provider.calls()), (200, 2));
    // After that the error is passed on to the caller.
    provider.then(json(&[ANSWER]).break_off("reset"));
    complete(&mut retried).await.unwrap_err();
    assert_eq!(provider.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_cancelled_during_the_probe_is_neutral() {
    let (inner, provider) = strict();
    provider.otherwise(json(&[" "]).stall());
    let layer = CircuitBreakerLayer::new().failure_threshold(1);
    let mut service = layer.layer(wire(inner));
    let cancelled = tokio::time::timeout(SECOND, call(&mut service)).await;
    assert!(cancelled.is_err());
    assert_eq!((layer.handle().state(), provider.live_bodies()), (State::Closed, 0));
}

/// A client error uses no tokens, and a server error those of the prompt; a success is counted although it
/// was held.
#[tokio::test(start_paused = true)]
async fn the_meter_records_the_usage() {
    for (frames, input, output) in [
        (vec![ERROR], 0, 0),
        (vec![r#"{"error":{"code":503}}"#], 70, 0),
        (vec![ANSWER], 9, 1),
        (vec!["  ", &ANSWER[..30], &ANSWER[30..]], 9, 1),
    ] {
        let (inner, provider) = strict();
        provider.then(json(&frames));
        let meter = UsageMeter::new(70);
        let request = request_with(meter.clone());
        send(&mut wire(inner), request).await.unwrap().into_body().collect().await.unwrap();
        let totals = meter.read();
        assert_eq!((totals.input, totals.output, totals.unknown), (input, output, 0), "{frames:?}");
    }
}

/// The result of a body in these pieces: the failure, and the bytes that were passed on.
fn classified(pieces: Vec<Vec<u8>>, pauses: bool) -> (Option<Failure>, Vec<u8>) {
    paused().block_on(async {
        let (inner, provider): (_, Handle) = strict();
        let answer = pieces.into_iter().fold(json(&[]), |answer, piece| match pauses {
            // All pauses together are within the time limit for reading an error body.
            true => answer.frame(piece).pause(SECOND / 10),
            false => answer.frame(piece),
        });
        provider.then(answer);
        let response = call(&mut wire(inner)).await.unwrap();
        let failure = Outcome::of(&response).failure().cloned();
        (failure, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_chunking_of_the_bytes_does_not_affect_the_result(
        body in prop::sample::select(vec![
            ERROR, ANSWER, "  \n ", "{}", r#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#,
            r#"{"id":"g","error":null,"choices":[{"finish_reason":"error","error":{"code":502}}]}"#,
            r#"{"status":"failing","object":"error","message":"too many","code":429}"#,
        ]),
        blanks in 0_usize..10,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        pauses: bool,
    ) {
        let bytes: Arc<[u8]> = [" ".repeat(blanks).as_bytes(), body.as_bytes()].concat().into();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let pieces = starts.zip(ends).map(|(start, end)| bytes[start..end].to_vec()).collect();
        let expected = classified(vec![bytes.to_vec()], false);
        prop_assert_eq!(&expected.1[..], &bytes[..]);
        prop_assert_eq!(classified(pieces, pauses), expected);
    }
}
