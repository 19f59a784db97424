use std::env;
use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use super::{ConfigError, ResilienceConfig, suggest};
use crate::rate_limit::Quota;
use crate::settings::{Checks, DurationText};

/// The variables that are read, and the setting of each.
pub(super) const VARIABLES: [(&str, &str); 7] = [
    ("AI_LIB_RPS", "rate_limiter.requests_per_second"),
    ("AI_LIB_RPM", "rate_limiter.requests_per_minute"),
    ("AI_LIB_BREAKER_FAILURE_THRESHOLD", "circuit_breaker.failure_threshold"),
    ("AI_LIB_BREAKER_COOLDOWN_SECS", "circuit_breaker.cooldown_seconds"),
    ("AI_LIB_MAX_INFLIGHT", "backpressure.max_inflight"),
    ("AI_LIB_QUEUE_TIMEOUT", "backpressure.queue_timeout"),
    ("AI_LIB_ATTEMPT_TIMEOUT_MS", "timeout.attempt"),
];

/// A line for each of the `names` of variables that begins with `AI_LIB_` and that nothing reads.
///
/// ```
/// use tidegate::config::unread_variables;
///
/// let names = ["AI_LIB_RPSS".into(), "AI_LIB_RPS".into(), "PATH".into()];
/// assert_eq!(unread_variables(names), ["AI_LIB_RPSS: nothing reads it, did you mean `AI_LIB_RPS`?"]);
/// // Those of the process:
/// let warnings = unread_variables(std::env::vars_os().map(|(name, _)| name));
/// # assert!(warnings.is_empty());
/// ```
#[must_use]
pub fn unread_variables(names: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let known = VARIABLES.map(|(name, _)| name);
    let unread = names.into_iter().filter_map(|name| {
        let name = name.to_string_lossy().into_owned();
        let is_ours = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("AI_LIB_"));
        (is_ours && !known.contains(&&*name)).then_some(name)
    });
    let mut warnings: Vec<_> =
        unread.map(|name| format!("{name}: nothing reads it{}", suggest(&name, known))).collect();
    warnings.sort_unstable();
    warnings
}

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
    #[doc(alias("AI_LIB_RPS", "AI_LIB_MAX_INFLIGHT"))]
    #[doc(alias("AI_LIB_BREAKER_FAILURE_THRESHOLD", "AI_LIB_BREAKER_COOLDOWN_SECS"))]
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
            let part = self.rate_limiter.get_or_insert_default();
            (part.enabled, part.requests_per_second) = (true, Some(rps));
        }
        if let Some(rpm) = vars.number("AI_LIB_RPM", Quota::EXPECTED_REQUESTS, is_rate) {
            let part = self.rate_limiter.get_or_insert_default();
            (part.enabled, part.requests_per_minute) = (true, Some(rpm));
        }
        let count = "a whole number of at least 1";
        if let Some(failures) = vars.number("AI_LIB_BREAKER_FAILURE_THRESHOLD", count, |n| *n > 0) {
            let part = self.circuit_breaker.get_or_insert_default();
            (part.enabled, part.failure_threshold) = (true, failures);
        }
        if let Some(cooldown) = vars.duration("AI_LIB_BREAKER_COOLDOWN_SECS", "a number of seconds") {
            let part = self.circuit_breaker.get_or_insert_default();
            (part.enabled, part.cooldown) = (true, cooldown);
        }
        if let Some(calls) = vars.number("AI_LIB_MAX_INFLIGHT", count, |n| *n > 0) {
            let part = self.backpressure.get_or_insert_default();
            (part.enabled, part.max_inflight) = (true, calls);
        }
        if let Some(timeout) = vars.duration("AI_LIB_QUEUE_TIMEOUT", "a number of seconds or a duration") {
            let part = self.backpressure.get_or_insert_default();
            (part.enabled, part.queue_timeout) = (true, timeout);
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
        self.read(name, expected, DurationText::parse)
    }

    fn read<T>(&mut self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = (self.lookup)(name)?;
        let parsed = value.to_str().and_then(|text| parse(text.trim()));
        self.checks
            .keep(parsed.ok_or_else(|| ConfigError::expected(name, expected, format_args!("{value:?}"))))
    }
}
