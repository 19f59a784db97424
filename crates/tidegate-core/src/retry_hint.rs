use std::fmt;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::reported_limits::unsigned;
use crate::{Reset, server_time};

/// When a provider may be called again, as reported in its headers, error body or error message.
///
/// Waits are never negative and never longer than [`RetryHint::MAX_WAIT`]. A value that cannot be parsed is
/// ignored. A point in time is compared with the [`server_time`] of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RetryHint {
    /// The time to wait, counted from the moment at which the response was read. Zero gives no information
    /// about the limit, and stands for the own back-off; [`Failure::wait`](crate::Failure::wait) is without
    /// it.
    pub wait: Option<Duration>,
    /// Where the wait was found.
    pub source: HintSource,
    /// The kind of limit that was reached.
    pub scope: LimitScope,
    /// The value of `x-should-retry`: whether the provider recommends a retry. `false` as well for a refusal
    /// that a retry would repeat.
    pub should_retry: Option<bool>,
    /// Whether `should_retry` is not that of the provider: the program has marked the error.
    pub is_marked: bool,
}

/// Where a wait was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HintSource {
    /// No wait was given.
    #[default]
    None,
    /// The header of this name.
    Header(&'static str),
    /// A field of the error body, or of an error of the program.
    Body,
    /// The text of the error message.
    Message,
}

/// The kind of limit that a hint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LimitScope {
    /// A limit that refills within seconds or minutes, or one that the provider did not specify.
    #[default]
    Momentary,
    /// A limit per day or longer. A retry within the same call is useless.
    Daily,
    /// A spending limit or an empty balance. The account has to be topped up first.
    Spend,
}

impl RetryHint {
    /// The longest wait that is accepted: one day. A longer wait is shortened to it.
    ///
    /// A retry after one day costs one request. Without the bound, a provider that reports a year by mistake
    /// would not be called for a year.
    pub const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

    /// A hint to wait for `wait`, at most [`MAX_WAIT`](Self::MAX_WAIT), found at `source`.
    #[must_use]
    pub fn after(wait: Duration, source: HintSource) -> Self {
        Self { wait: Some(wait.min(Self::MAX_WAIT)), source, ..Self::default() }
    }

    /// Sets the kind of limit.
    #[must_use]
    pub fn with_scope(self, scope: LimitScope) -> Self {
        Self { scope, ..self }
    }

    /// Whether a retry within the same call is useless: the limit is daily or a spending limit, or the
    /// provider sent `x-should-retry: false`.
    #[must_use]
    pub fn forbids_retry(&self) -> bool {
        self.should_retry == Some(false) || self.scope != LimitScope::Momentary
    }

    /// Parses the headers that are common to all providers: `retry-after-ms`, `x-ms-retry-after-ms`,
    /// `retry-after` (seconds, with or without a fraction, or a date) and `x-should-retry`. The finest unit
    /// wins. Numbers from 10^9 up are points in time ([`Reset::of_number`]).
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let should_retry = match text(headers, "x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        let waits = || {
            ["retry-after-ms", "x-ms-retry-after-ms"]
                .map(|name| (name, Duration::from_millis(1)))
                .into_iter()
                .chain([("retry-after", Duration::from_secs(1))])
                .filter_map(|(name, unit)| {
                    Some((wait(text(headers, name)?, unit, server_time(headers, now))?, name))
                })
        };
        let wait = waits().find(|(wait, _)| !wait.is_zero()).or_else(|| waits().next());
        match (wait, should_retry) {
            (None, None) => None,
            (Some((wait, name)), should_retry) => {
                Some(Self { should_retry, ..Self::after(wait, HintSource::Header(name)) })
            }
            (None, should_retry) => Some(Self { should_retry, ..Self::default() }),
        }
    }
}

