//! Builds layers from settings, and validates every number.

use std::time::Duration;

use super::{
    AdaptiveConfig, BackpressureConfig, CircuitBreakerConfig, ConfigError, FallbackConfig, OnLimitConfig,
    OrderConfig, RateLimiterConfig, ResilienceConfig, RetryConfig, TimeoutConfig,
};
use crate::backpressure::{Aimd, Gradient, Order, Vegas};
use crate::classify::StreamClocks;
use crate::rate_limit::OnLimit;
use crate::retry::Jitter;
use crate::stack::{CallLimits, TimeoutHeader};
use crate::{
    BackpressureLayer, CircuitBreakerLayer, ErrorCode, FallbackLayer, LimitUnit, RateLimitLayer,
    ResilienceBuilder, RetryLayer,
};

impl ResilienceBuilder {
    /// The stack that `config` describes. It has no [`name`](Self::name) yet.
    ///
    /// # Errors
    ///
    /// A number is out of its range.
    pub fn from_config(config: &ResilienceConfig) -> Result<Self, ConfigError> {
        config.timeout.check().map_err(|error| error.within("timeout"))?;
        let fallback = config.fallback.layer().map_err(|error| error.within("fallback"))?;
        let mut builder = Self::new("")
            .fallback(fallback)
            .attempt_timeout(config.timeout.attempt)
            .stream_clocks(config.timeout.stream_clocks())
            .bounds(config.bounds()?);
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

    /// The stack that the `AI_LIB_*` variables describe. A part without a variable is off.
    ///
    /// # Errors
    ///
    /// A variable cannot be parsed or is out of its range; the message has its name.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_config(&ResilienceConfig::from_env()?)
    }
}

impl ResilienceConfig {
    /// The limits of a call as a whole. For a chain of stacks with this configuration, apply them in front of
    /// the chain.
    ///
    /// # Errors
    ///
    /// A number is out of its range, or the name is not a valid header name.
    pub fn bounds(&self) -> Result<CallLimits, ConfigError> {
        let mut bounds = CallLimits::new();
        if let Some(total) = self.timeout.total {
            bounds = bounds.total_timeout(total);
        }
        if let Some(name) = &self.timeout.header {
            let invalid =
                |_| ConfigError::new("timeout.header", "the name of a header", format_args!("{name:?}"));
            bounds = bounds.timeout_header(TimeoutHeader::named(name.parse().map_err(invalid)?));
        }
        if let Some(attempts) = self.retry.as_ref().and_then(|retry| retry.max_attempts) {
            at_least_one("retry.max_attempts", attempts)?;
            bounds = bounds.max_attempts(attempts);
        }
        Ok(bounds)
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
        if let Jitter::Ratio(ratio) = self.jitter
            && !(0.0..=1.0).contains(&ratio)
        {
            return Err(ConfigError::new("jitter.ratio", "a number from 0 to 1", ratio));
        }
        let mut layer = RetryLayer::new(self.strategy);
        if let Some(names) = &self.retry_on {
            let codes: Result<Vec<_>, _> = names.iter().map(|name| retryable(name)).collect();
            layer = layer.retry_on(codes?);
        }
        Ok(layer
            .jitter(self.jitter)
            .reserve_for_fallback(self.reserve)
            .idempotency_key(self.idempotency_key)
            .attempt_header(self.attempt_header)
            .max_retries(self.max_retries)
            .initial_delay(self.initial_delay)
            .max_delay(self.max_delay)
            .backoff_multiplier(self.backoff_multiplier))
    }
}

fn retryable(name: &str) -> Result<ErrorCode, ConfigError> {
    let expected = "the number or name of a retryable error code, such as E2001 or rate_limited";
    let code = name.parse().ok().filter(|code: &ErrorCode| code.is_retryable());
    code.ok_or_else(|| ConfigError::new("retry_on", expected, format_args!("{name:?}")))
}

