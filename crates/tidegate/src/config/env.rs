use std::env;
use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use super::{ConfigError, ResilienceConfig};
use crate::rate_limit::Quota;
use crate::settings::{Checks, duration};

impl ResilienceConfig {
    /// The configuration by the `AI_LIB_*` variables; the [module page](crate::config) lists them.
    ///
    /// # Errors
    ///
    /// A variable cannot be parsed; the message has its name and the expected value.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().overlay_env()
    }

    /// This configuration, overridden by the `AI_LIB_*` variables.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn overlay_env(self) -> Result<Self, ConfigError> {
        self.overlay(|name| env::var_os(name))
    }

    /// This configuration, overridden by the variables that `lookup` returns.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn overlay(mut self, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut vars = Variables { lookup, checks: Checks::default() };
        let is_rate = |count: &f64| Quota::of_requests(*count, Duration::from_secs(1)).is_some();
        if let Some(rps) = vars.number("AI_LIB_RPS", Quota::EXPECTED_REQUESTS, is_rate) {
            self.rate_limiter.get_or_insert_default().requests_per_second = Some(rps);
        }
        if let Some(rpm) = vars.number("AI_LIB_RPM", Quota::EXPECTED_REQUESTS, is_rate) {
            self.rate_limiter.get_or_insert_default().requests_per_minute = Some(rpm);
        }
        let count = "a whole number of at least 1";
        if let Some(failures) = vars.number("AI_LIB_BREAKER_FAILURE_THRESHOLD", count, |n| *n > 0) {
            self.circuit_breaker.get_or_insert_default().failure_threshold = failures;
        }
        if let Some(cooldown) = vars.duration("AI_LIB_BREAKER_COOLDOWN_SECS", "a number of seconds") {
            self.circuit_breaker.get_or_insert_default().cooldown = cooldown;
        }
        if let Some(calls) = vars.number("AI_LIB_MAX_INFLIGHT", count, |n| *n > 0) {
            self.backpressure.get_or_insert_default().max_inflight = calls;
        }
        if let Some(timeout) = vars.duration("AI_LIB_QUEUE_TIMEOUT", "a number of seconds or a duration") {
            self.backpressure.get_or_insert_default().queue_timeout = timeout;
        }
        let millis = "a whole number of milliseconds, at least 1";
        if let Some(limit) = vars.number("AI_LIB_ATTEMPT_TIMEOUT_MS", millis, |ms| *ms > 0) {
            self.timeout.attempt = Duration::from_millis(limit);
        }
        vars.checks.finish(self)
    }
}

/// The environment, or a substitute in tests.
struct Variables<F> {
    lookup: F,
    checks: Checks,
}

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    fn number<N: FromStr>(&mut self, name: &str, expected: &str, is_valid: impl Fn(&N) -> bool) -> Option<N> {
        self.read(name, expected, |text| text.parse().ok().filter(&is_valid))
    }

    fn duration(&mut self, name: &str, expected: &str) -> Option<Duration> {
        self.read(name, expected, duration::parse)
    }

    fn read<T>(&mut self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = (self.lookup)(name)?;
        let parsed = value.to_str().and_then(|text| parse(text.trim()));
        self.checks
            .keep(parsed.ok_or_else(|| ConfigError::expected(name, expected, format_args!("{value:?}"))))
    }
}
