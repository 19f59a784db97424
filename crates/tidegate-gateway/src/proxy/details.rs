//! The course of a call in the body of its error, at the request of the caller.

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Response};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tidegate::provider::{Gate, Verdict};
use tidegate::{ErrorCode, Payload, Trail};

use super::GatewayError;
use super::caller_response::has_value;
use crate::endpoint::ApiDialect;

/// A request with the value `trail` gets the details in errors.
const DETAILS: HeaderName = HeaderName::from_static("x-tidegate-details");

/// The largest error body that is extended.
const MAX_ERROR: usize = 1024 * 1024;

/// The object `resilience` in the body of an error.
#[derive(Serialize)]
struct ResilienceDetails<'a> {
    timestamp: String,
    circuit_breaker_used: bool,
    retry_used: bool,
    fallback_used: bool,
    trail: &'a Trail,
}

/// Whether a request with these headers gets the details of an error.
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    has_value(headers, DETAILS, "trail") == Some(true)
}

/// Adds the details to an error whose body is a JSON object. Any other response is unchanged.
pub(super) async fn add(response: Response<Body>, trail: &Trail, dialect: ApiDialect) -> Response<Body> {
    let status = response.status();
    let headers = response.headers();
    let is_json = has_value(headers, CONTENT_TYPE, "application/json") == Some(true)
        && has_value(headers, CONTENT_ENCODING, "identity") != Some(false);
    if !(status.is_client_error() || status.is_server_error()) || !is_json {
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(payload) = Payload::collect(body, MAX_ERROR).await else {
        return GatewayError::new(ErrorCode::ServerError, "error of the provider broke off")
            .status(head.status)
            .into_response(dialect);
    };
    let Some(bytes) = payload.bytes() else { return Response::from_parts(head, Body::new(payload)) };
    let Some(extended) = extended(bytes, trail) else {
        return Response::from_parts(head, Body::from(bytes.clone()));
    };
    Response::from_parts(head, Body::from(extended))
}

fn extended(body: &[u8], trail: &Trail) -> Option<Vec<u8>> {
    let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
    let steps = trail.steps();
    let is_used = |used: fn(&Verdict) -> bool| steps.iter().any(|step| used(&step.verdict));
    // A wait alone is no retry: a chain in which all targets reject the call waits as well.
    let retry_used = steps.iter().enumerate().any(|(at, wait)| {
        let mut failed = steps[..at].iter().filter(|step| matches!(step.verdict, Verdict::Failed(_)));
        matches!(wait.verdict, Verdict::Waiting(_)) && failed.any(|step| step.target == wait.target)
    });
    let details = ResilienceDetails {
        timestamp: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        circuit_breaker_used: is_used(|verdict| {
            matches!(verdict, Verdict::Rejected { gate: Gate::CircuitBreaker, .. })
        }),
        retry_used,
        fallback_used: is_used(|verdict| {
            matches!(verdict, Verdict::FellBack { .. } | Verdict::Continued { .. })
        }),
        trail,
    };
    object.insert("resilience".to_owned(), to_raw_value(&details).ok()?);
    serde_json::to_vec(&object).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Regression: the wait of a chain whose targets are all cooling down was taken for a retry.
    #[test]
    fn a_retry_follows_a_failed_attempt_at_the_same_target() {
        let rejected = Verdict::Rejected { gate: Gate::CircuitBreaker, code: ErrorCode::Overloaded };
        let (failed, wait) =
            (Verdict::Failed(ErrorCode::ServerError), Verdict::Waiting(Duration::from_secs(1)));
        for (steps, is_retry) in [
            (&[("a", &failed), ("a", &wait)][..], true),
            (&[("a", &rejected), ("b", &rejected), ("b", &wait)], false),
            (&[("a", &failed), ("b", &rejected), ("b", &wait)], false),
            (&[("a", &wait), ("a", &failed)], false),
        ] {
            let trail = Trail::new();
            for (target, verdict) in steps {
                trail.enter(&(*target).into());
                trail.push((*verdict).clone());
            }
            let extended = String::from_utf8(extended(b"{}", &trail).unwrap()).unwrap();
            assert!(extended.contains(&format!(r#""retry_used":{is_retry}"#)), "{steps:?} {extended}");
        }
    }

    #[test]
    fn the_fields_of_the_error_stay_as_they_are_written() {
        for field in [r#"{"id":12345678901234567890123}"#, "[1.10,-0]", "1e400", r#""\u0061""#] {
            let error = format!(r#"{{"error":{field}}}"#);
            let extended = String::from_utf8(extended(error.as_bytes(), &Trail::new()).unwrap()).unwrap();
            assert!(extended.starts_with(&format!(r#"{{"error":{field},"resilience":{{"#)), "{extended}");
        }
    }
}
