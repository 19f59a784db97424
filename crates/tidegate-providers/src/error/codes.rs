//! The error codes that providers put into `error.code`, `error.type`, `error.status` or `__type`.
//!
//! One table covers all providers: they copied the codes from each other, and no code is known to have two
//! meanings. A new code needs a new line here and a reply in `fixtures/`.

use tidegate_core::ErrorCode;

use crate::error::class::FailureClass;

/// The class of an error code, and how specific the code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownCode {
    pub(crate) class: FailureClass,
    pub(crate) specificity: Specificity,
}

/// How specific an error code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Specificity {
    /// The code alone determines the class; the message cannot change it.
    Exact,
    /// The code names a group of errors; details or the message may narrow it.
    Broad,
    /// The code is used for almost any error, so a status that is more specific takes precedence.
    Vague,
}

const AUTH: FailureClass = FailureClass::of(ErrorCode::Authentication);
const PERMISSION: FailureClass = FailureClass::of(ErrorCode::PermissionDenied);
const NOT_FOUND: FailureClass = FailureClass::of(ErrorCode::NotFound);
const INVALID: FailureClass = FailureClass::of(ErrorCode::InvalidRequest);
const SERVER: FailureClass = FailureClass::of(ErrorCode::ServerError);
const TIMEOUT: FailureClass = FailureClass::of(ErrorCode::Timeout);
const CONFLICT: FailureClass = FailureClass::of(ErrorCode::Conflict);
const CANCELLED: FailureClass = FailureClass::of(ErrorCode::Cancelled);

/// Compared without regard to case, so that one line covers Google's `NOT_FOUND` and Bedrock's two spellings
/// of an exception.
#[rustfmt::skip]
const CODES: &[(Specificity, FailureClass, &[&str])] = &[
    // Credit is exhausted, or billing is disabled.
    (Specificity::Exact, FailureClass::SPEND, &[
        "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "enforced_spend_limit_reached",
        "billing_not_active", "billing_hard_limit_reached", "billing_error", "billing_disabled",
        "quota_exceeded", "exceeded_current_quota_error", "insufficient_balance",
        "insufficient_balance_error", "insufficient_credits", "insufficient_user_quota",
        "pre_consume_token_quota_failed", "AccountOverdueError", "Arrearage", "AllocationQuota.FreeTierOnly",
        "CommodityNotPurchased", "PrepaidBillOverdue", "PostpaidBillOverdue", "budget_exceeded",
        // Zhipu's, and MiniMax's.
        "1113", "base_resp.1008",
    ]),
    (Specificity::Exact, FailureClass::DAILY, &["ServiceQuotaExceededException", "base_resp.2056"]),
    // Google's two codes for a quota: the details contain its period.
    (Specificity::Broad, FailureClass::DAILY, &["quota_exhausted"]),
    (Specificity::Broad, FailureClass::RATE, &["resource_exhausted"]),

    // Rate limits. The broad codes are also sent for daily limits and for billing.
    (Specificity::Exact, FailureClass::RATE, &[
        "rate_limit_exceeded", "rate_limit_reached", "rate_limit_reached_error", "slow_down",
        "in_flight_budget_exhausted", "too_many_requests", "too_many_requests_error", "RateLimitReached",
        "request_quota_exceeded", "token_quota_exceeded", "base_resp.1002", "base_resp.1039",
        "base_resp.1041", "base_resp.2045",
        "Throttling", "Throttling.RateQuota", "Throttling.BurstRate", "LimitRequests", "limit_requests",
        "limit_burst_rate",
    ]),
    (Specificity::Broad, FailureClass::RATE, &[
        "rate_limit_error", "rate_limited", "tokens", "requests", "ThrottlingException",
        "TooManyRequestsException", "Throttling.AllocationQuota",
    ]),

    // No capacity.
    (Specificity::Exact, FailureClass::OVERLOAD, &[
        "server_is_overloaded", "server_overload", "service_unavailable_error", "service_unavailable", "overloaded",
        "overloaded_error", "model_overloaded", "engine_overloaded_error", "capacity_exceeded",
        "model_capacity_exhausted", "unavailable", "ModelNotReadyException", "ModelErrorException",
        "ServiceUnavailableException", "insufficient_system_resource",
    ]),

    // Too large for the model, or for the API.
    (Specificity::Exact, FailureClass::CONTEXT, &[
        "context_length_exceeded", "model_context_window_exceeded", "request_too_large",
        "exceed_context_size_error", "context_overflow", "tokens_limit_reached",
        // Zhipu's.
        "1261",
    ]),

    // Rejected by a content filter.
    (Specificity::Exact, FailureClass::FILTER, &[
        "content_filter", "content_policy_violation", "moderation_blocked", "ResponsibleAIPolicyViolation",
        "image_content_policy_violation", "cyber_policy", "bio_policy", "misalignment_policy_violation",
        "DataInspectionFailed", "data_inspection_failed", "base_resp.1026", "base_resp.1027",
    ]),

    // Authentication, permission, and the resource that was requested.
    (Specificity::Exact, AUTH, &[
        "invalid_api_key", "authentication_error", "unauthenticated", "unauthorized", "api_key_invalid",
        "access_token_expired", "UnrecognizedClientException", "InvalidSignatureException",
        "ExpiredTokenException", "MissingAuthenticationTokenException", "base_resp.1004", "base_resp.2049",
    ]),
    (Specificity::Exact, PERMISSION, &["permission_error", "permission_denied", "AccessDeniedException"]),
    (Specificity::Exact, NOT_FOUND, &[
        "model_not_found", "not_found_error", "not_found", "DeploymentNotFound", "model_decommissioned",
        "ResourceNotFoundException",
    ]),

    // Timeouts and conflicts.
    (Specificity::Exact, TIMEOUT, &[
        "timeout_error", "request_timeout", "deadline_exceeded", "ModelTimeoutException", "vector_store_timeout",
        "base_resp.1001",
    ]),
    (Specificity::Exact, CONFLICT, &["conflict_error", "aborted", "already_exists", "ConflictException"]),
    (Specificity::Exact, CANCELLED, &["cancelled"]),

    // General client and server errors.
    (Specificity::Vague, INVALID, &[
        "invalid_request_error", "invalid_request", "invalid_argument", "failed_precondition", "out_of_range",
        "ValidationException", "bad_request", "base_resp.1042", "base_resp.2013",
        // Those of a failed response of OpenAI's. Its sentence may show that a filter has rejected the prompt.
        "invalid_prompt", "data_residency_mismatch", "invalid_image", "invalid_image_format",
        "invalid_base64_image", "invalid_image_url", "image_too_large", "image_too_small", "image_parse_error",
        "invalid_image_mode", "image_file_too_large", "unsupported_image_media_type", "empty_image_file",
        "failed_to_download_image", "image_file_not_found",
    ]),
    (Specificity::Vague, SERVER, &[
        "server_error", "api_error", "internal", "internal_error", "internal_server_error", "unknown",
        "InternalServerException",
    ]),
    // The model has failed, or its tool call could not be parsed: another attempt may succeed. Sent with status
    // 424 or 400, which alone would be an error of the caller. Groq's `json_validate_failed` and
    // `output_parse_failed` are not listed: the cause may be a limit or a schema of the caller.
    (Specificity::Exact, SERVER, &["ModelStreamErrorException", "generation", "incomplete_generation"]),
    (Specificity::Exact, FailureClass::OUTPUT, &["tool_use_failed"]),
];

