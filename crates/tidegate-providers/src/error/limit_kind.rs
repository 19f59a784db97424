//! Distinguishes the kinds of limits. "Too many" may refer to a limit per minute, a limit per day, a spend
//! limit, or the capacity of the model. The error code is often the same, and the rest of the response shows
//! the difference.

use std::time::Duration;

use tidegate_core::{ErrorCode, LimitScope};

use crate::error::body::ParsedErrorBody;
use crate::error::class::FailureClass;
use crate::error::codes::Specificity;
use crate::error::phrases;
use crate::limits::SHORT_WAIT;
use crate::text::word_match::contains_phrase;

/// Narrows the class `first` of a limit. `specificity` is that of the source of `first`, and `wait` is the
/// wait that the response reports.
pub(crate) fn refine(
    first: FailureClass,
    specificity: Specificity,
    body: &ParsedErrorBody<'_>,
    wait: Option<Duration>,
) -> FailureClass {
    let (message, is_firm) = (body.whole_message(), specificity == Specificity::Exact);
    if first == FailureClass::SPEND && phrases::is_spend_of_request(message) {
        return FailureClass::SPEND_OF_REQUEST;
    }
    // Also in a truncated body, since no code takes precedence over it.
    if body.message.as_deref().is_some_and(phrases::is_token_limit) {
        return FailureClass::RATE;
    }
    if first.code != ErrorCode::RateLimited && specificity != Specificity::Broad {
        return first;
    }
    if phrases::exceeds_limit_alone(message) {
        return FailureClass::CONTEXT;
    }
    if is_zero_limit(body) || (!is_firm && phrases::is_out_of_credit(message)) {
        return FailureClass::SPEND;
    }
    if !is_firm && phrases::is_at_capacity(message) {
        return FailureClass::OVERLOAD;
    }
    if first == FailureClass::DAILY || has_daily_quota(body) {
        // The truncated part may contain a delay that makes the wait short.
        return if is_short_wait(wait) || body.is_cut { FailureClass::RATE } else { FailureClass::DAILY };
    }
    if phrases::is_daily(message) {
        // An exact code is kept, and the scope marks a wait as futile.
        let daily = if is_firm {
            FailureClass { scope: LimitScope::Daily, ..FailureClass::RATE }
        } else {
            FailureClass::DAILY
        };
        return if is_short_wait(wait) { FailureClass::RATE } else { daily };
    }
    let is_bare = specificity == Specificity::Vague;
    if is_bare && phrases::suggests_billing(message) { FailureClass::SPEND } else { FailureClass::RATE }
}

fn is_short_wait(wait: Option<Duration>) -> bool {
    wait.is_some_and(|wait| wait <= SHORT_WAIT)
}

/// Whether one of the quotas that Google lists is counted per day:
/// `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
fn has_daily_quota(body: &ParsedErrorBody<'_>) -> bool {
    body.limits.iter().any(|limit| limit.contains("PerDay"))
}

/// Google's limit of zero: the model is not part of the plan, whatever delay the response contains.
fn is_zero_limit(body: &ParsedErrorBody<'_>) -> bool {
    let is_google = body.status.is_some() || !body.limits.is_empty();
    is_google && (body.has_zero_limit || contains_phrase(body.whole_message(), "limit 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECS: fn(u64) -> Option<Duration> = |secs| Some(Duration::from_secs(secs));

    fn of(specificity: Specificity, body: &str, wait: Option<Duration>) -> FailureClass {
        refine(FailureClass::RATE, specificity, &ParsedErrorBody::read(body.as_bytes()), wait)
    }

    // Pitfall P24 (docs/pitfalls.md).
    #[test]
    fn a_daily_limit_is_a_rate_limit_only_with_a_short_wait() {
        let google = r#"{"error":{"status":"S","details":[{"quotaId":"RequestsPerDay"}]}}"#;
        for specificity in [Specificity::Exact, Specificity::Broad] {
            assert_eq!(of(specificity, google, None), FailureClass::DAILY);
            assert_eq!(of(specificity, google, SECS(3)), FailureClass::RATE);
            assert_eq!(of(specificity, google, SECS(300)), FailureClass::RATE);
            assert_eq!(of(specificity, google, SECS(301)), FailureClass::DAILY);
            assert_eq!(
                of(specificity, &google[..google.len() - 3], None),
                FailureClass::RATE,
                "the delay may be cut off"
            );
        }
    }

    #[test]
    fn the_less_specific_the_code_the_more_the_message_decides() {
        let refined = |message: &str| {
            [Specificity::Exact, Specificity::Broad, Specificity::Vague]
                .map(|specificity| of(specificity, message, None))
        };
        let futile = FailureClass { scope: LimitScope::Daily, ..FailureClass::RATE };
        assert_eq!(refined("too many requests per day"), [futile, FailureClass::DAILY, FailureClass::DAILY]);
        assert_eq!(refined("spend limit"), [FailureClass::RATE, FailureClass::SPEND, FailureClass::SPEND]);
        assert_eq!(
            refined("at capacity"),
            [FailureClass::RATE, FailureClass::OVERLOAD, FailureClass::OVERLOAD]
        );
        assert_eq!(refined("quota"), [FailureClass::RATE, FailureClass::RATE, FailureClass::SPEND]);
        assert_eq!(refined("quota of requests per minute"), [FailureClass::RATE; 3]);
    }

    #[test]
    fn a_limit_of_zero_at_google_is_a_spend_limit() {
        let google = r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"metric m, limit: 0, model g"}}"#;
        assert_eq!(of(Specificity::Broad, google, SECS(3)), FailureClass::SPEND);
        assert_eq!(
            of(Specificity::Broad, r#"{"error":{"message":"limit: 0"}}"#, SECS(3)),
            FailureClass::RATE
        );
    }
}
