use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::RetryHint;

/// The unit in which a limit is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitUnit {
    /// Requests.
    Requests,
    /// Tokens of prompt and response together.
    Tokens,
    /// Tokens of the prompt.
    InputTokens,
    /// Tokens of the response.
    OutputTokens,
}

/// The rate limits that a provider reports in the headers of a response: at most one [`LimitStatus`] per
/// unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedLimits {
    limits: [Option<LimitStatus>; 4],
    /// Whether a header could not be parsed. Such a header is ignored.
    pub has_invalid: bool,
}

/// The reported state of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitStatus {
    /// The capacity per period.
    pub limit: Option<u64>,
    /// The capacity that is left.
    pub remaining: Option<u64>,
    /// When the limit is refilled.
    pub reset: Option<Reset>,
    /// The period, if it is reported or known.
    pub period: Option<Duration>,
    /// Whether the limit is refilled evenly, and fully at the reset. Then a call need not wait for the whole
    /// reset when nothing is left. Otherwise nothing is refilled before the reset.
    pub refills_evenly: bool,
}

/// When a limit is refilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// This long after the response.
    In(Duration),
    /// At this time of the provider's clock.
    At(SystemTime),
}

impl LimitUnit {
    /// All units.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Tokens, Self::InputTokens, Self::OutputTokens];

    /// Whether the unit is a kind of token.
    #[must_use]
    pub const fn is_tokens(self) -> bool {
        !matches!(self, Self::Requests)
    }
}

impl ReportedLimits {
    /// The limit in `unit`, if it is reported.
    #[must_use]
    pub const fn get(&self, unit: LimitUnit) -> Option<&LimitStatus> {
        self.limits[unit as usize].as_ref()
    }

    /// The limit in `unit`, to be modified. An empty one is added if there is none.
    pub fn entry(&mut self, unit: LimitUnit) -> &mut LimitStatus {
        self.limits[unit as usize].get_or_insert_default()
    }

    /// Iterates over the reported limits.
    pub fn iter(&self) -> impl Iterator<Item = (LimitUnit, &LimitStatus)> {
        let get = |unit| Some((unit, self.get(unit)?));
        LimitUnit::ALL.into_iter().filter_map(get)
    }

