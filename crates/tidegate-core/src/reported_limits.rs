use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::RetryHint;

/// What is counted against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitUnit {
    /// Calls.
    Requests,
    /// Tokens of prompt and answer together.
    Tokens,
    /// Tokens of the prompt.
    InputTokens,
    /// Tokens of the answer.
    OutputTokens,
}

/// What an answer says of the limits that its provider keeps: at most one [`LimitStatus`] a currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedLimits {
    allowances: [Option<LimitStatus>; 4],
    /// Something was said that makes no sense; it is left out.
    pub has_invalid: bool,
}

/// How things stand with one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitStatus {
    /// So much in every period.
    pub limit: Option<u64>,
    /// So much is left.
    pub remaining: Option<u64>,
    /// When it is refilled.
    pub reset: Option<Reset>,
    /// The period, where it is said or known.
    pub period: Option<Duration>,
    /// The reset is when the limit will be whole again, and it is refilled evenly until then: so with nothing left
    /// the next call need not wait for the whole of it. Otherwise nothing is refilled before the reset.
    pub refills_evenly: bool,
}

/// When a limit is refilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// So long after the answer.
    In(Duration),
    /// At this moment of the provider's clock.
    At(SystemTime),
}

impl LimitUnit {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Tokens, Self::InputTokens, Self::OutputTokens];

    /// Whether it is counted in tokens.
    #[must_use]
    pub const fn is_tokens(self) -> bool {
        !matches!(self, Self::Requests)
    }
}

impl ReportedLimits {
    /// What is said of the limit in `currency`.
    #[must_use]
    pub const fn get(&self, currency: LimitUnit) -> Option<&LimitStatus> {
        self.allowances[currency as usize].as_ref()
    }

    /// The limit in `currency`, to be written to.
    pub fn entry(&mut self, currency: LimitUnit) -> &mut LimitStatus {
        self.allowances[currency as usize].get_or_insert_default()
    }

    /// Each limit that something is said of.
    pub fn iter(&self) -> impl Iterator<Item = (LimitUnit, &LimitStatus)> {
        let get = |currency| Some((currency, self.get(currency)?));
        LimitUnit::ALL.into_iter().filter_map(get)
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_invalid && self.allowances.iter().all(Option::is_none)
    }

    /// Reads the headers that any provider may send: `ratelimit-limit`, `-remaining`, `-reset` and the structured
    /// `ratelimit` of the IETF's drafts, `x-ratelimit-limit` and its kin for requests, and the same with
    /// `-requests` or `-tokens` at the end. A reset is in seconds; above a thousand million it is a moment since
    /// 1970.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut announced = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            let Some(rest) = name.strip_prefix("x-ratelimit").or_else(|| name.strip_prefix("ratelimit"))
            else {
                continue;
            };
            let Ok(value) = value.to_str() else {
                announced.has_invalid = true;
                continue;
            };
            announced.read(rest, value.trim());
        }
        announced
    }

    fn read(&mut self, name: &str, value: &str) {
        let (field, currency) = match name.strip_suffix("-tokens") {
            Some(field) => (field, LimitUnit::Tokens),
            None => (name.strip_suffix("-requests").unwrap_or(name), LimitUnit::Requests),
        };
        let is_read = match field {
            "" => self.read_structured(value),
            "-policy" => self.read_policy(value),
            // The older drafts add the policy: `100, 100;w=60`.
            "-limit" => {
                self.set(currency, value.split([',', ';']).next().and_then(number), LimitStatus::set_limit)
            }
            "-remaining" => self.set(currency, number(value), LimitStatus::set_remaining),
            "-reset" => self.set(currency, Reset::read(value), LimitStatus::set_reset),
            _ => true,
        };
        self.has_invalid |= !is_read;
    }

    /// `"default";r=50;t=30`, of several the first.
    fn read_structured(&mut self, value: &str) -> bool {
        let mut is_read = true;
        for (key, value) in parameters(value) {
            is_read &= match key {
                "r" => self.set(LimitUnit::Requests, number(value), LimitStatus::set_remaining),
                "t" => self.set(LimitUnit::Requests, Reset::read(value), LimitStatus::set_reset),
                _ => true,
            };
        }
        is_read
    }

    /// `"default";q=100;w=60`, or `100;w=60`.
    fn read_policy(&mut self, value: &str) -> bool {
        let mut is_read = true;
        for (key, value) in parameters(value) {
            is_read &= match key {
                "q" => self.set(LimitUnit::Requests, number(value), LimitStatus::set_limit),
                "w" => self.set(
                    LimitUnit::Requests,
                    number(value).map(Duration::from_secs),
                    LimitStatus::set_period,
                ),
                _ => true,
            };
        }
        is_read
    }

    fn set<T>(
        &mut self,
        currency: LimitUnit,
        value: Option<T>,
        set: impl FnOnce(&mut LimitStatus, T),
    ) -> bool {
        let Some(value) = value else { return false };
        set(self.entry(currency), value);
        true
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

    /// Whether what is said cannot be at `now`: more left than there is, a limit of nothing, a wait or a period above
    /// [`RetryHint::MAX_WAIT`].
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

    /// The period, as it is said; else as it follows from how long the missing part takes to refill, if that is
    /// about a second, a minute, an hour or a day.
    ///
    /// Half of the limit missing, and a minute to refill it, makes two minutes: no limit is kept like that, so the
    /// unit was lost on the way, or the limit is not refilled evenly. `None` then, and where it does not follow.
    #[must_use]
    pub fn period_of_refill(&self) -> Option<Duration> {
        const USUAL: [Duration; 4] = [
            Duration::from_secs(1),
            Duration::from_secs(60),
            Duration::from_secs(60 * 60),
            Duration::from_secs(24 * 60 * 60),
        ];
        // Resets are rounded, some to a second.
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
    /// Seconds, with or without a fraction; above a thousand million they are counted since 1970.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        const EPOCH: f64 = 1e9;
        // So many seconds would be the year 5138; some send the moment in milliseconds.
        const MILLISECONDS: f64 = 1e11;
        let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let seconds: f64 = is_number.then(|| value.parse().ok())??;
        let seconds = if seconds >= MILLISECONDS { seconds / 1000.0 } else { seconds };
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        match seconds >= EPOCH {
            true => Some(Self::At(SystemTime::UNIX_EPOCH.checked_add(time)?)),
            false => Some(Self::In(time)),
        }
    }

    /// How long until then, at most [`RetryHint::MAX_WAIT`]; zero once it has passed.
    #[must_use]
    pub fn wait(&self, now: SystemTime) -> Duration {
        let wait = match self {
            Self::In(wait) => *wait,
            Self::At(moment) => moment.duration_since(now).unwrap_or_default(),
        };
        wait.min(RetryHint::MAX_WAIT)
    }
}

