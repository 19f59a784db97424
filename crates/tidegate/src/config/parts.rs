use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, seconds};
use crate::rate_limit::OnLimit;
use crate::{
    BackpressureLayer, CircuitBreakerLayer, FallbackLayer, RateLimitLayer, ResilienceBuilder, RetryLayer,
};

/// One policy: which parts are on, and their numbers. See the [module page](crate::config).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResilienceConfig {
    /// Asks again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryConfig>,
    /// Keeps to the provider's pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiterConfig>,
    /// Stops asking a provider that is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    /// Bounds what is in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backpressure: Option<BackpressureConfig>,
    /// Clocks; they are on even when not named.
    pub timeout: TimeoutConfig,
    /// When to go down the chain; the chain itself is the program's.
    pub fallback: FallbackConfig,
}

/// Settings of [`RetryLayer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts after the first; 3.
    pub max_retries: u32,
    /// The longest wait after the first attempt; 1 s.
    #[serde(with = "seconds")]
    pub initial_delay: Duration,
    /// No wait is longer; 30 s.
    #[serde(with = "seconds")]
    pub max_delay: Duration,
    /// Each wait is so many times the one before; at least 1; 2.
    pub backoff_multiplier: f64,
}

/// Settings of [`RateLimitLayer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimiterConfig {
    /// Requests a second, fractions allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Requests a minute, fractions allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<f64>,
    /// Requests a day, fractions allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<f64>,
    /// So many of the finest quota may come at once; as many as it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_size: Option<u32>,
    /// A call waits at most this long for its turn; 10 s.
    #[serde(with = "seconds")]
    pub max_wait: Duration,
    /// So many calls may wait; 1024.
    pub max_waiting: usize,
    /// What a call does that finds no room; `"wait"`.
    pub on_limit: OnLimitConfig,
}

/// What a call does that finds no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimitConfig {
    /// Waits for its turn.
    #[default]
    Wait,
    /// Is refused at once.
    Reject,
}

/// Settings of [`CircuitBreakerLayer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// Opens after so many consecutive failures; 5.
    pub failure_threshold: u32,
    /// Closes after so many successful probes in a row; 1.
    pub success_threshold: u32,
    /// Stays open this long; 30 s.
    #[serde(with = "seconds")]
    pub cooldown_seconds: Duration,
    /// So many probes at once while half-open; 1.
    pub half_open_max: u32,
}

/// Settings of [`BackpressureLayer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackpressureConfig {
    /// Calls in flight, bodies included; 50.
    pub max_inflight: usize,
    /// Calls that may wait for a permit; 64.
    pub max_queued: usize,
    /// How long a call waits for a permit; 10 s.
    #[serde(with = "seconds")]
    pub queue_timeout: Duration,
}

/// Clocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutConfig {
    /// The whole call, waits and attempts together; none.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
    /// One attempt, to the last byte of its answer; 600 s.
    #[serde(with = "seconds")]
    pub attempt: Duration,
}

/// When to go down the chain, beyond what the codes say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FallbackConfig {
    /// Also when the prompt does not fit the model.
    pub on_context_length: bool,
    /// Also when the content filter refuses.
    pub on_content_filter: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            backoff_multiplier: 2.0,
        }
    }
}

impl Default for RateLimiterConfig {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            requests_per_minute: None,
            requests_per_day: None,
            burst_size: None,
            max_wait: Duration::from_secs(10),
            max_waiting: 1024,
            on_limit: OnLimitConfig::Wait,
        }
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            success_threshold: 1,
            cooldown_seconds: Duration::from_secs(30),
            half_open_max: 1,
        }
    }
}

impl Default for BackpressureConfig {
    fn default() -> Self {
        Self { max_inflight: 50, max_queued: 64, queue_timeout: Duration::from_secs(10) }
    }
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self { total: None, attempt: Duration::from_secs(600) }
    }
}

impl ResilienceBuilder {
    /// The stack that `config` describes; give it a [`name`](Self::name).
    ///
    /// # Errors
    ///
    /// A number is out of its range.
    pub fn from_config(config: &ResilienceConfig) -> Result<Self, ConfigError> {
        let mut builder =
            Self::new("").fallback(config.fallback.layer()).attempt_timeout(config.timeout.attempt);
        positive("timeout.attempt", config.timeout.attempt)?;
        if let Some(total) = config.timeout.total {
            positive("timeout.total", total)?;
            builder = builder.total_timeout(total);
        }
        if let Some(retry) = &config.retry {
            builder = builder.retry(retry.layer().map_err(|error| error.within("retry"))?);
        }
        if let Some(backpressure) = &config.backpressure {
            builder =
                builder.backpressure(backpressure.layer().map_err(|error| error.within("backpressure"))?);
        }
        if let Some(limiter) = &config.rate_limiter {
            builder = builder.rate_limit(limiter.layer().map_err(|error| error.within("rate_limiter"))?);
        }
        if let Some(breaker) = &config.circuit_breaker {
            builder =
                builder.circuit_breaker(breaker.layer().map_err(|error| error.within("circuit_breaker"))?);
        }
        Ok(builder)
    }

