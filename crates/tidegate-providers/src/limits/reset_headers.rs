//! The reset headers of the limits, for a 429 without a wait: the time until the exhausted limit refills.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tidegate_core::{HintSource, LimitScope, RetryHint};

use crate::error::limit_kind::SHORT_WAIT;
use crate::provider::Provider;
use crate::text::go_duration;

/// The headers of one limit: `state` shows whether it is exhausted, `reset` when it refills.
struct ResetHeaders {
    state: &'static str,
    reset: &'static str,
    format: ResetFormat,
}

#[derive(Clone, Copy)]
enum ResetFormat {
    /// A duration from now: in Go's format (OpenAI, Groq), or in bare seconds (Azure, Cerebras).
    Delay,
    /// A time in RFC 3339.
    Moment,
    /// A time in seconds since 1970.
    Epoch,
}

const fn limit(state: &'static str, reset: &'static str, format: ResetFormat) -> ResetHeaders {
    ResetHeaders { state, reset, format }
}

#[rustfmt::skip]
const LIMITS: [ResetHeaders; 12] = [
    limit("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", ResetFormat::Delay),
    limit("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", ResetFormat::Delay),
    limit("x-ratelimit-remaining-requests_usage_based", "x-ratelimit-reset-requests_usage_based", ResetFormat::Delay),
    limit("x-ratelimit-remaining-tokens_usage_based", "x-ratelimit-reset-tokens_usage_based", ResetFormat::Delay),
    limit("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day", ResetFormat::Delay),
    limit("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute", ResetFormat::Delay),
    limit("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", ResetFormat::Moment),
    limit("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", ResetFormat::Moment),
    limit("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", ResetFormat::Moment),
    limit("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset", ResetFormat::Moment),
    limit("anthropic-ratelimit-unified-5h-status", "anthropic-ratelimit-unified-5h-reset", ResetFormat::Epoch),
    limit("anthropic-ratelimit-unified-7d-status", "anthropic-ratelimit-unified-7d-reset", ResetFormat::Epoch),
];

/// The time until the exhausted limit refills; of several, the latest. A limit with something remaining did
/// not cause this rejection, and neither did a limit that has refilled already.
pub(crate) fn hint(provider: Provider, headers: &HeaderMap, now: SystemTime) -> Option<RetryHint> {
    let (wait, limit) = LIMITS
        .iter()
        .filter(|limit| limit.is_used_up(headers))
        .filter_map(|limit| Some((limit.refill(headers, now)?, limit)))
        .filter(|(wait, _)| !wait.is_zero())
        .max_by_key(|&(wait, _)| wait)?;
    let is_daily = limit.is_daily(provider) && wait > SHORT_WAIT;
    let scope = if is_daily { LimitScope::Daily } else { LimitScope::Momentary };
    Some(RetryHint::after(wait, HintSource::Header(limit.reset)).with_scope(scope))
}

impl ResetHeaders {
    fn is_used_up(&self, headers: &HeaderMap) -> bool {
        text(headers, self.state).is_some_and(|state| state == "0" || state == "rejected")
    }

    fn refill(&self, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
        let value = text(headers, self.reset)?;
        match self.format {
            ResetFormat::Delay => go_duration::parse(value).or_else(|| seconds(value)),
            ResetFormat::Moment => {
                let moment: jiff::Timestamp = value.parse().ok()?;
                Some(until(moment, now))
            }
            ResetFormat::Epoch => {
                let moment = jiff::Timestamp::from_second(value.parse().ok()?).ok()?;
                Some(until(moment, now))
            }
        }
    }

