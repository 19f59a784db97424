mod header_items;

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use self::header_items::{is_member, items, name_of, number, parameter, parameters};
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
        let rfc3339 = || SystemTime::try_from(value.parse::<jiff::Timestamp>().ok()?).ok();
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

#[cfg(test)]
mod tests;