/// The entry of `code`, if there is one.
pub(crate) fn look_up(code: &str) -> Option<KnownCode> {
    CODES
        .iter()
        .find(|(.., codes)| codes.iter().any(|known| known.eq_ignore_ascii_case(code)))
        .map(|&(specificity, class, _)| KnownCode { class, specificity })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_code_is_listed_twice() {
        let mut seen = HashSet::new();
        for code in CODES.iter().flat_map(|(.., codes)| *codes) {
            assert!(seen.insert(code.to_ascii_lowercase()), "{code}");
        }
    }

    /// The codes that the protocol maps itself, provider by provider.
    #[test]
    fn agrees_with_the_mappings_of_the_protocol() {
        for (provider_code, code) in [
            ("invalid_api_key", "authentication"),
            ("model_not_found", "not_found"),
            ("context_length_exceeded", "request_too_large"),
            ("rate_limit_exceeded", "rate_limited"),
            ("insufficient_quota", "quota_exhausted"),
            ("server_error", "server_error"),
            ("invalid_request_error", "invalid_request"),
            ("authentication_error", "authentication"),
            ("permission_error", "permission_denied"),
            ("not_found_error", "not_found"),
            ("request_too_large", "request_too_large"),
            ("rate_limit_error", "rate_limited"),
            ("api_error", "server_error"),
            ("overloaded_error", "overloaded"),
            ("INVALID_ARGUMENT", "invalid_request"),
            ("FAILED_PRECONDITION", "invalid_request"),
            ("UNAUTHENTICATED", "authentication"),
            ("PERMISSION_DENIED", "permission_denied"),
            ("NOT_FOUND", "not_found"),
            ("RESOURCE_EXHAUSTED", "rate_limited"),
            ("CANCELLED", "cancelled"),
            ("UNKNOWN", "server_error"),
            ("INTERNAL", "server_error"),
            ("UNAVAILABLE", "overloaded"),
            ("DEADLINE_EXCEEDED", "timeout"),
            ("rate_limit_reached", "rate_limited"),
        ] {
            assert_eq!(
                look_up(provider_code).map(|known| known.class.code.name()),
                Some(code),
                "{provider_code}"
            );
        }
        assert_eq!(look_up("throttlingException"), look_up("ThrottlingException"));
        assert_eq!(look_up("nothing of the kind"), None);
        assert_eq!(look_up(""), None);
    }
}