    /// The stack that the `AI_LIB_*` variables describe; what they do not name is off.
    ///
    /// # Errors
    ///
    /// A variable cannot be read, or is out of its range; the message names it.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_config(&ResilienceConfig::from_env()?)
    }
}

impl RetryConfig {
    fn layer(&self) -> Result<RetryLayer, ConfigError> {
        if !self.backoff_multiplier.is_finite() || self.backoff_multiplier < 1.0 {
            return Err(ConfigError::new(
                "backoff_multiplier",
                "a number of at least 1",
                self.backoff_multiplier,
            ));
        }
        if self.initial_delay > self.max_delay {
            let found = humantime::format_duration(self.initial_delay);
            let most = format!("at most max_delay, {}", humantime::format_duration(self.max_delay));
            return Err(ConfigError::new("initial_delay", &most, found));
        }
        Ok(RetryLayer::exponential()
            .max_retries(self.max_retries)
            .initial_delay(self.initial_delay)
            .max_delay(self.max_delay)
            .backoff_multiplier(self.backoff_multiplier))
    }
}

impl RateLimiterConfig {
    fn layer(&self) -> Result<RateLimitLayer, ConfigError> {
        let on_limit = match self.on_limit {
            OnLimitConfig::Wait => OnLimit::Wait,
            OnLimitConfig::Reject => OnLimit::Reject,
        };
        let mut layer =
            RateLimitLayer::new().on_limit(on_limit).max_wait(self.max_wait).max_waiting(self.max_waiting);
        for (key, quota, seconds) in [
            ("requests_per_second", self.requests_per_second, 1.0),
            ("requests_per_minute", self.requests_per_minute, 60.0),
            ("requests_per_day", self.requests_per_day, 24.0 * 60.0 * 60.0),
        ] {
            if let Some(count) = quota {
                let (requests, period) = whole(count, seconds)
                    .ok_or_else(|| ConfigError::new(key, "a number above 0 and below 4294967296", count))?;
                layer = layer.quota(requests, period);
            }
        }
        if let Some(burst) = self.burst_size {
            at_least_one("burst_size", burst)?;
            layer = layer.burst_size(burst);
        }
        Ok(layer)
    }
}

impl CircuitBreakerConfig {
    fn layer(&self) -> Result<CircuitBreakerLayer, ConfigError> {
        at_least_one("failure_threshold", self.failure_threshold)?;
        at_least_one("success_threshold", self.success_threshold)?;
        at_least_one("half_open_max", self.half_open_max)?;
        Ok(CircuitBreakerLayer::new()
            .failure_threshold(self.failure_threshold)
            .success_threshold(self.success_threshold)
            .cooldown(self.cooldown_seconds)
            .half_open_max(self.half_open_max))
    }
}

impl BackpressureConfig {
    fn layer(&self) -> Result<BackpressureLayer, ConfigError> {
        at_least_one("max_inflight", self.max_inflight as u64)?;
        Ok(BackpressureLayer::max_inflight(self.max_inflight)
            .max_queued(self.max_queued)
            .queue_timeout(self.queue_timeout))
    }
}

impl FallbackConfig {
    /// A chain without targets yet, that acts as configured.
    #[must_use]
    pub fn layer(&self) -> FallbackLayer {
        FallbackLayer::new()
            .on_context_length(self.on_context_length)
            .on_content_filter(self.on_content_filter)
    }
}

/// A fractional quota as a whole number of requests in a period of its own: 0.5 a second is 1 in 2 s.
fn whole(count: f64, seconds: f64) -> Option<(u32, Duration)> {
    if !(count > 0.0 && count < f64::from(u32::MAX) + 1.0) {
        return None;
    }
    let requests = count.floor().max(1.0);
    Some((requests as u32, Duration::try_from_secs_f64(seconds * requests / count).ok()?))
}

fn at_least_one<N: Into<u128> + Copy>(key: &str, number: N) -> Result<(), ConfigError> {
    match number.into() {
        0 => Err(ConfigError::new(key, "at least 1", 0)),
        _ => Ok(()),
    }
}

fn positive(key: &str, duration: Duration) -> Result<(), ConfigError> {
    match duration {
        Duration::ZERO => Err(ConfigError::new(key, "more than no time", "0s")),
        _ => Ok(()),
    }
}