/// Digits and nothing else: neither signs nor units, and nothing beyond all counting.
fn number(value: &str) -> Option<u64> {
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| value.parse().ok())?
}

/// The parameters of the first item of a structured list. A bare number before them is a quota.
fn parameters(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let item = value.split(',').next().unwrap_or_default();
    item.split(';').filter_map(|part| match part.trim().split_once('=') {
        Some((key, value)) => Some((key.trim(), value.trim())),
        None => number(part.trim()).map(|_| ("q", part.trim())),
    })
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
    fn reads_the_headers_that_anybody_may_send() {
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
                let announced = ReportedLimits::from_headers(&headers.into_iter().collect());
                assert_eq!(announced.get(LimitUnit::Requests), Some(&requests), "{prefix}{suffix}");
                assert_eq!(announced.get(LimitUnit::Tokens), None);
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
    fn reads_the_drafts_of_the_ietf() {
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

    #[test]
    fn a_moment_since_1970_is_no_wait_of_fifty_years() {
        let announced = read(&[("x-ratelimit-reset", "1793880090")]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_000);
        assert_eq!(
            announced.get(LimitUnit::Requests).unwrap().reset.unwrap().wait(now),
            Duration::from_secs(90)
        );
    }

    #[test]
    fn p32_what_cannot_be_read_is_left_out_and_noticed() {
        for value in ["-1", "", "1m", "1e3", "NaN", "+3", "99999999999999999999999", "soon", "1.2.3"] {
            let announced =
                read(&[("x-ratelimit-remaining-requests", value), ("x-ratelimit-reset-requests", value)]);
            assert_eq!(announced.get(LimitUnit::Requests).and_then(|it| it.remaining), None, "{value}");
            assert!(announced.has_invalid, "{value}");
        }
        let absurd = |limit, remaining, reset| {
            LimitStatus { limit, remaining, reset, ..LimitStatus::default() }
                .is_implausible(SystemTime::UNIX_EPOCH)
        };
        assert!(
            absurd(Some(10), Some(11), None)
                && absurd(Some(0), None, None)
                && absurd(None, None, SECS(86_401))
        );
        assert!(!absurd(Some(10), Some(10), SECS(86_400)) && !absurd(None, Some(5), None));
    }

    #[test]
    fn p32_a_period_is_believed_only_if_it_is_one_that_limits_have() {
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
        // "1m" read as 1, nothing missing, a window that is refilled at once.
        assert_eq!(period(500, 0, 1_500), None);
        assert_eq!(period(500, 250, 30), None);
        assert_eq!(period(500, 500, 0), None);
        assert_eq!(period(60, 58, 59_000), None);
    }

    proptest! {
        #[test]
        fn p32_no_header_value_panics(value in "[ -~]{0,40}") {
            for name in ["ratelimit", "ratelimit-policy", "ratelimit-limit", "x-ratelimit-reset", "x-ratelimit-remaining-tokens"] {
                for (_, allowance) in read(&[(name, &value)]).iter() {
                    let _ = (allowance.is_implausible(SystemTime::UNIX_EPOCH), allowance.period_of_refill());
                    let wait = allowance.reset.map(|reset| reset.wait(SystemTime::UNIX_EPOCH));
                    prop_assert!(wait <= Some(RetryHint::MAX_WAIT));
                }
            }
        }
    }
}