    /// Whether no limit was reported, and every header could be parsed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_invalid && self.limits.iter().all(Option::is_none)
    }

    /// Parses the headers that are common to all providers: `ratelimit-limit`, `-remaining`, `-reset` and the
    /// structured `ratelimit` of the IETF drafts, `x-ratelimit-limit` and the like for requests, and the same
    /// names with the suffix `-requests` or `-tokens`. A reset is in seconds. Above 10^9 it is a Unix time.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self::from_headers_with(headers, Reset::read)
    }

    /// Like [`from_headers`](Self::from_headers), for servers that write a reset in another format, which
    /// `read_reset` parses.
    #[must_use]
    pub fn from_headers_with(headers: &HeaderMap, read_reset: fn(&str) -> Option<Reset>) -> Self {
        let mut limits = Self::default();
        let mut has_lists = false;
        for (name, value) in headers {
            let name = name.as_str();
            let Some(rest) = name.strip_prefix("x-ratelimit").or_else(|| name.strip_prefix("ratelimit"))
            else {
                continue;
            };
            let Ok(value) = value.to_str() else {
                limits.has_invalid = true;
                continue;
            };
            has_lists |= matches!(rest, "" | "-policy") || value.contains(';');
            limits.read(rest, value.trim(), read_reset);
        }
        if has_lists {
            limits.read_lists(headers);
        }
        limits
    }

    fn read(&mut self, name: &str, value: &str, read_reset: fn(&str) -> Option<Reset>) {
        let (field, unit) = match name.strip_suffix("-tokens") {
            Some(field) => (field, LimitUnit::Tokens),
            None => (name.strip_suffix("-requests").unwrap_or(name), LimitUnit::Requests),
        };
        match field {
            // The older drafts append the policy: `100, 100;w=60`.
            "-limit" => {
                self.set(unit, value.split([',', ';']).next().and_then(number), LimitStatus::set_limit);
            }
            "-remaining" => self.set(unit, number(value), LimitStatus::set_remaining),
            "-reset" => self.set(unit, read_reset(value), LimitStatus::set_reset),
            _ => {}
        }
    }

    /// Parses the lists of the IETF drafts, which may be divided among several headers: `"default";r=50;t=30`
    /// with `"default";q=100;w=60`, or `limit=100, remaining=50, reset=30` with `100;w=60`. Of several limits
    /// in requests the first one is used, or, if one is exhausted, the one of these that is exhausted for the
    /// longest; with the policy of the same name or quota; if the quota is not known, else with the first.
    fn read_lists(&mut self, headers: &HeaderMap) {
        const POLICIES: [&str; 4] =
            ["ratelimit-policy", "x-ratelimit-policy", "ratelimit-limit", "x-ratelimit-limit"];
        // A number alone is no policy.
        let policies = || items(headers, POLICIES).filter(|item| number(item).is_none());
        let is_in_requests = |item: &&str| {
            let is_other = |(key, unit): (&str, &str)| key == "qu" && unit.trim_matches('"') != "requests";
            let is_own = |policy: &&str| name_of(policy) == name_of(item);
            !policies().filter(is_own).flat_map(parameters).any(is_other)
        };
        let states = || items(headers, ["ratelimit", "x-ratelimit"]).filter(is_in_requests);
        let exhausted = states().filter(|state| !is_member(state) && parameter(state, "r") == Some(0.0));
        let reset = |state: &str| parameter(state, "t").unwrap_or_default();
        let exhausted = exhausted.max_by(|one, other| reset(one).total_cmp(&reset(other)));
        let first = exhausted.or_else(|| states().next());
        // The numbers of draft 07 are items of their own.
        let rest = states().skip(1).take_while(|state| first.is_some_and(is_member) && is_member(state));
        for (key, value) in first.into_iter().chain(rest).flat_map(parameters) {
            match key {
                "limit" => self.set(LimitUnit::Requests, number(value), LimitStatus::set_limit),
                "remaining" | "r" => self.set(LimitUnit::Requests, number(value), LimitStatus::set_remaining),
                "reset" | "t" => self.set(LimitUnit::Requests, Reset::read(value), LimitStatus::set_reset),
                _ => {}
            }
        }
        let limit = self.get(LimitUnit::Requests).and_then(|status| status.limit);
        let is_own = |policy: &&str| {
            let (name, quota) = (name_of(policy), number(name_of(policy)));
            first.map(name_of) == Some(name) || quota.is_some() && quota == limit
        };
        let any = || policies().find(is_in_requests).filter(|_| limit.is_none());
        let policy = policies().filter(is_in_requests).find(is_own).or_else(any);
        for (key, value) in policy.into_iter().flat_map(parameters) {
            let seconds = || number(value).map(Duration::from_secs);
            match key {
                "q" => self.set(LimitUnit::Requests, number(value), LimitStatus::set_limit),
                "w" => self.set(LimitUnit::Requests, seconds(), LimitStatus::set_period),
                _ => {}
            }
        }
    }

    /// Sets a value, or records that it could not be parsed.
    fn set<T>(&mut self, unit: LimitUnit, value: Option<T>, set: impl FnOnce(&mut LimitStatus, T)) {
        match value {
            Some(value) => set(self.entry(unit), value),
            None => self.has_invalid = true,
        }
    }
}

impl LimitStatus {
    fn set_limit(&mut self, limit: u64) {
        self.limit = Some(limit);
    }

    fn set_remaining(&mut self, remaining: u64) {
        self.remaining = Some(remaining);
    }

    fn set_reset(&mut self, reset: Reset) {
        self.reset = Some(reset);
    }

    fn set_period(&mut self, period: Duration) {
        self.period = Some(period);
    }

