//! Failures in a body that came without an error status.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use tidegate_core::{ErrorCode, Failure};

use super::response::ErrorResponse;
use super::retry_after::NO_CLOCK;
use crate::dialect::parsed_event::StreamError;
use crate::provider::Provider;

/// The failure in a `body` that may be an error. `None` if it is not one.
pub(crate) fn failure_in(provider: Provider, body: &[u8]) -> Option<Failure> {
    let (headers, now) = (HeaderMap::new(), NO_CLOCK);
    let response = ErrorResponse::read(provider, None, &headers, body, now);
    response.is_error().then(|| response.failure(now))
}

/// The failure in a `body` that is known to be an error.
pub(crate) fn failure_of(provider: Provider, status: Option<StatusCode>, body: &[u8]) -> Failure {
    let (headers, now) = (HeaderMap::new(), NO_CLOCK);
    ErrorResponse::read(provider, status, &headers, body, now).failure(now)
}

/// The failure in an event that is known to be an error. `code` is the error code in its frame.
pub(crate) fn failure_of_event(provider: Provider, code: Option<&str>, data: &[u8]) -> Failure {
    let (headers, now) = (HeaderMap::new(), NO_CLOCK);
    ErrorResponse::read(provider, None, &headers, data, now).with_code(code).failure(now)
}

/// The failure in the `body` of a response that was detected as an error. Its status is ignored, since it was
/// sent before the error occurred.
pub(crate) fn failure_of_body(
    provider: Provider,
    error: StreamError,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Failure {
    let failure = ErrorResponse::read(provider, None, headers, body, now).failure(now);
    match error {
        StreamError::StopReason(reason, code) if failure.code == ErrorCode::Unknown => {
            Failure { provider_code: Some(reason.into()), ..Failure::new(code) }
        }
        StreamError::StopReason(..) | StreamError::Event => failure,
    }
}
