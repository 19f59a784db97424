//! Telling limits apart. "Too many" may mean of this minute, of this day, of this purse, or of this model's
//! room; the first word is often the same, and the rest of the answer knows.

use std::time::Duration;

use tidegate_core::{ErrorCode, LimitScope};

use crate::error_body::ParsedErrorBody;
use crate::failure_class::FailureClass;
use crate::phrases;
use crate::error_codes::Specificity;
use crate::word_match::contains_phrase;

/// A wait up to this is worth it even where the limit counts by the day: such limits often roll.
pub(crate) const SHORT_WAIT: Duration = Duration::from_secs(5 * 60);

/// The kind of limit that `first` is. `specificity` tells how firmly it was said, `wait` what the answer asks for.
pub(crate) fn refine(first: FailureClass, specificity: Specificity, body: &ParsedErrorBody<'_>, wait: Option<Duration>) -> FailureClass {
    if first.code != ErrorCode::RateLimited && specificity != Specificity::Broad {
        return first;
    }
    let (message, is_firm) = (body.whole_message(), specificity == Specificity::Exact);
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
        // What was cut off may be the delay that makes it a short one.
        return if is_short_wait(wait) || body.is_cut { FailureClass::RATE } else { FailureClass::DAILY };
    }
    if phrases::is_daily(message) {
        // A firm word stands, and the scope says that it is futile to wait.
        let daily =
            if is_firm { FailureClass { scope: LimitScope::Daily, ..FailureClass::RATE } } else { FailureClass::DAILY };
        return if is_short_wait(wait) { FailureClass::RATE } else { daily };
    }
    let is_bare = specificity == Specificity::Vague;
    if is_bare && phrases::suggests_billing(message) { FailureClass::SPEND } else { FailureClass::RATE }
}

fn is_short_wait(wait: Option<Duration>) -> bool {
    wait.is_some_and(|wait| wait <= SHORT_WAIT)
}

/// One of the quotas that Google names counts by the day: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
fn has_daily_quota(body: &ParsedErrorBody<'_>) -> bool {
    body.limits.iter().any(|limit| limit.contains("PerDay"))
}

/// Google's limit of zero: the model is not part of the plan, whatever delay the answer tells.
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

    #[test]
    fn p24_a_day_is_waited_for_only_if_it_is_a_short_one() {
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
    fn the_weaker_the_word_the_more_the_message_counts() {
        let refined = |message: &str| {
            [Specificity::Exact, Specificity::Broad, Specificity::Vague].map(|specificity| of(specificity, message, None))
        };
        let futile = FailureClass { scope: LimitScope::Daily, ..FailureClass::RATE };
        assert_eq!(refined("too many requests per day"), [futile, FailureClass::DAILY, FailureClass::DAILY]);
        assert_eq!(refined("spend limit"), [FailureClass::RATE, FailureClass::SPEND, FailureClass::SPEND]);
        assert_eq!(refined("at capacity"), [FailureClass::RATE, FailureClass::OVERLOAD, FailureClass::OVERLOAD]);
        assert_eq!(refined("quota"), [FailureClass::RATE, FailureClass::RATE, FailureClass::SPEND]);
        assert_eq!(refined("quota of requests per minute"), [FailureClass::RATE; 3]);
    }

    #[test]
    fn a_limit_of_zero_is_googles_way_to_say_never() {
        let google = r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"metric m, limit: 0, model g"}}"#;
        assert_eq!(of(Specificity::Broad, google, SECS(3)), FailureClass::SPEND);
        assert_eq!(of(Specificity::Broad, r#"{"error":{"message":"limit: 0"}}"#, SECS(3)), FailureClass::RATE);
    }
}