impl RateLimiterConfig {
    fn layer(&self) -> Result<RateLimitLayer, ConfigError> {
        let on_limit = match self.on_limit {
            OnLimitConfig::Wait => OnLimit::Wait,
            OnLimitConfig::Reject => OnLimit::Reject,
        };
        let mut layer = RateLimitLayer::new()
            .on_limit(on_limit)
            .max_wait(self.max_wait)
            .max_waiting(self.max_waiting)
            .default_output_tokens(self.default_output_tokens)
            .follow_headers(self.learn)
            .adopt_reported_quotas(self.adopt);
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
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_secs(60);
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        for (key, tokens, currency, period) in [
            ("tokens_per_second", self.tokens_per_second, LimitUnit::Tokens, SECOND),
            ("tokens_per_minute", self.tokens_per_minute, LimitUnit::Tokens, MINUTE),
            ("tokens_per_day", self.tokens_per_day, LimitUnit::Tokens, DAY),
            ("input_tokens_per_minute", self.input_tokens_per_minute, LimitUnit::InputTokens, MINUTE),
            ("output_tokens_per_minute", self.output_tokens_per_minute, LimitUnit::OutputTokens, MINUTE),
        ] {
            if let Some(tokens) = tokens {
                at_least_one(key, tokens)?;
                layer = layer.quota_of(currency, tokens, period);
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
    pub(super) fn layer(&self) -> Result<CircuitBreakerLayer, ConfigError> {
        self.check()?;
        let mut layer = CircuitBreakerLayer::new()
            .failure_threshold(self.failure_threshold)
            .success_threshold(self.success_threshold)
            .cooldown(self.cooldown_seconds)
            .half_open_max(self.half_open_max)
            .minimum_throughput(self.minimum_throughput)
            .cooldown_growth(self.cooldown_growth)
            .cooldown_jitter(self.cooldown_jitter)
            .ramp_up(self.ramp_up.unwrap_or_default())
            .shadow(self.shadow);
        if let Some(rate) = self.failure_rate_threshold {
            layer = layer.failure_rate_threshold(rate);
        }
        if let Some(slow) = self.slow_call_threshold {
            layer = layer.slow_call_threshold(slow);
        }
        if let Some(rate) = self.slow_call_rate_threshold {
            layer = layer.slow_call_rate_threshold(rate);
        }
        if let Some(calls) = self.sliding_window_size {
            layer = layer.sliding_window_size(calls);
        }
        if let Some(time) = self.sliding_window {
            layer = layer.sliding_window(time);
        }
        if let Some(most) = self.max_cooldown {
            layer = layer.max_cooldown(most);
        }
        Ok(layer)
    }

    fn check(&self) -> Result<(), ConfigError> {
        at_least_one("failure_threshold", self.failure_threshold)?;
        at_least_one("success_threshold", self.success_threshold)?;
        at_least_one("half_open_max", self.half_open_max)?;
        at_least_one("minimum_throughput", self.minimum_throughput)?;
        for (key, rate) in [
            ("failure_rate_threshold", self.failure_rate_threshold),
            ("slow_call_rate_threshold", self.slow_call_rate_threshold),
        ] {
            if let Some(rate) = rate.filter(|rate| !(*rate > 0.0 && *rate <= 1.0)) {
                return Err(ConfigError::new(key, "a number above 0 and at most 1", rate));
            }
        }
        if let (Some(rate), None) = (self.slow_call_rate_threshold, self.slow_call_threshold) {
            return Err(ConfigError::new("slow_call_rate_threshold", "slow_call_threshold beside it", rate));
        }
        if self.slow_call_threshold.is_some_and(|slow| slow.is_zero()) {
            return Err(ConfigError::new("slow_call_threshold", "more than no time", "0s"));
        }
        let most = CircuitBreakerLayer::MAX_WINDOW_SIZE;
        if let Some(calls) = self.sliding_window_size.filter(|calls| !(1..=most).contains(calls)) {
            let expected = format!("a whole number from 1 to {most}");
            return Err(ConfigError::new("sliding_window_size", &expected, calls));
        }
        if let Some(time) = self.sliding_window {
            let found = humantime::format_duration(time);
            if self.sliding_window_size.is_some() {
                return Err(ConfigError::new("sliding_window", "no sliding_window_size beside it", found));
            }
            if time < CircuitBreakerLayer::MIN_WINDOW {
                return Err(ConfigError::new("sliding_window", "at least 10ms", found));
            }
        }
        if !self.cooldown_growth.is_finite() || self.cooldown_growth < 1.0 {
            return Err(ConfigError::new("cooldown_growth", "a number of at least 1", self.cooldown_growth));
        }
        if let Some(most) = self.max_cooldown.filter(|most| *most < self.cooldown_seconds) {
            let least = humantime::format_duration(self.cooldown_seconds);
            let expected = format!("at least cooldown_seconds, {least}");
            return Err(ConfigError::new("max_cooldown", &expected, humantime::format_duration(most)));
        }
        if !(0.0..=1.0).contains(&self.cooldown_jitter) {
            return Err(ConfigError::new("cooldown_jitter", "a number from 0 to 1", self.cooldown_jitter));
        }
        Ok(())
    }
}

impl BackpressureConfig {
    fn layer(&self) -> Result<BackpressureLayer, ConfigError> {
        at_least_one("max_inflight", self.max_inflight as u64)?;
        at_least_one("min_inflight", self.min_inflight as u64)?;
        if self.min_inflight > self.max_inflight {
            let most = format!("at most max_inflight, {}", self.max_inflight);
            return Err(ConfigError::new("min_inflight", &most, self.min_inflight));
        }
        let layer = BackpressureLayer::max_inflight(self.max_inflight)
            .max_queued(self.max_queued)
            .queue_timeout(self.queue_timeout)
            .order(match self.order {
                OrderConfig::Fifo => Order::Fifo,
                OrderConfig::NewestFirstUnderOverload => Order::NewestFirstUnderOverload,
            })
            .min_inflight(self.min_inflight);
        Ok(match self.adaptive {
            None => layer,
            Some(AdaptiveConfig::Aimd) => layer.adaptive(Aimd::new()),
            Some(AdaptiveConfig::Gradient) => layer.adaptive(Gradient::new()),
            Some(AdaptiveConfig::Vegas) => layer.adaptive(Vegas::new()),
        })
    }
}

impl TimeoutConfig {
    fn stream_clocks(&self) -> StreamClocks {
        StreamClocks::new()
            .first_token(self.first_token)
            .token_gap(self.token_gap)
            .frame_gap(self.frame_gap)
            .byte_gap(self.byte_gap)
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (key, limit) in [
            ("attempt", self.attempt),
            ("total", self.total.unwrap_or(self.attempt)),
            ("first_token", self.first_token),
            ("token_gap", self.token_gap),
            ("frame_gap", self.frame_gap),
            ("byte_gap", self.byte_gap),
        ] {
            if limit.is_zero() {
                return Err(ConfigError::new(key, "more than no time", "0s"));
            }
        }
        Ok(())
    }
}

impl FallbackConfig {
    /// A chain without targets yet, with these settings.
    ///
    /// # Errors
    ///
    /// `continue_streams` is set and the `translate` feature is off.
    pub fn layer(&self) -> Result<FallbackLayer, ConfigError> {
        let layer = FallbackLayer::new()
            .on_context_length(self.on_context_length)
            .on_content_filter(self.on_content_filter);
        if self.continue_streams { continue_streams(layer) } else { Ok(layer) }
    }
}

#[cfg(feature = "translate")]
fn continue_streams(layer: FallbackLayer) -> Result<FallbackLayer, ConfigError> {
    Ok(layer.continue_streams(tidegate_translate::StreamContinuation))
}

#[cfg(not(feature = "translate"))]
fn continue_streams(_: FallbackLayer) -> Result<FallbackLayer, ConfigError> {
    Err(ConfigError::new("continue_streams", "the feature `translate` for it", true))
}

/// A fractional quota as a whole number of requests in a longer period: 0.5 a second is 1 in 2 s.
pub(super) fn whole(count: f64, seconds: f64) -> Option<(u32, Duration)> {
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