    /// Whether the values are impossible at `now`: more capacity left than the limit, a limit or a period of
    /// zero, or a wait or period above [`RetryHint::MAX_WAIT`].
    #[must_use]
    pub fn is_implausible(&self, now: SystemTime) -> bool {
        let is_too_long = |wait: Option<Duration>| wait.is_some_and(|wait| wait > RetryHint::MAX_WAIT);
        let reset = match self.reset {
            Some(Reset::In(wait)) => Some(wait),
            Some(Reset::At(moment)) => moment.duration_since(now).ok(),
            None => None,
        };
        self.limit == Some(0)
            || self.period == Some(Duration::ZERO)
            || matches!((self.limit, self.remaining), (Some(limit), Some(left)) if left > limit)
            || is_too_long(reset)
            || is_too_long(self.period)
    }

    /// The period: as reported, else computed from the time that the used part takes to refill, if the result
    /// is about a second, a minute, an hour or a day.
    ///
    /// If half of the limit is used and takes a minute to refill, the result is two minutes. No real limit
    /// has that period, so the unit of the reset is wrong, or the limit is not refilled evenly. The result is
    /// `None` then, and if a value is missing.
    #[must_use]
    pub fn period_of_refill(&self) -> Option<Duration> {
        const USUAL: [Duration; 4] = [
            Duration::from_secs(1),
            Duration::from_secs(60),
            Duration::from_secs(60 * 60),
            Duration::from_secs(24 * 60 * 60),
        ];
        // Providers round resets, some to a second.
        const SLACK: f64 = 0.2;
        if self.period.is_some() {
            return self.period;
        }
        let (Some(limit), Some(left), Some(Reset::In(wait))) = (self.limit, self.remaining, self.reset)
        else {
            return None;
        };
        let missing = limit.checked_sub(left).filter(|&missing| missing > 0 && self.refills_evenly)?;
        let period = wait.as_secs_f64() * limit as f64 / missing as f64;
        USUAL.into_iter().find(|usual| (period / usual.as_secs_f64() - 1.0).abs() <= SLACK)
    }
}

impl Reset {
    /// Parses seconds like [`of_number`](Self::of_number), with or without a fraction, or a date of HTTP or
    /// RFC 3339.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        match unsigned(value) {
            Some(seconds) => Self::of_number(seconds, Duration::from_secs(1)),
            None => Self::date(value),
        }
    }

    /// A number of `unit`s, or a Unix time: a number from 10^9 up is one, in seconds, and from 10^12 up in
    /// milliseconds, whatever its unit would be. No wait is that long, and some providers send the time at
    /// which it ends.
    #[must_use]
    pub fn of_number(amount: f64, unit: Duration) -> Option<Self> {
        // In seconds, up to the year 5138.
        const UNIX_TIMES: std::ops::Range<f64> = 1e9..1e11;
        let in_seconds = [1.0, 1e3, 1e6, 1e9].map(|per_second| amount / per_second);
        match in_seconds.into_iter().find(|seconds| UNIX_TIMES.contains(seconds)) {
            Some(seconds) => Some(Self::At(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))),
            None => Duration::try_from_secs_f64(amount * unit.as_secs_f64()).ok().map(Self::In),
        }
    }

    /// Parses a date of HTTP (`Wed, 21 Oct 2026 07:28:00 GMT`) or RFC 3339 (`2026-10-21T07:28:00Z`).
    #[must_use]
    pub fn date(value: &str) -> Option<Self> {
        let rfc3339 = || Some(SystemTime::from(value.parse::<jiff::Timestamp>().ok()?));
        httpdate::parse_http_date(value).ok().or_else(rfc3339).map(Self::At)
    }

    /// The time from `now` to the reset, at most [`RetryHint::MAX_WAIT`]. Zero once the reset has passed.
    #[must_use]
    pub fn wait(&self, now: SystemTime) -> Duration {
        let wait = match self {
            Self::In(wait) => *wait,
            Self::At(moment) => moment.duration_since(now).unwrap_or_default(),
        };
        wait.min(RetryHint::MAX_WAIT)
    }
}