    /// Whether it refills daily or slower. Groq counts requests per day, which the header name does not show.
    fn is_daily(&self, provider: Provider) -> bool {
        match self.reset {
            "x-ratelimit-reset-requests" => provider == Provider::Groq,
            "x-ratelimit-reset-requests-day" | "anthropic-ratelimit-unified-7d-reset" => true,
            _ => false,
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Parses bare seconds. More than a day of them is a timestamp rather than a wait, and is rejected.
fn seconds(value: &str) -> Option<Duration> {
    match go_duration::decimal(value)? {
        (amount, "") => Some(go_duration::from_units(amount, 1.0)).filter(|&wait| wait < RetryHint::MAX_WAIT),
        _ => None,
    }
}

/// The time from `now` to `moment`, or zero if it has passed.
fn until(moment: jiff::Timestamp, now: SystemTime) -> Duration {
    SystemTime::from(moment).duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-05T12:00:00Z";

    fn read(provider: Provider, pairs: &[(&'static str, &str)]) -> Option<RetryHint> {
        let headers =
            pairs.iter().map(|&(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let now: jiff::Timestamp = NOW.parse().unwrap();
        hint(provider, &headers.collect(), now.into())
    }

    fn wait_ms(pairs: &[(&'static str, &str)]) -> Option<u128> {
        read(Provider::Other, pairs).and_then(|hint| hint.wait).map(|wait| wait.as_millis())
    }

    #[test]
    fn the_exhausted_limit_determines_the_wait() {
        let openai = |requests, tokens| {
            wait_ms(&[
                ("x-ratelimit-remaining-requests", requests),
                ("x-ratelimit-reset-requests", "6m0s"),
                ("x-ratelimit-remaining-tokens", tokens),
                ("x-ratelimit-reset-tokens", "12ms"),
            ])
        };
        assert_eq!(openai("0", "9"), Some(360_000));
        assert_eq!(openai("9", "0"), Some(12));
        assert_eq!(openai("0", "0"), Some(360_000), "the later of both");
        assert_eq!(openai("9", "9"), None);
        assert_eq!(openai("-1", "x"), None);
    }

    #[test]
    fn reads_the_format_of_each_provider() {
        for (state, reset, value, ms) in [
            ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "12", 12_000),
            ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute", "11.38", 11_380),
            (
                "anthropic-ratelimit-input-tokens-remaining",
                "anthropic-ratelimit-input-tokens-reset",
                "2026-11-05T12:00:30Z",
                30_000,
            ),
            (
                "anthropic-ratelimit-tokens-remaining",
                "anthropic-ratelimit-tokens-reset",
                "2026-11-05T14:00:01+02:00",
                1_000,
            ),
            (
                "anthropic-ratelimit-unified-5h-status",
                "anthropic-ratelimit-unified-5h-reset",
                "1793880090",
                90_000,
            ),
        ] {
            let used_up = if state.ends_with("status") { "rejected" } else { "0" };
            assert_eq!(wait_ms(&[(state, used_up), (reset, value)]), Some(ms), "{reset}: {value}");
        }
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn an_invalid_reset_gives_no_hint() {
        let delay = ["0", "0s", "-1", "1793880090", "NaN", "1e3", "soon", "", "2026-11-05T12:00:30Z"];
        for value in delay {
            let pairs = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", value)];
            assert_eq!(wait_ms(&pairs), None, "{value}");
        }
        for value in ["2026-11-05T11:59:59Z", "2026-13-05T12:00:00Z", "12", "tomorrow"] {
            let pairs =
                [("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", value)];
            assert_eq!(wait_ms(&pairs), None, "{value}");
        }
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn a_reset_next_century_is_capped_at_a_day() {
        let pairs = [
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "2126-11-05T12:00:00Z"),
        ];
        assert_eq!(wait_ms(&pairs), Some(RetryHint::MAX_WAIT.as_millis()));
    }

    // Pitfall P24 (docs/pitfalls.md).
    #[test]
    fn a_limit_by_the_day_is_daily_unless_it_refills_soon() {
        let scope = |provider, reset| {
            let pairs = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", reset)];
            read(provider, &pairs).map(|hint| hint.scope)
        };
        assert_eq!(scope(Provider::Groq, "5h0m0s"), Some(LimitScope::Daily));
        assert_eq!(scope(Provider::Groq, "2m59.56s"), Some(LimitScope::Momentary));
        assert_eq!(scope(Provider::OpenAi, "5h0m0s"), Some(LimitScope::Momentary));
    }
}
