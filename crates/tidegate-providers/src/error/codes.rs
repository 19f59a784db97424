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
        "usage_not_included",
        // Volcengine's: overdue, without a plan, and a limit that the account has set itself.
        "OperationDenied.ServiceOverdue", "InvalidSubscription", "SetLimitExceeded",
        // Zhipu's: overdue, and a plan that has expired or lacks the model. MiniMax's.
        "1113", "1309", "1311", "base_resp.1008",
    ]),
    (Specificity::Exact, FailureClass::DAILY, &["ServiceQuotaExceededException", "base_resp.2056"]),
    // Google's two codes for a quota: the details contain its period.
    (Specificity::Broad, FailureClass::DAILY, &[
        "quota_exhausted",
        // Those of plans, with limits of hours, weeks and months: ChatGPT's, Volcengine's, and Zhipu's.
        "usage_limit_reached", "QuotaExceeded",
        "1304", "1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321",
    ]),
    (Specificity::Broad, FailureClass::RATE, &["resource_exhausted"]),

    // Rate limits. The broad codes are also sent for daily limits and for billing.
    (Specificity::Exact, FailureClass::RATE, &[
        "rate_limit_exceeded", "rate_limit_reached", "rate_limit_reached_error", "slow_down",
        "in_flight_budget_exhausted", "too_many_requests", "too_many_requests_error", "RateLimitReached",
        "request_quota_exceeded", "token_quota_exceeded", "base_resp.1002", "base_resp.1039",
        "base_resp.1041", "base_resp.2045",
        "Throttling", "Throttling.RateQuota", "Throttling.BurstRate", "LimitRequests", "limit_requests",
        "limit_burst_rate",
        // Volcengine's.
        "RateLimitExceeded.EndpointRPMExceeded", "RateLimitExceeded.EndpointTPMExceeded",
        "ModelAccountRpmRateLimitExceeded", "ModelAccountTpmRateLimitExceeded",
        "ModelAccountIpmRateLimitExceeded", "APIAccountRpmRateLimitExceeded", "AccountRateLimitExceeded",
        "RequestBurstTooFast", "InflightBatchsizeExceeded",
        // Zhipu's: too many at once, and too often.
        "1302", "1303",
    ]),
    (Specificity::Broad, FailureClass::RATE, &[
        "rate_limit_error", "rate_limited", "tokens", "requests", "ThrottlingException",
        "TooManyRequestsException", "Throttling.AllocationQuota",
        // Zhipu's, also for a server that is overloaded.
        "1305",
    ]),

    // No capacity.
    (Specificity::Exact, FailureClass::OVERLOAD, &[
        "server_is_overloaded", "server_overload", "service_unavailable_error", "service_unavailable", "overloaded",
        "overloaded_error", "model_overloaded", "engine_overloaded_error", "capacity_exceeded",
        "model_capacity_exhausted", "unavailable", "ModelNotReadyException", "ModelErrorException",
        "ServiceUnavailableException", "insufficient_system_resource",
        // Volcengine's, and Zhipu's.
        "ServerOverloaded", "1312",
    ]),

    // Too large for the model, or for the API.
    (Specificity::Exact, FailureClass::CONTEXT, &[
        "context_length_exceeded", "model_context_window_exceeded", "request_too_large",
        "exceed_context_size_error", "context_overflow", "tokens_limit_reached",
        // Volcengine's, and Zhipu's.
        "OutofContextError", "1261",
    ]),

    // Rejected by a content filter.
    (Specificity::Exact, FailureClass::FILTER, &[
        "content_filter", "content_policy_violation", "moderation_blocked", "ResponsibleAIPolicyViolation",
        "image_content_policy_violation", "cyber_policy", "bio_policy", "misalignment_policy_violation",
        "DataInspectionFailed", "data_inspection_failed", "base_resp.1026", "base_resp.1027",
        // Those of new-api.
        "sensitive_words_detected", "prompt_blocked",
        // Zhipu's.
        "1301",
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

/// The ends of Volcengine's codes for refused content. Before them is what was refused, such as `InputText`, and
/// behind a point may be the reason.
const FILTER_ENDS: [&str; 2] = ["SensitiveContentDetected", "RiskDetection"];

/// The entry of `code`, if there is one.
pub(crate) fn look_up(code: &str) -> Option<KnownCode> {
    let is_listed = |codes: &[&str]| codes.iter().any(|known| known.eq_ignore_ascii_case(code));
    let listed = CODES.iter().find(|(.., codes)| is_listed(codes));
    let listed = listed.map(|&(specificity, class, _)| KnownCode { class, specificity });
    listed.or_else(|| {
        let (subject, _) = code.split_once('.').unwrap_or((code, ""));
        let is_filter = FILTER_ENDS.iter().any(|end| subject.ends_with(end));
        is_filter.then_some(KnownCode { class: FailureClass::FILTER, specificity: Specificity::Exact })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Specificity::{Broad, Exact, Vague};
    use super::*;

    #[test]
    fn no_code_is_listed_twice() {
        let mut seen = HashSet::new();
        for code in CODES.iter().flat_map(|(.., codes)| *codes) {
            assert!(seen.insert(code.to_ascii_lowercase()), "{code}");
        }
    }

    /// A code with its class, and how specific it is, for each of the table.
    #[rustfmt::skip]
    const CLASSES: &[(Specificity, FailureClass, &str)] = &[
        (Exact, FailureClass::SPEND, "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded
            project_spend_limit_exceeded organization_usage_limit_exceeded enforced_spend_limit_reached
            billing_not_active billing_hard_limit_reached billing_error billing_disabled quota_exceeded
            exceeded_current_quota_error insufficient_balance insufficient_balance_error insufficient_credits
            insufficient_user_quota pre_consume_token_quota_failed AccountOverdueError Arrearage
            AllocationQuota.FreeTierOnly CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue
            budget_exceeded usage_not_included OperationDenied.ServiceOverdue InvalidSubscription
            SetLimitExceeded 1113 1309 1311 base_resp.1008"),
        (Exact, FailureClass::DAILY, "ServiceQuotaExceededException base_resp.2056"),
        (Broad, FailureClass::DAILY, "QUOTA_EXHAUSTED usage_limit_reached QuotaExceeded
            1304 1308 1310 1316 1317 1318 1319 1320 1321"),
        (Exact, FailureClass::RATE, "rate_limit_exceeded rate_limit_reached rate_limit_reached_error
            slow_down in_flight_budget_exhausted too_many_requests too_many_requests_error RateLimitReached
            request_quota_exceeded token_quota_exceeded base_resp.1002 base_resp.1039 base_resp.1041
            base_resp.2045 Throttling Throttling.RateQuota Throttling.BurstRate LimitRequests limit_requests
            limit_burst_rate RateLimitExceeded.EndpointRPMExceeded RateLimitExceeded.EndpointTPMExceeded
            ModelAccountRpmRateLimitExceeded ModelAccountTpmRateLimitExceeded ModelAccountIpmRateLimitExceeded
            APIAccountRpmRateLimitExceeded AccountRateLimitExceeded RequestBurstTooFast
            InflightBatchsizeExceeded 1302 1303"),
        (Broad, FailureClass::RATE, "RESOURCE_EXHAUSTED rate_limit_error rate_limited tokens requests
            ThrottlingException TooManyRequestsException Throttling.AllocationQuota 1305"),
        (Exact, FailureClass::OVERLOAD, "server_is_overloaded server_overload service_unavailable_error
            service_unavailable overloaded overloaded_error model_overloaded engine_overloaded_error
            capacity_exceeded MODEL_CAPACITY_EXHAUSTED UNAVAILABLE ModelNotReadyException ModelErrorException
            ServiceUnavailableException insufficient_system_resource ServerOverloaded 1312"),
        (Exact, FailureClass::CONTEXT, "context_length_exceeded model_context_window_exceeded request_too_large
            exceed_context_size_error context_overflow tokens_limit_reached OutofContextError 1261"),
        (Exact, FailureClass::FILTER, "content_filter content_policy_violation moderation_blocked
            ResponsibleAIPolicyViolation image_content_policy_violation cyber_policy bio_policy
            misalignment_policy_violation DataInspectionFailed data_inspection_failed base_resp.1026
            base_resp.1027 sensitive_words_detected prompt_blocked 1301
            SensitiveContentDetected SensitiveContentDetected.SevereViolation InputTextSensitiveContentDetected
            OutputTextSensitiveContentDetected InputImageSensitiveContentDetected.PrivacyInformation
            InputTextRiskDetection OutputImageRiskDetection"),
        (Exact, AUTH, "invalid_api_key authentication_error UNAUTHENTICATED unauthorized API_KEY_INVALID
            access_token_expired UnrecognizedClientException InvalidSignatureException ExpiredTokenException
            MissingAuthenticationTokenException base_resp.1004 base_resp.2049"),
        (Exact, PERMISSION, "permission_error PERMISSION_DENIED AccessDeniedException"),
        (Exact, NOT_FOUND, "model_not_found not_found_error NOT_FOUND DeploymentNotFound model_decommissioned
            ResourceNotFoundException"),
        (Exact, TIMEOUT, "timeout_error request_timeout DEADLINE_EXCEEDED ModelTimeoutException vector_store_timeout
            base_resp.1001"),
        (Exact, CONFLICT, "conflict_error ABORTED ALREADY_EXISTS ConflictException"),
        (Exact, CANCELLED, "CANCELLED"),
        (Vague, INVALID, "invalid_request_error invalid_request INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE
            ValidationException bad_request base_resp.1042 base_resp.2013 invalid_prompt data_residency_mismatch
            invalid_image invalid_image_format invalid_base64_image invalid_image_url image_too_large
            image_too_small image_parse_error invalid_image_mode image_file_too_large
            unsupported_image_media_type empty_image_file failed_to_download_image image_file_not_found"),
        (Vague, SERVER, "server_error api_error INTERNAL internal_error internal_server_error UNKNOWN
            InternalServerException"),
        (Exact, SERVER, "ModelStreamErrorException generation incomplete_generation"),
        (Exact, FailureClass::OUTPUT, "tool_use_failed"),
    ];

    #[test]
    fn every_code_has_its_class() {
        let classes = || {
            let of = |&(specificity, class, codes): &'static (Specificity, FailureClass, &str)| {
                codes.split_whitespace().map(move |code| (KnownCode { class, specificity }, code))
            };
            CLASSES.iter().flat_map(of)
        };
        for (known, code) in classes() {
            assert_eq!(look_up(code), Some(known), "{code}");
        }
        for code in CODES.iter().flat_map(|(.., codes)| *codes) {
            assert!(classes().any(|(_, listed)| listed.eq_ignore_ascii_case(code)), "{code} has no case");
        }
        for code in ["ContentDetected", "SensitiveContentDetected2", "x.SensitiveContentDetected"] {
            assert_eq!(look_up(code), None, "{code}");
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