/// Parses a decimal number. Only digits and a point are accepted: no sign, exponent or `inf`.
pub(crate) fn unsigned(value: &str) -> Option<f64> {
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_number.then(|| value.parse().ok())?
}

/// Parses a number. Only digits are accepted, without sign or unit, and the number must fit into a `u64`.
fn number(value: &str) -> Option<u64> {
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| value.parse().ok())?
}

/// Maximum number of items that are read of lists. There are one or two, usually.
const MAX_ITEMS: usize = 32;

/// The items of the lists in the headers of these names.
fn items<'a, const N: usize>(
    headers: &'a HeaderMap,
    names: [&'static str; N],
) -> impl Iterator<Item = &'a str> {
    let values = names.into_iter().flat_map(|name| headers.get_all(name));
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| split(value, ',')).take(MAX_ITEMS)
}

/// The parts of `text` between the separators that are not in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let parts = text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    });
    parts.map(str::trim)
}

/// The part of an item before its parameters: `"default"`, or a bare number, which is a quota.
fn name_of(item: &str) -> &str {
    split(item, ';').next().unwrap_or_default()
}

/// Whether an item is a number of draft 07: `limit=100`.
fn is_member(item: &str) -> bool {
    !item.starts_with('"') && name_of(item).contains('=')
}

/// The parameters of an item, with the quota before them.
fn parameters(item: &str) -> impl Iterator<Item = (&str, &str)> {
    split(item, ';').filter_map(|part| match part.split_once('=') {
        Some((key, value)) => Some((key.trim(), value.trim())),
        None => number(part).map(|_| ("q", part)),
    })
}

