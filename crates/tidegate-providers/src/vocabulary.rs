//! The code words that providers put into `error.code`, `error.type`, `error.status` or `__type`.
//!
//! One table serves all: providers copied the words from each other, and no word was found that means two
//! things. A new word is a new line here and a reply in `fixtures/`.

use tidegate_core::ErrorCode;

use crate::meaning::Meaning;

/// What a code word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) meaning: Meaning,
    pub(crate) weight: Weight,
}

/// How far a code word is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Says it all; the message cannot change it.
    Exact,
    /// Names a family; details or the message may narrow it.
    Broad,
    /// Said of almost anything, so a status that says more goes first.
    Vague,
}

const AUTH: Meaning = Meaning::of(ErrorCode::Authentication);
const PERMISSION: Meaning = Meaning::of(ErrorCode::PermissionDenied);
const NOT_FOUND: Meaning = Meaning::of(ErrorCode::NotFound);
const INVALID: Meaning = Meaning::of(ErrorCode::InvalidRequest);
const SERVER: Meaning = Meaning::of(ErrorCode::ServerError);
const TIMEOUT: Meaning = Meaning::of(ErrorCode::Timeout);
const CONFLICT: Meaning = Meaning::of(ErrorCode::Conflict);
const CANCELLED: Meaning = Meaning::of(ErrorCode::Cancelled);

/// Compared in any case, so Google's `NOT_FOUND` and Bedrock's two spellings of an exception need one line.
#[rustfmt::skip]
const WORDS: &[(Weight, Meaning, &[&str])] = &[
    // The purse is empty, or closed.
    (Weight::Exact, Meaning::SPEND, &[
        "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "enforced_spend_limit_reached",
        "billing_not_active", "billing_hard_limit_reached", "billing_error", "billing_disabled",
        "quota_exceeded", "exceeded_current_quota_error", "insufficient_balance",
        "insufficient_credits",
    ]),
    (Weight::Exact, Meaning::DAILY, &["ServiceQuotaExceededException"]),
    // Google's two words for a quota: the details tell for how long.
    (Weight::Broad, Meaning::DAILY, &["quota_exhausted"]),
    (Weight::Broad, Meaning::RATE, &["resource_exhausted"]),

    // Too fast. The broad ones are also sent for limits per day and for money.
    (Weight::Exact, Meaning::RATE, &[
        "rate_limit_exceeded", "rate_limit_reached", "rate_limit_reached_error", "slow_down",
        "in_flight_budget_exhausted", "too_many_requests", "too_many_requests_error", "RateLimitReached",
        "request_quota_exceeded", "token_quota_exceeded",
    ]),
    (Weight::Broad, Meaning::RATE, &[
        "rate_limit_error", "rate_limited", "tokens", "requests", "ThrottlingException",
        "TooManyRequestsException",
    ]),

    // No room.
    (Weight::Exact, Meaning::OVERLOAD, &[
        "server_is_overloaded", "service_unavailable_error", "service_unavailable", "overloaded",
        "overloaded_error", "model_overloaded", "engine_overloaded_error", "capacity_exceeded",
        "model_capacity_exhausted", "unavailable", "ModelNotReadyException", "ModelErrorException",
        "ServiceUnavailableException", "insufficient_system_resource",
    ]),

    // Too long for the model, or for the API.
    (Weight::Exact, Meaning::CONTEXT, &[
        "context_length_exceeded", "model_context_window_exceeded", "request_too_large",
    ]),

    // Refused for its content.
    (Weight::Exact, Meaning::FILTER, &[
        "content_filter", "content_policy_violation", "moderation_blocked", "ResponsibleAIPolicyViolation",
    ]),

    // Who asks, and for what.
    (Weight::Exact, AUTH, &[
        "invalid_api_key", "authentication_error", "unauthenticated", "unauthorized", "api_key_invalid",
        "access_token_expired", "UnrecognizedClientException", "InvalidSignatureException",
        "ExpiredTokenException", "MissingAuthenticationTokenException",
    ]),
    (Weight::Exact, PERMISSION, &["permission_error", "permission_denied", "AccessDeniedException"]),
    (Weight::Exact, NOT_FOUND, &[
        "model_not_found", "not_found_error", "not_found", "DeploymentNotFound", "model_decommissioned",
        "ResourceNotFoundException",
    ]),

    // Time and state.
    (Weight::Exact, TIMEOUT, &["timeout_error", "request_timeout", "deadline_exceeded", "ModelTimeoutException"]),
    (Weight::Exact, CONFLICT, &["conflict_error", "aborted", "already_exists", "ConflictException"]),
    (Weight::Exact, CANCELLED, &["cancelled"]),

    // Somebody's fault.
    (Weight::Vague, INVALID, &[
        "invalid_request_error", "invalid_request", "invalid_argument", "failed_precondition", "out_of_range",
        "ValidationException", "bad_request",
    ]),
    (Weight::Vague, SERVER, &[
        "server_error", "api_error", "internal", "internal_error", "internal_server_error", "unknown",
        "InternalServerException",
    ]),
    // Comes with a 424, which by itself would be the caller's mistake.
    (Weight::Exact, SERVER, &["ModelStreamErrorException"]),
];

/// What `word` says, if it is known.
pub(crate) fn look_up(word: &str) -> Option<Word> {
    WORDS
        .iter()
        .find(|(.., words)| words.iter().any(|known| known.eq_ignore_ascii_case(word)))
        .map(|&(weight, meaning, _)| Word { meaning, weight })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_word_is_said_twice() {
        let mut seen = HashSet::new();
        for word in WORDS.iter().flat_map(|(.., words)| *words) {
            assert!(seen.insert(word.to_ascii_lowercase()), "{word}");
        }
    }

    /// The words that the protocol maps itself, provider by provider.
    #[test]
    fn agrees_with_the_mappings_of_the_protocol() {
        for (word, code) in [
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
            assert_eq!(look_up(word).map(|word| word.meaning.code.name()), Some(code), "{word}");
        }
        assert_eq!(look_up("throttlingException"), look_up("ThrottlingException"));
        assert_eq!(look_up("nothing of the kind"), None);
        assert_eq!(look_up(""), None);
    }
}
