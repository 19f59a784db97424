//! The headers in which providers report the status of their limits, on successful responses as well as on
//! errors.

use http::HeaderMap;
use tidegate_core::{LimitStatus, LimitUnit, ReportedLimits, Reset};

use crate::dialect::all_rules;
use crate::dialect::limit_header::{LimitHeader, LimitHeaderKind};
use crate::provider::Provider;
use crate::text::go_duration;

/// Reads the limits of `provider` from `headers`.
///
/// Each header is visited once; nothing is allocated. Where several limits have the same unit, the one that
/// is nearer to exhaustion is reported.
pub(crate) fn read(provider: Provider, headers: &HeaderMap) -> ReportedLimits {
    let mut limits = ParsedLimits::default();
    let mut is_plain = false;
    for (name, value) in headers {
        let name = name.as_str();
        let mut readers = all_rules().filter_map(|rules| rules.limit_header);
        let Some(header) = readers.find_map(|read| read(provider, name)) else {
            is_plain |= name.starts_with("ratelimit") || name.starts_with("x-ratelimit");
            continue;
        };
        let value = value.to_str().map_or("", str::trim);
        if !limits.status(&header).is_some_and(|status| set(status, header.kind, value)) {
            limits.has_invalid = true;
        }
    }
    if is_plain { with_plain(limits.reported(), headers) } else { limits.reported() }
}

/// Adds the limits in another format, such as that of a gateway. Together has it for requests, beside its own
/// for tokens.
#[cold]
fn with_plain(mut reported: ReportedLimits, headers: &HeaderMap) -> ReportedLimits {
    let plain = ReportedLimits::from_headers_with(headers, go_duration::reset);
    reported.has_invalid |= plain.has_invalid;
    for (unit, status) in plain.iter() {
        if reported.get(unit).is_none() {
            *reported.entry(unit) = *status;
        }
    }
    reported
}

/// Stores the value of a header, and returns whether it is valid.
fn set(status: &mut LimitStatus, kind: LimitHeaderKind, value: &str) -> bool {
    match kind {
        LimitHeaderKind::Limit => status.limit = number(value),
        LimitHeaderKind::Remaining => status.remaining = number(value),
        LimitHeaderKind::Reset => {
            status.reset = go_duration::reset(value);
            return status.reset.is_some();
        }
    }
    number(value).is_some()
}

/// The limits in one response. No provider reports more than eight.
#[derive(Default)]
struct ParsedLimits<'a> {
    limits: [Option<ParsedLimit<'a>>; 8],
    has_invalid: bool,
}

struct ParsedLimit<'a> {
    name: &'a str,
    unit: LimitUnit,
    status: LimitStatus,
}

impl<'a> ParsedLimits<'a> {
    /// The status of the limit that `header` is about.
    fn status(&mut self, header: &LimitHeader<'a>) -> Option<&mut LimitStatus> {
        let is_slot =
            |it: &Option<ParsedLimit<'_>>| it.as_ref().is_none_or(|limit| limit.name == header.name);
        let slot = self.limits.iter_mut().find(|it| is_slot(it))?;
        let fresh = || ParsedLimit {
            name: header.name,
            unit: header.unit,
            status: LimitStatus {
                period: header.period,
                refills_evenly: header.refills_evenly,
                ..LimitStatus::default()
            },
        };
        Some(&mut slot.get_or_insert_with(fresh).status)
    }

    fn reported(&self) -> ReportedLimits {
        let mut reported = ReportedLimits::default();
        reported.has_invalid = self.has_invalid;
        for ParsedLimit { unit, status, .. } in self.limits.iter().flatten() {
            // The limit with the least remaining wins; of equal ones, the one with the latest reset.
            let left = |status: &LimitStatus| status.remaining.unwrap_or(u64::MAX);
            let is_tighter = |other: &LimitStatus| {
                left(status) < left(other)
                    || (left(status) == left(other) && is_later(status.reset, other.reset))
            };
            if reported.get(*unit).is_none_or(is_tighter) {
                *reported.entry(*unit) = *status;
            }
        }
        reported
    }
}

/// Whether a reset is later than another, as far as they can be compared without a clock.
fn is_later(reset: Option<Reset>, other: Option<Reset>) -> bool {
    match (reset, other) {
        (Some(Reset::In(wait)), Some(Reset::In(other))) => wait > other,
        (Some(Reset::At(moment)), Some(Reset::At(other))) => moment > other,
        (Some(_), None) => true,
        _ => false,
    }
}

