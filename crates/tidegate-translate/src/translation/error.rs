//! Errors in the format and with the error types of the other dialect.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::{Value, json};
use tidegate_core::{ErrorCode, Failure, FailureKind};
use tidegate_providers::{Provider, ProviderClassifier, prompt_too_long};

/// A classified error with its message.
pub(super) struct TranslatedError {
    pub(super) failure: Failure,
    message: String,
}

impl TranslatedError {
    /// Reads the body of an error response or of an error event.
    pub(super) fn read(provider: Provider, status: Option<StatusCode>, body: &[u8]) -> Self {
        Self::new(ProviderClassifier::new(provider).failure_of(status, body), body)
    }

    /// The error for a failure that is known already. Without a message in the body, the failure's own text
    /// is used.
    pub(super) fn new(failure: Failure, body: &[u8]) -> Self {
        let message = ProviderClassifier::error_message(body).unwrap_or_else(|| failure.to_string());
        Self { failure, message }
    }

    /// An error for a failure without a body.
    pub(super) fn from_failure(failure: Failure) -> Self {
        Self { message: failure.to_string(), failure }
    }

    /// The failure, if the body of a response with a success status is an error.
    pub(super) fn failure_in_success(provider: Provider, body: &[u8]) -> Option<Failure> {
        ProviderClassifier::new(provider).failure_in(body)
    }

    /// `{"error":{"message":...,"type":...,"param":null,"code":...}}`
    pub(super) fn as_chat(&self) -> Value {
        use ErrorCode as E;
        let (kind, code) = match (self.failure.code, self.failure.kind) {
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
        // Anthropic reports a prompt that is too long as an invalid request.
        let kind = match (self.failure.code, self.failure.kind) {
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
        let message = match self.failure.kind {
            FailureKind::ContextLength => prompt_too_long(&self.message),
            _ => Cow::from(&self.message),
        };
        json!({"type": "error", "error": {"type": kind, "message": message}})
    }
}
