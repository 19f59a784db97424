//! Errors, in the envelope and the words of the other dialect.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidegate_core::{ErrorCode, Failure, FailureKind};

use crate::Provider;
use crate::answer::Answer;
use crate::error_body::ErrorBody;

/// What an error says: what it means, and the words for a human.
pub(super) struct Told {
    pub(super) failure: Failure,
    message: String,
}

impl Told {
    /// Reads the body of a failed answer, or of an error event. A body that says nothing is spoken for.
    pub(super) fn read(provider: Provider, status: Option<StatusCode>, body: &[u8]) -> Self {
        // Only headers can tell a moment, so no clock is needed without them.
        let (headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
        let failure = Answer::read(provider, status, &headers, body, now).failure(now);
        let is_page = body.trim_ascii_start().starts_with(b"<");
        let message = ErrorBody::read(body).message.filter(|text| !is_page && !text.trim().is_empty());
        let message = message.map_or_else(|| failure.to_string(), |text| text.into_owned());
        Self { failure, message }
    }

    /// A failure of which nothing but the code is known.
    pub(super) fn of(failure: Failure) -> Self {
        Self { message: failure.to_string(), failure }
    }

    /// Whether `body` is an error under a status that says nothing of one.
    pub(super) fn in_success(provider: Provider, body: &[u8]) -> Option<Failure> {
        let told: Value = serde_json::from_slice(body).ok()?;
        let is_error = !told["error"].is_null() || told["type"] == "error" || told["object"] == "error";
        crate::ProviderClassifier::new(provider).failure_in(body).filter(|_| is_error)
    }

    /// `{"error":{"message":...,"type":...,"param":null,"code":...}}`
    pub(super) fn as_chat(&self) -> Value {
        use ErrorCode as E;
        let (kind, code) = match (self.failure.code, self.failure.cause) {
            (_, FailureKind::ContextLength) => ("invalid_request_error", Some("context_length_exceeded")),
            (_, FailureKind::ContentFilter) => ("invalid_request_error", Some("content_policy_violation")),
            (E::Authentication, _) => ("invalid_request_error", Some("invalid_api_key")),
            (E::PermissionDenied, _) => ("invalid_request_error", Some("permission_denied")),
            (E::NotFound, _) => ("invalid_request_error", Some("model_not_found")),
            (E::InvalidRequest | E::RequestTooLarge, _) => ("invalid_request_error", None),
            (E::RateLimited, _) => ("requests", Some("rate_limit_exceeded")),
            (E::QuotaExhausted, _) => ("insufficient_quota", Some("insufficient_quota")),
            (E::Overloaded, _) => ("service_unavailable_error", Some("server_is_overloaded")),
            (E::Timeout, _) => ("server_error", Some("request_timeout")),
            (E::Conflict, _) => ("invalid_request_error", Some("conflict_error")),
            (E::Cancelled, _) => ("invalid_request_error", Some("cancelled")),
            (E::ServerError | E::Unknown, _) => ("server_error", None),
        };
        json!({"error": {"message": self.message, "type": kind, "param": null, "code": code}})
    }

    /// `{"type":"error","error":{"type":...,"message":...}}`
    pub(super) fn as_messages(&self) -> Value {
        use ErrorCode as E;
        // The prompt that is too long is a bad request here, like many other things.
        let kind = match (self.failure.code, self.failure.cause) {
            (_, FailureKind::ContextLength) | (E::InvalidRequest | E::Cancelled, _) => {
                "invalid_request_error"
            }
            (E::Authentication, _) => "authentication_error",
            (E::PermissionDenied, _) => "permission_error",
            (E::NotFound, _) => "not_found_error",
            (E::RequestTooLarge, _) => "request_too_large",
            (E::RateLimited, _) => "rate_limit_error",
            (E::QuotaExhausted, _) => "billing_error",
            (E::Overloaded, _) => "overloaded_error",
            (E::Timeout, _) => "timeout_error",
            (E::Conflict, _) => "conflict_error",
            (E::ServerError | E::Unknown, _) => "api_error",
        };
        json!({"type": "error", "error": {"type": kind, "message": self.message}})
    }
}
