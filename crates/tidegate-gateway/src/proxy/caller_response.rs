//! The response to the caller, made of that of a provider.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use tidegate::fallback::{FallbackInfo, FallbackKind};
use tidegate::hedge::HedgeInfo;
use tidegate::provider::{Category, ErrorBody, FailureKind, UsageMeter, Verdict};
use tidegate::providers::ProviderClassifier;
use tidegate::{Error, ErrorCode, Outcome, Trail};

use super::error_event_body::ErrorEventBody;
use super::gateway_error::{CODE, GatewayError};
use super::headers;
use super::redactor::Redactor;
use crate::endpoint::Endpoint;

const TARGET: HeaderName = HeaderName::from_static("x-tidegate-target");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
const HEDGE: HeaderName = HeaderName::from_static("x-tidegate-hedge");
const FALLBACK: HeaderName = HeaderName::from_static("x-tidegate-fallback");

/// Present on a cached answer, which is not from a provider and may be out of date.
const STALE: HeaderName = HeaderName::from_static("x-tidegate-stale");

/// Disables the response buffer of nginx, which would hold a stream back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The most bytes of a response that are searched for the message of an error.
const MAX_HELD_ERROR: usize = 256 * 1024;

/// Adds the headers about the attempts of a call.
pub(super) fn set_trail_headers(headers: &mut HeaderMap, trail: &Trail) {
    headers.insert(ATTEMPTS, HeaderValue::from(trail.attempts()));
    if let Some(name) = trail.target().and_then(|name| HeaderValue::from_str(&name).ok()) {
        headers.insert(TARGET, name);
    }
    // A response has it already. A call that failed without one has lost its hedge as well.
    if headers.contains_key(CODE) && !headers.contains_key(HEDGE) {
        let is_hedged = trail.steps().iter().any(|step| matches!(step.verdict, Verdict::Hedged { .. }));
        if is_hedged {
            headers.insert(HEDGE, HeaderValue::from_static("lost"));
        }
    }
}

/// The error in a response whose status does not report it, with the message of the provider: an error event
/// instead of a stream, no answer, or a page of the network in front of the provider, which clients would
/// take for an error of theirs. The response has not begun, so its status can still report the error.
pub(super) fn hidden_error(
    response: &mut Response<impl http_body::Body<Data = Bytes> + Unpin>,
) -> Option<GatewayError> {
    let outcome = Outcome::borrow(response);
    let failure = outcome.failure()?;
    let is_hidden = match response.status() {
        StatusCode::FORBIDDEN
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::TOO_EARLY => failure.code.category() == Category::Server,
        // A translation has replaced the status that the provider sent before it failed.
        status => status.is_success() || failure.kind == FailureKind::InBand,
    };
    if !is_hidden {
        return None;
    }
    let error = ErrorBody::of_error(failure);
    drop(outcome);
    // What was held to classify the response is available at once, and nothing more is waited for.
    let mut beginning = BytesMut::new();
    while beginning.len() < MAX_HELD_ERROR
        && let Some(Some(Ok(frame))) = response.body_mut().frame().now_or_never()
    {
        beginning.extend(frame.into_data());
    }
    let message = ProviderClassifier::error_message(&beginning);
    Some(GatewayError::from_body(match message {
        Some(message) => error.with_message(message),
        None => error,
    }))
}

/// Forwards the provider's response unchanged, except for headers of the connection. `error` is the one that
/// its status does not report.
pub(super) fn forward(
    response: Response<impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static>,
    error: Option<GatewayError>,
    endpoint: Endpoint,
    meter: UsageMeter,
    redactor: &Arc<Redactor>,
) -> Response<Body> {
    let outcome = Outcome::of(&response);
    let fallback_kind = response.extensions().get().map(FallbackInfo::kind);
    let hedge = response.extensions().get().map(HedgeInfo::won);
    let (head, body) = response.into_parts();
    let mut response = match error {
        Some(error) => error.into_response(endpoint.dialect()),
        // The body of the provider was cut short. Ours has the form of the caller's API.
        _ if let Some(body) = head.extensions.get::<ErrorBody>() => {
            GatewayError::from_body(body.clone()).status(head.status).into_response(endpoint.dialect())
        }
        // A redirect is not forwarded, since it would send the prompt to another host. The base URL is
        // probably wrong.
        _ if head.status.is_redirection() => {
            let message = "provider redirects, which its base_url should not";
            GatewayError::new(ErrorCode::ServerError, message)
                .status(StatusCode::BAD_GATEWAY)
                .into_response(endpoint.dialect())
        }
        // Packed although that was not requested: it could not be searched for keys.
        _ if let Some(failure) = outcome.failure()
            && head.headers.contains_key(CONTENT_ENCODING) =>
        {
            GatewayError::from_body(ErrorBody::of_error(failure))
                .status(head.status)
                .into_response(endpoint.dialect())
        }
        _ => {
            let body = if is_readable_stream(&head.headers) && head.status.is_success() {
                let outcome = head.extensions.get().cloned();
                let body = ErrorEventBody::new(body, endpoint, meter, Arc::clone(redactor));
                Body::new(body.with_outcome(outcome).boxed_unsync())
            } else {
                Body::new(body)
            };
            // The head is new, because version and extensions belong to the connection to the provider.
            let mut response = Response::new(body);
            *response.status_mut() = head.status;
            *response.headers_mut() = headers::returned(head.headers);
            if is_event_stream(response.headers()) {
                let headers = response.headers_mut();
                headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
                headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
            }
            response
        }
    };
    if let Some(failure) = outcome.failure() {
        response.headers_mut().insert(CODE, HeaderValue::from_static(failure.code.code()));
    }
    if let Some(fallback_kind) = fallback_kind {
        set_fallback_header(&mut response, fallback_kind);
    }
    if let Some(won) = hedge {
        let result = HeaderValue::from_static(if won { "won" } else { "lost" });
        response.headers_mut().insert(HEDGE, result);
    }
    response
}

/// Whether the body is an event stream without compression. Nothing can be appended to a compressed one.
fn is_readable_stream(headers: &HeaderMap) -> bool {
    is_event_stream(headers) && has_value(headers, CONTENT_ENCODING, "identity") != Some(false)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    has_value(headers, CONTENT_TYPE, "text/event-stream") == Some(true)
}

/// Whether the value of a header, without its parameters, is `wanted`. `None` if the header is missing.
pub(super) fn has_value(headers: &HeaderMap, name: HeaderName, wanted: &str) -> Option<bool> {
    let value = headers.get(name)?.to_str().ok()?.split(';').next()?.trim();
    Some(value.eq_ignore_ascii_case(wanted))
}

pub(super) fn set_fallback_header(response: &mut Response<Body>, fallback_kind: FallbackKind) {
    response.headers_mut().insert(FALLBACK, HeaderValue::from_static(fallback_kind.name()));
    if fallback_kind == FallbackKind::CachedResponse {
        response.headers_mut().insert(STALE, HeaderValue::from_static("true"));
    }
}
