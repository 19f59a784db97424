//! Telling limits apart. "Too many" may mean of this minute, of this day, of this purse, or of this model's
//! room; the first word is often the same, and the rest of the answer knows.

use std::time::Duration;

use tidegate_core::{ErrorCode, LimitScope};

use crate::error_body::ErrorBody;
use crate::meaning::Meaning;
use crate::phrases;
use crate::vocabulary::Weight;
use crate::words::says;

/// A wait up to this is worth it even where the limit counts by the day: such limits often roll.
pub(crate) const SHORT: Duration = Duration::from_secs(5 * 60);

/// The kind of limit that `first` is. `weight` tells how firmly it was said, `wait` what the answer asks for.
pub(crate) fn kind(first: Meaning, weight: Weight, body: &ErrorBody<'_>, wait: Option<Duration>) -> Meaning {
    if first.code != ErrorCode::RateLimited && weight != Weight::Broad {
        return first;
    }
    let (message, is_firm) = (body.whole_message(), weight == Weight::Exact);
    if phrases::is_beyond_the_limit(message) {
        return Meaning::CONTEXT;
    }
    if is_never(body) || (!is_firm && phrases::is_unpaid(message)) {
        return Meaning::SPEND;
    }
    if !is_firm && phrases::is_full(message) {
        return Meaning::OVERLOAD;
    }
    if first == Meaning::DAILY || names_a_day(body) {
        // What was cut off may be the delay that makes it a short one.
        return if is_short(wait) || body.is_cut { Meaning::RATE } else { Meaning::DAILY };
    }
    if phrases::is_daily(message) {
        // A firm word stands, and the scope says that it is futile to wait.
        let daily =
            if is_firm { Meaning { scope: LimitScope::Daily, ..Meaning::RATE } } else { Meaning::DAILY };
        return if is_short(wait) { Meaning::RATE } else { daily };
    }
    let is_bare = weight == Weight::Vague;
    if is_bare && phrases::hints_at_money(message) { Meaning::SPEND } else { Meaning::RATE }
}

fn is_short(wait: Option<Duration>) -> bool {
    wait.is_some_and(|wait| wait <= SHORT)
}

/// One of the quotas that Google names counts by the day: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
fn names_a_day(body: &ErrorBody<'_>) -> bool {
    body.limits.iter().any(|limit| limit.contains("PerDay"))
}

/// Google's limit of zero: the model is not part of the plan, whatever delay the answer tells.
fn is_never(body: &ErrorBody<'_>) -> bool {
    let is_google = body.status.is_some() || !body.limits.is_empty();
    is_google && (body.has_zero_limit || says(body.whole_message(), "limit 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECS: fn(u64) -> Option<Duration> = |secs| Some(Duration::from_secs(secs));

    fn of(weight: Weight, body: &str, wait: Option<Duration>) -> Meaning {
        kind(Meaning::RATE, weight, &ErrorBody::read(body.as_bytes()), wait)
    }

    #[test]
    fn p24_a_day_is_waited_for_only_if_it_is_a_short_one() {
        let google = r#"{"error":{"status":"S","details":[{"quotaId":"RequestsPerDay"}]}}"#;
        for weight in [Weight::Exact, Weight::Broad] {
            assert_eq!(of(weight, google, None), Meaning::DAILY);
            assert_eq!(of(weight, google, SECS(3)), Meaning::RATE);
            assert_eq!(of(weight, google, SECS(300)), Meaning::RATE);
            assert_eq!(of(weight, google, SECS(301)), Meaning::DAILY);
            assert_eq!(
                of(weight, &google[..google.len() - 3], None),
                Meaning::RATE,
                "the delay may be cut off"
            );
        }
    }

    #[test]
    fn the_weaker_the_word_the_more_the_message_counts() {
        let kinds = |message: &str| {
            [Weight::Exact, Weight::Broad, Weight::Vague].map(|weight| of(weight, message, None))
        };
        let futile = Meaning { scope: LimitScope::Daily, ..Meaning::RATE };
        assert_eq!(kinds("too many requests per day"), [futile, Meaning::DAILY, Meaning::DAILY]);
        assert_eq!(kinds("spend limit"), [Meaning::RATE, Meaning::SPEND, Meaning::SPEND]);
        assert_eq!(kinds("at capacity"), [Meaning::RATE, Meaning::OVERLOAD, Meaning::OVERLOAD]);
        assert_eq!(kinds("quota"), [Meaning::RATE, Meaning::RATE, Meaning::SPEND]);
        assert_eq!(kinds("quota of requests per minute"), [Meaning::RATE; 3]);
    }

    #[test]
    fn a_limit_of_zero_is_googles_way_to_say_never() {
        let google = r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"metric m, limit: 0, model g"}}"#;
        assert_eq!(of(Weight::Broad, google, SECS(3)), Meaning::SPEND);
        assert_eq!(of(Weight::Broad, r#"{"error":{"message":"limit: 0"}}"#, SECS(3)), Meaning::RATE);
    }
}
