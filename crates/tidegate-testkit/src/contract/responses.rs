use std::pin::pin;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};
use http_body_util::BodyExt;
use tidegate_core::{BoxError, Payload};

use super::Subject;
use super::probe::{
    PROMPT, assert_no_violation, assert_nothing_lives, in_time, next_frame, request, send_request,
    still_serves,
};
use crate::Fault;
use crate::strict::{self, Strict};

/// Checks that requests and responses pass through the layer unchanged.
///
/// # Panics
///
/// If the layer breaks the contract.
pub async fn responses<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    the_request_reaches_the_inner_service(&layer).await;
    the_head_passes(&layer).await;
    a_body_of_known_length_passes(&layer).await;
    an_empty_body_passes(&layer).await;
    a_stream_with_trailers_passes(&layer).await;
    an_error_in_the_body_passes(&layer).await;
    an_error_response_passes(&layer).await;
}

/// A layer may add headers to a request. It must not remove any.
async fn the_request_reaches_the_inner_service<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "the request reaches the inner service as it was sent";
    let (inner, handle) = strict::service();
    let _ = send_request(promise, &mut layer(inner)).await;
    let (sent, seen) = (request(), handle.requests());
    let [seen] = seen.as_slice() else { panic!("contract: {promise}; got {} requests", seen.len()) };
    assert_eq!((&seen.method, &seen.uri), (sent.method(), sent.uri()), "contract: {promise}");
    for (name, value) in sent.headers() {
        assert_eq!(seen.headers.get(name), Some(value), "contract: {promise}");
    }
    assert_eq!(seen.body.as_deref(), Some(PROMPT.as_bytes()), "contract: {promise}");
}

#[derive(Clone, Debug, PartialEq)]
struct TestExtension(&'static str);

async fn the_head_passes<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "status, headers and extensions of a response pass unchanged";
    let (inner, handle) = strict::service();
    handle
        .answer(206)
        .header("x-request-id", "req_1")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .extension(TestExtension("inner"))
        .body("partial");
    let response = send_request(promise, &mut layer(inner)).await;
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-request-id", "req_1"), ("set-cookie", "a=1"), ("set-cookie", "b=2")] {
        headers.append(name, value.parse().expect("a header value"));
    }
    assert_eq!(response.status(), 206, "contract: {promise}");
    assert_eq!(response.headers(), &headers, "contract: {promise}");
    assert_eq!(response.extensions().get(), Some(&TestExtension("inner")), "contract: {promise}");
}

async fn a_body_of_known_length_passes<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "the length of a body passes unchanged";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.answer(200).body("four and more");
    let mut body = pin!(send_request(promise, &mut service).await.into_body());
    assert_eq!(body.size_hint().exact(), Some(13), "contract: {promise}");
    assert!(!body.is_end_stream(), "contract: a body with bytes in it is not at its end");
    let data = next_frame(promise, body.as_mut()).await.and_then(|frame| frame.into_data().ok());
    assert_eq!(data.as_deref(), Some(&b"four and more"[..]), "contract: {promise}");
    assert_eq!(body.size_hint().exact(), Some(0), "contract: {promise}");
    assert!(body.is_end_stream(), "contract: after its last frame a body of known length is at its end");
    assert!(next_frame(promise, body.as_mut()).await.is_none(), "contract: {promise}");
    assert_nothing_lives(promise, &handle).await;
}

/// Servers do not poll a body that reports `is_end_stream`, so a body guard has to detect the end here.
async fn an_empty_body_passes<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "an empty body is at its end from the start";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.answer(204);
    let response = send_request(promise, &mut service).await;
    assert_eq!(response.status(), 204, "contract: {promise}");
    let body = response.into_body();
    assert!(body.is_end_stream(), "contract: {promise}");
    assert_eq!(body.size_hint().exact(), Some(0), "contract: {promise}");
    still_serves("a response with an empty body is still alive", &mut service, &handle).await;
}

async fn a_stream_with_trailers_passes<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "frames and trailers pass unchanged";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    let frames = ["data: {\"n\":1}\n\n", "data: {\"n\":2}\n\nda", "ta: [DONE]\n\n"];
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "abc".parse().expect("a header value"));
    let mut answer = handle.answer(200).header("x-kind", "stream");
    for frame in frames {
        answer = answer.frame(frame);
    }
    answer.trailers(trailers.clone());

    let mut body = pin!(send_request(promise, &mut service).await.into_body());
    let (hint, unknown) = (body.size_hint(), SizeHint::default());
    assert_eq!(
        (hint.lower(), hint.upper()),
        (unknown.lower(), unknown.upper()),
        "contract: a body of unknown length keeps an unknown length"
    );
    for frame in frames {
        assert!(!body.is_end_stream(), "contract: a body with frames left is not at its end");
        let got = next_frame(promise, body.as_mut()).await.and_then(|frame| frame.into_data().ok());
        assert_eq!(got.as_deref(), Some(frame.as_bytes()), "contract: {promise}");
    }
    assert!(!body.is_end_stream(), "contract: a body with trailers left is not at its end");
    let got = next_frame(promise, body.as_mut()).await.and_then(|frame| frame.into_trailers().ok());
    assert_eq!(got, Some(trailers), "contract: {promise}");
    assert!(next_frame(promise, body.as_mut()).await.is_none(), "contract: {promise}");
    assert_nothing_lives(promise, &handle).await;
    still_serves(promise, &mut service, &handle).await;
}

async fn an_error_in_the_body_passes<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "an error in the body passes, after the frames before it";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.answer(200).frame("one").break_off("connection reset");
    let mut body = pin!(send_request(promise, &mut service).await.into_body());
    let first = next_frame(promise, body.as_mut()).await.and_then(|frame| frame.into_data().ok());
    assert_eq!(first.as_deref(), Some(&b"one"[..]), "contract: {promise}");
    match in_time(promise, body.frame()).await {
        Some(Err(error)) => {
            let error: BoxError = error.into();
            assert!(Fault::find(&*error).is_some(), "contract: {promise}; got: {error}");
        }
        Some(Ok(_)) => panic!("contract: {promise}; got: a frame"),
        None => panic!("contract: {promise}; got: a clean end"),
    }
    assert_nothing_lives(promise, &handle).await;
    assert_no_violation(promise, &handle);
}

/// Layers may read the body of a failed response to classify it, so the frames may differ. The bytes may not.
async fn an_error_response_passes<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "a 400 passes as the provider sent it";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    let error_body =
        r#"{"error":{"message":"no such parameter","type":"invalid_request_error","param":"n","code":null}}"#;
    handle.answer(400).header("x-request-id", "req_2").body(error_body);
    let response = send_request(promise, &mut service).await;
    assert_eq!(response.status(), 400, "contract: {promise}");
    assert_eq!(response.headers()["x-request-id"], "req_2", "contract: {promise}");
    let mut body = pin!(response.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = next_frame(promise, body.as_mut()).await {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_else(|_| Bytes::new()));
    }
    assert_eq!(bytes, error_body.as_bytes(), "contract: {promise}");
    assert_eq!(handle.calls(), 1, "contract: {promise}");
    assert_nothing_lives(promise, &handle).await;
    still_serves(promise, &mut service, &handle).await;
}
