//! The reset headers of the limits, for a 429 without a wait: the time until the exhausted limit refills.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tidegate_core::{HintSource, LimitScope, ReportedLimits, Reset, RetryHint, server_time};

use super::SHORT_WAIT;
use crate::dialect::all_rules;
use crate::dialect::limit_header::{ResetFormat, ResetHeaders};
use crate::provider::Provider;
use crate::text::go_duration;

/// The time until the exhausted limit refills; of several, the latest. A limit with something remaining did
/// not cause this rejection, and neither did a limit that has refilled already.
pub(crate) fn hint(provider: Provider, headers: &HeaderMap, now: SystemTime) -> Option<RetryHint> {
    let now = server_time(headers, now);
    let of_rules = all_rules()
        .flat_map(|rules| rules.reset_headers)
        .filter(|limit| is_used_up(limit, headers))
        .filter_map(|limit| {
            Some((time_to_refill(limit, headers, now)?, limit.reset, (limit.is_daily)(provider)))
        })
        .filter(|(wait, ..)| !wait.is_zero());
    let exhausted = of_rules.chain(of_plain(&lists(headers), now)).max_by_key(|&(wait, ..)| wait);
    let (wait, header, is_daily) = exhausted.or_else(|| of_plain(headers, now))?;
    let scope = if is_daily && wait > SHORT_WAIT { LimitScope::Daily } else { LimitScope::Momentary };
    Some(RetryHint::after(wait, HintSource::Header(header)).with_scope(scope))
}

/// The time until the limit of tokens with the least remaining refills: a request is also rejected if it needs more
/// than what remains. Limits that refill late are left out, since the next request may need less.
pub(crate) fn hint_of_tokens(headers: &HeaderMap, now: SystemTime) -> Option<RetryHint> {
    let now = server_time(headers, now);
    let limits =
        all_rules().flat_map(|rules| rules.reset_headers).filter(|limit| limit.state.contains("token"));
    let waits = limits.filter_map(|limit| {
        let remaining: u64 = text(headers, limit.state)?.parse().ok()?;
        Some((remaining, time_to_refill(limit, headers, now)?, limit.reset))
    });
    let (_, wait, header) = waits.filter(|(_, wait, _)| !wait.is_zero() && *wait <= SHORT_WAIT).min()?;
    Some(RetryHint::after(wait, HintSource::Header(header)))
}

/// The exhausted limit in headers of another form, such as the list of the IETF drafts: when it refills, the
/// header, and whether it is a limit of a day or longer.
fn of_plain(headers: &HeaderMap, now: SystemTime) -> Option<(Duration, &'static str, bool)> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let limits = ReportedLimits::from_headers_with(headers, go_duration::reset);
    let exhausted = limits.iter().filter(|(_, limit)| limit.remaining == Some(0));
    let waits = exhausted
        .filter_map(|(_, limit)| Some((limit.reset?.wait(now), "ratelimit", limit.period >= Some(DAY))));
    waits.filter(|(wait, ..)| !wait.is_zero()).max_by_key(|&(wait, ..)| wait)
}