/// Parses a number that consists of digits only.
fn number(value: &str) -> Option<u64> {
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| value.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn reported(provider: Provider, pairs: &[(&'static str, &str)]) -> ReportedLimits {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        read(provider, &pairs.iter().map(pair).collect())
    }

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));
    const DAY: Option<Duration> = Some(Duration::from_secs(86_400));

    fn within(ms: u64) -> Option<Reset> {
        Some(Reset::In(Duration::from_millis(ms)))
    }

    #[test]
    fn reads_the_headers_of_openai_and_derives_the_refill_period() {
        let limits = reported(
            Provider::OpenAi,
            &[
                ("x-ratelimit-limit-requests", "500"),
                ("x-ratelimit-remaining-requests", "499"),
                ("x-ratelimit-reset-requests", "120ms"),
                ("x-ratelimit-limit-tokens", "30000"),
                ("x-ratelimit-remaining-tokens", "15000"),
                ("x-ratelimit-reset-tokens", "30s"),
                ("content-type", "application/json"),
            ],
        );
        let requests = limits.get(LimitUnit::Requests).unwrap();
        assert_eq!((requests.limit, requests.remaining, requests.reset), (Some(500), Some(499), within(120)));
        assert_eq!((requests.refills_evenly, requests.period_of_refill()), (true, MINUTE));
        assert_eq!(limits.get(LimitUnit::Tokens).unwrap().period_of_refill(), MINUTE);
        assert!(limits.get(LimitUnit::InputTokens).is_none() && !limits.has_invalid);
    }

    #[test]
    fn reads_the_input_and_output_limits_of_anthropic() {
        let limits = reported(
            Provider::Anthropic,
            &[
                ("anthropic-ratelimit-input-tokens-limit", "40000"),
                ("anthropic-ratelimit-input-tokens-remaining", "39000"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-11-05T12:00:30Z"),
                ("anthropic-ratelimit-output-tokens-limit", "8000"),
                ("anthropic-ratelimit-output-tokens-remaining", "0"),
                ("anthropic-ratelimit-unified-5h-status", "allowed"),
                ("anthropic-ratelimit-unified-5h-reset", "1793880090"),
            ],
        );
        let input = limits.get(LimitUnit::InputTokens).unwrap();
        assert_eq!((input.limit, input.remaining, input.period), (Some(40_000), Some(39_000), MINUTE));
        let noon: jiff::Timestamp = "2026-11-05T12:00:00Z".parse().unwrap();
        assert_eq!(input.reset.unwrap().wait(noon.try_into().unwrap()), Duration::from_secs(30));
        assert_eq!(limits.get(LimitUnit::OutputTokens).unwrap().remaining, Some(0));
        assert!(limits.get(LimitUnit::Requests).is_none() && !limits.has_invalid);
    }

    #[test]
    fn reads_the_headers_of_the_other_providers() {
        let get = |provider, pairs: &[_], unit| reported(provider, pairs).get(unit).copied();
        let mistral = [("x-ratelimit-limit-req-minute", "60"), ("x-ratelimit-remaining-req-minute", "59")];
        let limits = get(Provider::Mistral, &mistral, LimitUnit::Requests).unwrap();
        assert_eq!((limits.limit, limits.remaining, limits.period), (Some(60), Some(59), MINUTE));

        let groq = [
            ("x-ratelimit-limit-requests", "14400"),
            ("x-ratelimit-reset-requests", "2m59.56s"),
            ("x-ratelimit-limit-tokens", "18000"),
            ("x-ratelimit-reset-tokens", "7.66s"),
        ];
        let (requests, tokens) =
            (get(Provider::Groq, &groq, LimitUnit::Requests), get(Provider::Groq, &groq, LimitUnit::Tokens));
        assert_eq!((requests.unwrap().period, requests.unwrap().reset), (DAY, within(179_560)));
        assert_eq!((tokens.unwrap().period, tokens.unwrap().reset), (MINUTE, within(7_660)));

        let cerebras = [
            ("x-ratelimit-limit-requests-day", "14400"),
            ("x-ratelimit-remaining-requests-day", "14000"),
            ("x-ratelimit-limit-requests-minute", "30"),
            ("x-ratelimit-remaining-requests-minute", "12"),
            ("x-ratelimit-reset-requests-minute", "11.38"),
        ];
        let limits = get(Provider::Cerebras, &cerebras, LimitUnit::Requests).unwrap();
        assert_eq!((limits.limit, limits.period, limits.reset), (Some(30), MINUTE, within(11_380)));

        let together = [
            ("x-ratelimit-limit", "10"),
            ("x-ratelimit-remaining", "4"),
            ("x-ratelimit-reset", "6"),
            ("x-tokenlimit-limit", "3000"),
            ("x-tokenlimit-remaining", "7"),
        ];
        assert_eq!(get(Provider::Together, &together, LimitUnit::Tokens).unwrap().remaining, Some(7));
        let limits = get(Provider::Together, &together, LimitUnit::Requests).unwrap();
        assert_eq!((limits.limit, limits.remaining, limits.reset), (Some(10), Some(4), within(6_000)));

        let gateway = [("ratelimit", "\"default\";r=5;t=3"), ("x-request-id", "1")];
        assert_eq!(get(Provider::Other, &gateway, LimitUnit::Requests).unwrap().remaining, Some(5));
        assert!(
            reported(Provider::OpenAi, &[("retry-after", "1"), ("x-ratelimit-tokens-query-cost", "3")])
                .is_empty()
        );
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn invalid_values_are_left_out_and_flagged() {
        // Azure's Responses API.
        let azure = [("x-ratelimit-remaining-tokens", "-1"), ("x-ratelimit-reset-tokens", "0")];
        let limits = reported(Provider::Azure, &azure);
        assert_eq!((limits.get(LimitUnit::Tokens).unwrap().remaining, limits.has_invalid), (None, true));
        for value in ["-1s", "soon", "", "1e3", "86401", "NaN", "1 s"] {
            let limits = reported(Provider::OpenAi, &[("x-ratelimit-reset-tokens", value)]);
            assert_eq!(
                (limits.get(LimitUnit::Tokens).unwrap().reset, limits.has_invalid),
                (None, true),
                "{value}"
            );
        }
        for prefix in ["x-ratelimit", "ratelimit"] {
            for (value, reset) in [("30s", within(30_000)), ("1m30s", within(90_000)), ("30", within(30_000))]
            {
                let headers = [("remaining", "0"), ("reset", value)].map(|(field, value)| {
                    (HeaderName::try_from(format!("{prefix}-{field}")).unwrap(), value.parse().unwrap())
                });
                let limits = read(Provider::Other, &headers.into_iter().collect());
                let requests = limits.get(LimitUnit::Requests).unwrap();
                assert_eq!((requests.remaining, requests.reset), (Some(0), reset), "{prefix} {value}");
                assert!(!limits.has_invalid, "{prefix} {value}");
            }
        }
        let minute = reported(Provider::OpenAi, &[("x-ratelimit-reset-tokens", "1m")]);
        assert_eq!(minute.get(LimitUnit::Tokens).unwrap().reset, within(60_000));
    }

    /// A limit is read wherever the other one is.
    #[test]
    fn each_limit_is_read_beside_those_in_another_format() {
        let requests = [
            ("ratelimit-remaining", "4"),
            ("x-ratelimit-remaining", "4"),
            ("x-ratelimit-remaining-requests", "4"),
        ];
        let tokens = [
            ("x-tokenlimit-remaining", "7"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("ratelimit-remaining-tokens", "7"),
        ];
        for (of_requests, of_tokens) in requests.into_iter().flat_map(|one| tokens.map(|other| (one, other)))
        {
            for provider in [Provider::Together, Provider::OpenAi, Provider::Other] {
                let limits = reported(provider, &[of_requests, of_tokens]);
                let remaining = |unit| limits.get(unit).and_then(|status| status.remaining);
                assert_eq!(
                    (remaining(LimitUnit::Requests), remaining(LimitUnit::Tokens), limits.has_invalid),
                    (Some(4), Some(7), false),
                    "{of_requests:?} {of_tokens:?}"
                );
            }
        }
    }

    proptest! {
        // Pitfall P32 (docs/pitfalls.md).
        #[test]
        fn no_value_panics(value in "[ -~]{0,40}", name in "x-ratelimit-(limit|remaining|reset)-[a-z-]{0,12}") {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(&value).unwrap());
            headers.insert("anthropic-ratelimit-tokens-reset", HeaderValue::from_str(&value).unwrap());
            for provider in [Provider::OpenAi, Provider::Groq, Provider::Other] {
                for (_, status) in read(provider, &headers).iter() {
                    let _ = (status.is_implausible(SystemTime::UNIX_EPOCH), status.period_of_refill());
                }
            }
        }
    }
}