/// The number in a parameter of an item.
fn parameter(item: &str, name: &str) -> Option<f64> {
    unsigned(parameters(item).find(|(key, _)| *key == name)?.1)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> ReportedLimits {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        ReportedLimits::from_headers(&pairs.iter().map(pair).collect())
    }

    const SECS: fn(u64) -> Option<Reset> = |secs| Some(Reset::In(Duration::from_secs(secs)));

    #[test]
    fn the_common_headers_are_parsed() {
        let requests =
            LimitStatus { limit: Some(100), remaining: Some(7), reset: SECS(30), ..LimitStatus::default() };
        for prefix in ["ratelimit", "x-ratelimit"] {
            for suffix in ["", "-requests"] {
                let headers =
                    [("limit", "100"), ("remaining", "7"), ("reset", "30")].map(|(field, value)| {
                        (
                            HeaderName::try_from(format!("{prefix}-{field}{suffix}")).unwrap(),
                            value.parse().unwrap(),
                        )
                    });
                let limits = ReportedLimits::from_headers(&headers.into_iter().collect());
                assert_eq!(limits.get(LimitUnit::Requests), Some(&requests), "{prefix}{suffix}");
                assert_eq!(limits.get(LimitUnit::Tokens), None);
            }
        }
        let tokens = read(&[("x-ratelimit-remaining-tokens", "9"), ("x-ratelimit-reset-tokens", "1.5")]);
        let tokens = tokens.get(LimitUnit::Tokens).unwrap();
        assert_eq!(
            (tokens.remaining, tokens.reset),
            (Some(9), Some(Reset::In(Duration::from_millis(1_500))))
        );
        assert!(read(&[("retry-after", "3"), ("ratelimits", "x")]).is_empty());
    }

    #[test]
    fn the_headers_of_the_ietf_drafts_are_parsed() {
        let minute = Some(Duration::from_secs(60));
        let whole = LimitStatus {
            limit: Some(100),
            remaining: Some(50),
            reset: SECS(30),
            period: minute,
            ..LimitStatus::default()
        };
        let newest = [
            ("ratelimit", "\"default\";r=50;t=30"),
            ("ratelimit-policy", "\"default\";q=100;w=60, \"day\";q=5;w=86400"),
        ];
        assert_eq!(read(&newest).get(LimitUnit::Requests), Some(&whole));
        let older = [
            ("ratelimit-limit", "100, 100;w=60"),
            ("ratelimit-policy", "100;w=60"),
            ("ratelimit-remaining", "50"),
            ("ratelimit-reset", "30"),
        ];
        assert_eq!(read(&older).get(LimitUnit::Requests), Some(&whole));
    }

    /// Every form of the drafts, for one request left of ten per minute.
    #[test]
    fn every_form_of_the_ietf_drafts_is_parsed() {
        let minute = Duration::from_secs(60);
        let all = LimitStatus {
            limit: Some(10),
            remaining: Some(1),
            reset: SECS(6),
            period: Some(minute),
            ..LimitStatus::default()
        };
        let older = |limit, policy| {
            vec![("ratelimit-limit", limit), ("ratelimit-remaining", "1"), ("ratelimit-reset", "6"), policy]
        };
        let combined = |limits, policy| vec![("ratelimit", limits), ("ratelimit-policy", policy)];
        for headers in [
            // Drafts 00 to 06.
            older("10", ("ratelimit-policy", "10;w=60")),
            older("10, 10;w=60;comment=\"a, b\", 1000;w=3600", ("x", "")),
            older("10", ("ratelimit-policy", "1000;w=3600;burst=5, 10;w=60")),
            // Draft 07.
            combined("limit=10, remaining=1, reset=6", "10;w=60"),
            combined("limit=10,remaining=1,reset=6", "1000;w=3600,10;w=60;comment=\"10;w=1\""),
            combined(" reset=6 , limit=10 , remaining=1 ", "1000;w=3600;name=\"a,b\", 10 ; w=60"),
            combined("limit=10;x=\"y, limit=7\", remaining=1;x, reset=6", "10;w=60"),
            // Drafts 08 to 10.
            combined("\"default\";r=1;t=6", "\"default\";q=10;w=60"),
            combined(
                "\"min\"; r=1; t=6, \"hour\";r=900;t=3000",
                "\"hour\";q=1000;w=3600, \"min\"; q=10; w=60",
            ),
            combined("\"10,in;1=min\"; r=1; t=6; pk=:bQ==:", "\"10,in;1=min\"; q=10; w=60; pk=:bQ==:"),
            combined("default;r=1;t=6;pk=\"r=9\"", "default;q=10;w=60;qu=\"requests\""),
            combined(
                "\"size\";r=5000;t=9, \"min\";r=1;t=6",
                "\"size\";q=9000;qu=\"content-bytes\";w=9, \"min\";q=10;w=60",
            ),
        ] {
            let limits = read(&headers);
            assert_eq!(limits.get(LimitUnit::Requests), Some(&all), "{headers:?}");
            assert!(!limits.has_invalid, "{headers:?}");
        }
        // The only quota is that of the limit, whatever its name.
        let limits = read(&combined("\"default\";r=1;t=6", "10;w=60"));
        assert_eq!(limits.get(LimitUnit::Requests), Some(&all));
        // A list may be divided among several headers.
        let divided = [
            ("ratelimit", "\"min\";r=1;t=6"),
            ("ratelimit", "\"hour\";r=900;t=3000"),
            ("ratelimit-policy", "\"hour\";q=1000;w=3600"),
            ("ratelimit-policy", "\"min\";q=10;w=60"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in divided {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(ReportedLimits::from_headers(&headers).get(LimitUnit::Requests), Some(&all));
    }

    /// Regression: only the first limit was reported, although another one rejects the next request.
    #[test]
    fn of_several_limits_the_one_that_is_exhausted_for_the_longest_is_reported() {
        let policies = concat!(
            r#""minute";q=10;w=60, "hour";q=100;w=3600, "day";q=900;w=86400, "#,
            r#""size";q=9;qu="content-bytes""#
        );
        for (list, remaining, reset, period) in [
            (r#""minute";r=5;t=10, "day";r=0;t=7200"#, 0, 7200, 86_400),
            (r#""minute";r=0;t=10, "day";r=0;t=7200"#, 0, 7200, 86_400),
            (r#""day";r=0;t=7200, "minute";r=0;t=10"#, 0, 7200, 86_400),
            (r#""minute";r=0;t=10, "hour";r=7;t=60, "day";r=1;t=7200"#, 0, 10, 60),
            (r#""minute";r=5;t=10, "hour";r=0, "day";r=0;t=1"#, 0, 1, 86_400),
            (r#""minute";r=5;t=10, "size";r=0;t=7200"#, 5, 10, 60),
        ] {
            let limits = read(&[("ratelimit", list), ("ratelimit-policy", policies)]);
            let requests = limits.get(LimitUnit::Requests).unwrap();
            let (reset, period) = (SECS(reset), Some(Duration::from_secs(period)));
            let got = (requests.remaining, requests.reset, requests.period);
            assert_eq!(got, (Some(remaining), reset, period), "{list}");
            assert!(!limits.has_invalid, "{list}");
        }
    }

    #[test]
    fn an_invalid_part_of_a_list_is_ignored_and_reported() {
        for (limits, remaining) in [
            ("limit=10, remaining=-1, reset=6", None),
            ("limit=99999999999999999999, remaining=1, reset=6", Some(1)),
            ("limit=10, remaining=1, reset=soon", Some(1)),
            ("\"default\";r=1;t=-6", Some(1)),
            ("\"default\";r=99999999999999999999;t=6", None),
        ] {
            let limits = read(&[("ratelimit", limits)]);
            assert_eq!(limits.get(LimitUnit::Requests).and_then(|it| it.remaining), remaining);
            assert!(limits.has_invalid);
        }
    }

    #[test]
    fn a_unix_time_is_not_parsed_as_a_duration() {
        let limits = read(&[("x-ratelimit-reset", "1793880090")]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_000);
        assert_eq!(
            limits.get(LimitUnit::Requests).unwrap().reset.unwrap().wait(now),
            Duration::from_secs(90)
        );
    }

    #[test]
    fn a_number_is_a_point_in_time_from_its_size_on_in_every_unit() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_090);
        for unit in [Duration::from_secs(1), Duration::from_millis(1)] {
            for amount in [1_793_880_090.0, 1_793_880_090_000.0, 1_793_880_090_000_000.0, 1_793_880_090e9] {
                assert_eq!(Reset::of_number(amount, unit), Some(Reset::At(moment)), "{amount}");
            }
            for amount in [0.0, 0.5, 86_401.0, 999_999_999.0] {
                let wait = unit.mul_f64(amount);
                assert_eq!(Reset::of_number(amount, unit), Some(Reset::In(wait)), "{amount}");
            }
        }
        for date in ["Thu, 05 Nov 2026 12:01:30 GMT", "2026-11-05T12:01:30Z", "2026-11-05T14:01:30+02:00"] {
            assert_eq!(Reset::read(date), Some(Reset::At(moment)), "{date}");
        }
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn invalid_values_are_ignored_and_reported() {
        for value in ["-1", "", "1m", "1e3", "NaN", "+3", "99999999999999999999999", "soon", "1.2.3"] {
            let limits =
                read(&[("x-ratelimit-remaining-requests", value), ("x-ratelimit-reset-requests", value)]);
            assert_eq!(limits.get(LimitUnit::Requests).and_then(|it| it.remaining), None, "{value}");
            assert!(limits.has_invalid, "{value}");
        }
        let is_implausible = |limit, remaining, reset| {
            LimitStatus { limit, remaining, reset, ..LimitStatus::default() }
                .is_implausible(SystemTime::UNIX_EPOCH)
        };
        assert!(
            is_implausible(Some(10), Some(11), None)
                && is_implausible(Some(0), None, None)
                && is_implausible(None, None, SECS(86_401))
        );
        assert!(!is_implausible(Some(10), Some(10), SECS(86_400)) && !is_implausible(None, Some(5), None));
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn only_usual_periods_are_accepted() {
        let period = |limit, left, millis| {
            LimitStatus {
                limit: Some(limit),
                remaining: Some(left),
                reset: Some(Reset::In(Duration::from_millis(millis))),
                refills_evenly: true,
                period: None,
            }
            .period_of_refill()
            .map(|period| period.as_secs())
        };
        assert_eq!(period(500, 499, 120), Some(60));
        assert_eq!(period(500, 0, 60_000), Some(60));
        assert_eq!(period(10_000, 9_999, 8_640), Some(86_400));
        assert_eq!(period(14_400, 14_370, 179_560), Some(86_400));
        assert_eq!(period(500, 250, 500), Some(1));
        // "1m" that was parsed as 1, a limit of which nothing is used, a window that is refilled at once.
        assert_eq!(period(500, 0, 1_500), None);
        assert_eq!(period(500, 250, 30), None);
        assert_eq!(period(500, 500, 0), None);
        assert_eq!(period(60, 58, 59_000), None);
    }

    /// What may be in a list of the drafts.
    fn list() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "\"",
            "\\",
            ",",
            ";",
            "=",
            " ",
            "\"a\"",
            "\"a,b;r=1\"",
            "limit=",
            "remaining=",
            "reset=",
            "r=",
            "t=",
            "q=",
            "w=",
            "qu=",
            "0",
            "7",
            "-1",
            "1.5",
            "18446744073709551616",
            "99999999999999999999999999",
            "requests",
        ]);
        prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn the_numbers_of_a_list_are_found_in_any_order_and_beside_other_lists(
            (limit, remaining, reset, period) in (any::<u64>(), any::<u64>(), 0..86_400_u64, any::<u64>()),
            name in "[a-z,;= ]{0,9}",
            is_named: bool,
            is_reversed: bool,
        ) {
            let (own, other) = (format!("\"{name}\""), format!("\"{name}x\""));
            let (limits, own, other) = if is_named { (
                    vec![format!("{own};r={remaining};t={reset}")],
                    format!("{own};q={limit};w={period}"),
                    format!("{other};q=1;w=1"),
                ) } else { (
                    vec![format!("limit={limit}"), format!("remaining={remaining}"), format!("reset={reset}")],
                    format!("{limit};w={period};comment={own}"),
                    format!("{};w=1;comment={other}", limit ^ 1),
                ) };
            let (mut limits, mut policies) = (limits, [own, other]);
            if is_reversed {
                limits.reverse();
                policies.reverse();
            }
            let limits = read(&[("ratelimit", &limits.join(", ")), ("ratelimit-policy", &policies.join(", "))]);
            let expected = LimitStatus {
                limit: Some(limit),
                remaining: Some(remaining),
                reset: SECS(reset),
                period: Some(Duration::from_secs(period)),
                refills_evenly: false,
            };
            prop_assert_eq!(limits.get(LimitUnit::Requests), Some(&expected));
            prop_assert!(!limits.has_invalid);
        }

        // Pitfall P32 (docs/pitfalls.md).
        #[test]
        fn no_header_value_panics(value in prop_oneof!["[ -~]{0,40}", list()]) {
            for name in ["ratelimit", "ratelimit-policy", "ratelimit-limit", "x-ratelimit-reset", "x-ratelimit-remaining-tokens"] {
                for (_, status) in read(&[(name, &value)]).iter() {
                    let _ = (status.is_implausible(SystemTime::UNIX_EPOCH), status.period_of_refill());
                    let wait = status.reset.map(|reset| reset.wait(SystemTime::UNIX_EPOCH));
                    prop_assert!(wait <= Some(RetryHint::MAX_WAIT));
                }
            }
        }
    }
}