impl fmt::Display for HintSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Header(name) => name,
            Self::Body => "body",
            Self::Message => "message",
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Parses a number of `unit`s, a Unix time or a date. Zero if that time has passed.
fn wait(value: &str, unit: Duration, now: SystemTime) -> Option<Duration> {
    match unsigned(value) {
        // A number that is too large for a duration is a long wait.
        Some(amount) => {
            Some(Reset::of_number(amount, unit).map_or(RetryHint::MAX_WAIT, |reset| reset.wait(now)))
        }
        None => Some(Reset::date(value)?.wait(now)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Option<RetryHint> {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        RetryHint::from_headers(&headers, now)
    }

    fn wait(pairs: &[(&'static str, &str)]) -> Option<Duration> {
        read(pairs).and_then(|hint| hint.wait)
    }

    #[test]
    fn reads_every_form_of_retry_after() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(wait(&[("retry-after", "2")]), ms(2_000));
        assert_eq!(wait(&[("retry-after", "1.5")]), ms(1_500));
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")]), ms(30_000));
        assert_eq!(wait(&[("retry-after", "2026-10-21T07:28:30Z")]), ms(30_000));
        assert_eq!(wait(&[("retry-after-ms", "120"), ("retry-after", "1")]), ms(120));
        assert_eq!(wait(&[("x-ms-retry-after-ms", "80")]), ms(80));
    }

    #[test]
    fn zero_and_a_time_that_has_passed_are_no_wait_beside_another() {
        for zero in ["0", " 0 ", "0.0", "Wed, 21 Oct 2026 07:27:30 GMT", "1792567679", "1792567679000"] {
            assert_eq!(wait(&[("retry-after", zero)]), Some(Duration::ZERO), "{zero}");
            assert_eq!(
                wait(&[("retry-after-ms", zero), ("retry-after", "3")]),
                Some(Duration::from_secs(3)),
                "{zero}"
            );
        }
    }

    #[test]
    fn a_large_number_is_a_point_in_time_in_every_header() {
        for name in ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"] {
            for value in ["1792567710", "1792567710000"] {
                assert_eq!(wait(&[(name, value)]), Some(Duration::from_secs(30)), "{name}: {value}");
            }
        }
    }

    /// The clock of the provider is an hour ahead, or behind.
    #[test]
    fn a_point_in_time_is_compared_with_the_date_of_the_response() {
        for (date, until, epoch) in [
            ("Wed, 21 Oct 2026 08:28:00 GMT", "Wed, 21 Oct 2026 08:28:30 GMT", "1792571310"),
            ("Wed, 21 Oct 2026 06:28:00 GMT", "Wed, 21 Oct 2026 06:28:30 GMT", "1792564110"),
        ] {
            for value in [until, epoch] {
                let wait = wait(&[("date", date), ("retry-after", value)]);
                assert_eq!(wait, Some(Duration::from_secs(30)), "{date}: {value}");
            }
        }
        assert_eq!(
            wait(&[("date", "Wed, 21 Oct 2026 06:28:00 GMT"), ("retry-after", "7")]),
            Some(Duration::from_secs(7))
        );
    }

    #[test]
    fn a_value_that_cannot_be_parsed_is_ignored() {
        for bad in ["", "-1", "soon", "1m", "NaN", "inf", "1e9", "+3", "1.2.3"] {
            assert_eq!(wait(&[("retry-after", bad)]), None, "{bad}");
        }
        assert_eq!(wait(&[("retry-after-ms", "x"), ("retry-after", "3")]), Some(Duration::from_secs(3)));
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn an_absurd_wait_is_capped_at_a_day() {
        for absurd in ["999999999999999999999999999999", "31536000", "Sun, 21 Oct 2096 07:28:00 GMT"] {
            assert_eq!(wait(&[("retry-after", absurd)]), Some(RetryHint::MAX_WAIT), "{absurd}");
        }
    }

    #[test]
    fn x_should_retry_is_parsed_with_and_without_a_wait() {
        assert_eq!(read(&[("x-should-retry", "false")]).unwrap().should_retry, Some(false));
        let both = read(&[("x-should-retry", "true"), ("retry-after", "1")]).unwrap();
        assert_eq!((both.should_retry, both.wait), (Some(true), Some(Duration::from_secs(1))));
        assert_eq!(read(&[("x-should-retry", "maybe")]), None);
    }

    proptest! {
        // Pitfall P32 (docs/pitfalls.md).
        #[test]
        fn no_header_value_panics_or_waits_longer_than_a_day(value in "[ -~]{0,40}") {
            for name in ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"] {
                if let Some(wait) = wait(&[(name, &value)]) {
                    prop_assert!(wait <= RetryHint::MAX_WAIT);
                }
            }
        }
    }
}
