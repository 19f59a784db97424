//! The errors of the gateway in the format of the caller's API.
//!
//! | API | error body |
//! |---|---|
//! | OpenAI | `{"error":{"type","code","message","param",...}}` |
//! | Anthropic | `{"type":"error","error":{"type","message","code",...}}` |
//!
//! The fields of [`ErrorBody`] stand beside those of the API. `standard_code` is the standard code in both
//! formats. OpenAI's API uses `code` for codes of its own, so there `code` is the standard code only if the
//! API has no code for the error.

use serde_json::{Value, json};
use tidegate::ErrorCode;
use tidegate::provider::{ErrorBody, FailureKind};
use tidegate::providers::prompt_too_long;

use crate::endpoint::ApiDialect;

/// OpenAI's code for a model that does not exist.
pub(crate) const MODEL_NOT_FOUND: &str = "model_not_found";

/// The error body for callers of `dialect`. `api_code` is the code of OpenAI's API, if the standard code is
/// not specific enough to select one.
pub(crate) fn error_body(body: &ErrorBody, dialect: ApiDialect, api_code: Option<&'static str>) -> Value {
    let mut error = match serde_json::to_value(body) {
        Ok(Value::Object(mut fields)) => fields.remove("error").unwrap_or_default(),
        _ => Value::default(),
    };
    let (code, kind) = (body.code(), body.kind());
    error["standard_code"] = code.code().into();
    match dialect {
        ApiDialect::Anthropic => {
            error["type"] = anthropic_type(code, kind).into();
            if kind == FailureKind::ContextLength {
                error["message"] = prompt_too_long(body.message()).into();
            }
            json!({"type": "error", "error": error})
        }
        ApiDialect::OpenAi | ApiDialect::Gemini => {
            error["type"] = openai_type(code).into();
            error["param"] = Value::Null;
            error["code"] = api_code.or_else(|| openai_code(code, kind)).unwrap_or(code.code()).into();
            json!({"error": error})
        }
    }
}

/// The `error.type` of OpenAI's API.
const fn openai_type(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::Authentication
        | ErrorCode::PermissionDenied
        | ErrorCode::NotFound
        | ErrorCode::RequestTooLarge
        | ErrorCode::Conflict
        | ErrorCode::Cancelled => "invalid_request_error",
        ErrorCode::RateLimited => "rate_limit_error",
        ErrorCode::QuotaExhausted => "insufficient_quota",
        _ => "server_error",
    }
}

/// The `error.code` of OpenAI's API, if it has one for `code`.
const fn openai_code(code: ErrorCode, kind: FailureKind) -> Option<&'static str> {
    match (kind, code) {
        (FailureKind::ContextLength, _) => Some("context_length_exceeded"),
        (FailureKind::ContentFilter, _) => Some("content_policy_violation"),
        (_, ErrorCode::Authentication) => Some("invalid_api_key"),
        (_, ErrorCode::RateLimited) => Some("rate_limit_exceeded"),
        (_, ErrorCode::QuotaExhausted) => Some("insufficient_quota"),
        (_, ErrorCode::Overloaded) => Some("server_is_overloaded"),
        _ => None,
    }
}

/// The `error.code` of a failed response of OpenAI's Responses API, whose codes are a closed set.
pub(crate) const fn responses_code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::RateLimited | ErrorCode::QuotaExhausted => "rate_limit_exceeded",
        ErrorCode::InvalidRequest | ErrorCode::RequestTooLarge => "invalid_prompt",
        _ => "server_error",
    }
}

/// The `error.type` of Anthropic's API.
const fn anthropic_type(code: ErrorCode, kind: FailureKind) -> &'static str {
    match code {
        // As Anthropic reports it.
        _ if matches!(kind, FailureKind::ContextLength) => "invalid_request_error",
        ErrorCode::InvalidRequest | ErrorCode::Conflict | ErrorCode::Cancelled => "invalid_request_error",
        ErrorCode::Authentication => "authentication_error",
        ErrorCode::PermissionDenied => "permission_error",
        ErrorCode::NotFound => "not_found_error",
        ErrorCode::RequestTooLarge => "request_too_large",
        ErrorCode::RateLimited | ErrorCode::QuotaExhausted => "rate_limit_error",
        ErrorCode::Overloaded => "overloaded_error",
        ErrorCode::Timeout => "timeout_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_code_has_the_type_and_code_of_both_apis() {
        for (code, openai, anthropic) in [
            (ErrorCode::InvalidRequest, ("invalid_request_error", "E1001"), "invalid_request_error"),
            (ErrorCode::Authentication, ("invalid_request_error", "invalid_api_key"), "authentication_error"),
            (ErrorCode::PermissionDenied, ("invalid_request_error", "E1003"), "permission_error"),
            (ErrorCode::NotFound, ("invalid_request_error", "E1004"), "not_found_error"),
            (ErrorCode::RequestTooLarge, ("invalid_request_error", "E1005"), "request_too_large"),
            (ErrorCode::RateLimited, ("rate_limit_error", "rate_limit_exceeded"), "rate_limit_error"),
            (ErrorCode::QuotaExhausted, ("insufficient_quota", "insufficient_quota"), "rate_limit_error"),
            (ErrorCode::ServerError, ("server_error", "E3001"), "api_error"),
            (ErrorCode::Overloaded, ("server_error", "server_is_overloaded"), "overloaded_error"),
            (ErrorCode::Timeout, ("server_error", "E3003"), "timeout_error"),
            (ErrorCode::Conflict, ("invalid_request_error", "E4001"), "invalid_request_error"),
            (ErrorCode::Cancelled, ("invalid_request_error", "E4002"), "invalid_request_error"),
            (ErrorCode::Unknown, ("server_error", "E9999"), "api_error"),
        ] {
            let body = ErrorBody::new(code, "why");
            let of_openai = &error_body(&body, ApiDialect::OpenAi, None)["error"];
            assert_eq!((&of_openai["type"], &of_openai["code"]), (&json!(openai.0), &json!(openai.1)));
            let of_anthropic = &error_body(&body, ApiDialect::Anthropic, None)["error"];
            assert_eq!(
                (&of_anthropic["type"], &of_anthropic["code"]),
                (&json!(anthropic), &json!(code.code()))
            );
            assert_eq!(of_openai["standard_code"], of_anthropic["standard_code"]);
        }
    }

    #[test]
    fn the_fields_of_the_protocol_stay() {
        let body =
            ErrorBody::new(ErrorCode::RateLimited, "wait").with_retry_after(Some(Duration::from_secs(2)));
        assert_eq!(
            error_body(&body, ApiDialect::OpenAi, None),
            json!({"error": {
                "type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "wait", "param": null,
                "standard_code": "E2001", "name": "rate_limited", "retryable": true, "fallbackable": true,
                "retry_after_ms": 2000,
            }})
        );
        assert_eq!(
            error_body(&body, ApiDialect::Anthropic, None),
            json!({"type": "error", "error": {
                "type": "rate_limit_error", "code": "E2001", "message": "wait",
                "standard_code": "E2001", "name": "rate_limited", "retryable": true, "fallbackable": true,
                "retry_after_ms": 2000,
            }})
        );
    }
}