/// The headers with lists. The numbers in other plain headers may be those of different limits: a provider's
/// and its gateway's.
fn lists(headers: &HeaderMap) -> HeaderMap {
    let is_list =
        |name: &str| name.contains("ratelimit") && !name.contains("-remaining") && !name.contains("-reset");
    let lists = headers.iter().filter(|(name, _)| is_list(name.as_str()));
    lists.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_used_up(limit: &ResetHeaders, headers: &HeaderMap) -> bool {
    text(headers, limit.state).is_some_and(|state| state == "0" || state == "rejected")
}

fn time_to_refill(limit: &ResetHeaders, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, limit.reset)?;
    let reset = match limit.format {
        ResetFormat::Delay => go_duration::reset(value),
        // Where a date or a Unix time is expected, a small number is neither.
        ResetFormat::Moment => Reset::read(value).filter(|reset| matches!(reset, Reset::At(_))),
    };
    // Zero if it has passed.
    Some(reset?.wait(now))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::reported;

    const NOW: &str = "2026-11-05T12:00:00Z";

    fn read(provider: Provider, pairs: &[(&'static str, &str)]) -> Option<RetryHint> {
        let headers =
            pairs.iter().map(|&(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let now: jiff::Timestamp = NOW.parse().unwrap();
        hint(provider, &headers.collect(), now.try_into().unwrap())
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

    /// Regression: a rejection for tokens of which a few remained had no wait.
    #[test]
    fn the_limit_of_tokens_with_the_least_remaining_determines_the_wait_for_tokens() {
        let wait_ms = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|&(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
            });
            let now: jiff::Timestamp = NOW.parse().unwrap();
            let hint = hint_of_tokens(&pairs.collect(), now.try_into().unwrap());
            hint.and_then(|hint| hint.wait).map(|wait| wait.as_millis())
        };
        let minute = ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute");
        let hour = ("x-ratelimit-remaining-tokens-hour", "x-ratelimit-reset-tokens-hour");
        let day = ("x-ratelimit-remaining-tokens-day", "x-ratelimit-reset-tokens-day");
        let requests = ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests");
        let of = |limits: &[((&'static str, &'static str), &'static str, &'static str)]| {
            let pairs = limits.iter().flat_map(|((state, reset), left, at)| [(*state, *left), (*reset, *at)]);
            wait_ms(&pairs.collect::<Vec<_>>())
        };
        assert_eq!(of(&[(minute, "13616", "42.5"), (day, "9", "7200")]), Some(42_500));
        assert_eq!(of(&[(minute, "13616", "42.5"), (hour, "900", "300")]), Some(300_000));
        assert_eq!(of(&[(minute, "13616", "42.5"), (hour, "900", "600")]), Some(42_500));
        let any = ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
        assert_eq!(of(&[(any, "500000", "20h")]), None);
        assert_eq!(of(&[(minute, "13616", "0"), (requests, "0", "9")]), None);
        assert_eq!(of(&[(minute, "x", "42.5")]), None);
    }

    #[test]
    fn reads_the_format_of_each_provider() {
        for (state, reset, value, ms) in [
            ("x-ratelimit-remaining", "x-ratelimit-reset", "30s", 30_000),
            ("x-ratelimit-remaining", "x-ratelimit-reset", "30", 30_000),
            ("x-rate-limit-remaining", "x-rate-limit-reset", "1m30s", 90_000),
            ("ratelimit-remaining", "ratelimit-reset", "30s", 30_000),
            ("ratelimit-remaining", "ratelimit-reset", "2026-11-05T12:00:30Z", 30_000),
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

    #[test]
    fn a_point_in_time_is_read_from_every_header_and_compared_with_the_date_of_the_response() {
        for (state, reset) in [
            ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
            ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
        ] {
            for value in
                ["1793880090", "1793880090000", "2026-11-05T12:01:30Z", "Thu, 05 Nov 2026 12:01:30 GMT"]
            {
                let pairs = [(state, "0"), (reset, value)];
                assert_eq!(wait_ms(&pairs), Some(90_000), "{reset}: {value}");
                let date = ("date", "Thu, 05 Nov 2026 12:01:00 GMT");
                assert_eq!(wait_ms(&[pairs[0], pairs[1], date]), Some(30_000), "{reset}: {value}");
            }
        }
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn an_invalid_reset_gives_no_hint() {
        let delay =
            ["0", "0s", "-1", "86401", "1793879999", "NaN", "1e3", "soon", "", "2026-11-05T11:59:59Z"];
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

    /// Regression: limits that are followed on a success gave no hint on a 429.
    #[test]
    fn every_limit_that_is_reported_on_a_success_determines_the_wait_on_a_429() {
        const NAMES: [&str; 15] = [
            "x-ratelimit-*-requests",
            "x-ratelimit-*-requests-second",
            "x-ratelimit-*-requests-minute",
            "x-ratelimit-*-requests-hour",
            "x-ratelimit-*-requests-day",
            "x-ratelimit-*-req-minute",
            "x-ratelimit-*-req-day",
            "x-ratelimit-*-tokens",
            "x-ratelimit-*-tokens-second",
            "x-ratelimit-*-tokens-minute",
            "x-ratelimit-*-tokens-hour",
            "x-ratelimit-*-tokens-day",
            "x-ratelimit-*-requests_usage_based",
            "x-ratelimit-*-tokens_usage_based",
            "x-tokenlimit-*",
        ];
        const OTHERS: [&str; 4] =
            ["x-ratelimit-*", "ratelimit-*", "ratelimit-*-tokens", "ratelimit-*-requests"];
        for name in NAMES.into_iter().chain(OTHERS) {
            let of = |state: &str| {
                let pairs = [("remaining", state), ("reset", "433.5")];
                let pair = |(kind, value): (&str, &str)| {
                    let header: http::HeaderName = name.replace('*', kind).parse().unwrap();
                    (header, value.parse().unwrap())
                };
                let headers: HeaderMap = pairs.map(pair).into_iter().collect();
                assert!(!reported::read(Provider::Other, &headers).is_empty(), "{name}");
                hint(Provider::Other, &headers, SystemTime::UNIX_EPOCH)
            };
            let hint = of("0").unwrap_or_else(|| panic!("{name}"));
            let scope = if name.ends_with("-day") { LimitScope::Daily } else { LimitScope::Momentary };
            let wait = Some(Duration::from_millis(433_500));
            assert_eq!((hint.wait, hint.scope), (wait, scope), "{name}");
            let HintSource::Header(header) = hint.source else { panic!("{name}") };
            assert!(
                NAMES.contains(&header.replace("reset", "*").as_str()) || OTHERS.contains(&name),
                "{header}"
            );
            assert_eq!(of("1"), None, "{name}");
        }
    }

    #[test]
    fn an_exhausted_limit_in_a_list_determines_the_wait() {
        for (list, policy, ms, scope) in [
            (r#""default";r=0;t=30"#, "", Some(30_000), LimitScope::Momentary),
            (r#""default";r=0;t=30"#, r#""default";q=100;w=60"#, Some(30_000), LimitScope::Momentary),
            (r#""day";r=0;t=7200"#, r#""day";q=100;w=86400"#, Some(7_200_000), LimitScope::Daily),
            ("limit=100, remaining=0, reset=30", "100;w=60", Some(30_000), LimitScope::Momentary),
            (r#""minute";r=5;t=9, "day";r=0;t=7200"#, r#""day";w=86400"#, Some(7_200_000), LimitScope::Daily),
            (r#""minute";r=0;t=9, "hour";r=0;t=30"#, "", Some(30_000), LimitScope::Momentary),
            (r#""default";r=5;t=30"#, "", None, LimitScope::Momentary),
            (r#""default";r=0;t=0"#, "", None, LimitScope::Momentary),
            (r#""default";r=0"#, "", None, LimitScope::Momentary),
        ] {
            let got = read(Provider::Other, &[("ratelimit", list), ("ratelimit-policy", policy)]);
            assert_eq!(got.and_then(|hint| hint.wait).map(|wait| wait.as_millis()), ms, "{list}");
            assert_eq!(got.unwrap_or_default().scope, scope, "{list}");
        }
    }

    /// Regression: with a limit in the headers of the provider, that in a list was ignored.
    #[test]
    fn of_the_limits_in_a_list_and_in_other_headers_the_latest_determines_the_wait() {
        for (list, tokens, ms) in [
            (r#""day";r=0;t=7200"#, "0", Some(7_200_000)),
            (r#""day";r=0;t=1"#, "0", Some(5_000)),
            (r#""day";r=1;t=7200"#, "0", Some(5_000)),
            (r#""day";r=0;t=7200"#, "1", Some(7_200_000)),
            (r#""day";r=1;t=7200"#, "1", None),
        ] {
            let pairs = [
                ("ratelimit", list),
                ("x-ratelimit-remaining-tokens", tokens),
                ("x-ratelimit-reset-tokens", "5s"),
            ];
            assert_eq!(wait_ms(&pairs), ms, "{list} {tokens}");
        }
        // A gateway with a limit of its own, which is not exhausted.
        let pairs = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "5s"),
            ("ratelimit-remaining", "9"),
            ("ratelimit-reset", "7200"),
        ];
        assert_eq!(wait_ms(&pairs), Some(5_000));
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
