use serde::{Deserialize, Serialize};

use super::{ConfigError, PolicyFile, TomlText};
use crate::hedge::HedgeLayer;
use crate::stack::CallLimits;
use crate::store::Store;
use crate::{
    BackpressureLayer, CircuitBreakerLayer, FallbackLayer, RateLimitLayer, ResilienceBuilder, RetryLayer,
    backpressure, circuit_breaker, fallback, hedge, rate_limit, retry, timeout,
};

/// One policy: which parts are on, and their settings. See the [module page](crate::config).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PolicyFile")]
#[doc(alias = "ResilientConfig")]
pub struct ResilienceConfig {
    /// Retries of failed attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<retry::Settings>,
    /// The rate limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<rate_limit::Settings>,
    /// The circuit breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<circuit_breaker::Settings>,
    /// The limit of calls in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backpressure: Option<backpressure::Settings>,
    /// Timeouts; they are on even if absent.
    pub timeout: timeout::Settings,
    /// The failures that a fallback acts on; it is on even if absent. The targets are set in the program.
    pub fallback: fallback::Settings,
    /// Hedges of late calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<hedge::Settings>,
}

impl ResilienceConfig {
    /// The limits of a call as a whole. For a chain of stacks with this configuration, apply them in front of
    /// the chain.
    ///
    /// # Errors
    ///
    /// A number is out of its range, or the name is not a valid header name.
    pub fn call_limits(&self) -> Result<CallLimits, ConfigError> {
        let limits = self.timeout.call_limits().map_err(|error| error.within("timeout"))?;
        let Some(retry) = &self.retry else { return Ok(limits) };
        retry.check().map_err(|error| error.within("retry"))?;
        Ok(retry.max_attempts.into_iter().fold(limits, CallLimits::max_attempts))
    }
}

impl ResilienceConfig {
    /// Reads a file of TOML that is one policy. All mistakes are reported at once, each with its line.
    ///
    /// ```
    /// use tidegate::ResilienceConfig;
    ///
    /// let error = ResilienceConfig::from_toml("[retry]\nmax_retrys = 3\n[backpressure]\nmax_inflight = 0");
    /// assert_eq!(
    ///     error.unwrap_err().to_string(),
    ///     "line 2, column 1: retry: unknown key `max_retrys`, did you mean `max_retries`?\n\
    ///      line 4, column 16: backpressure.max_inflight: expected at least 1, found 0"
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// The text is not TOML, a key is unknown, or a value invalid.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let text = TomlText::parse(text)?;
        let file = PolicyFile::deserialize(text.table().clone());
        let file = file.map_err(|error| ConfigError::from_serde("", error.message()))?;
        file.checked().map_err(|error| text.locate(error))
    }

    /// Checks every number.
    ///
    /// # Errors
    ///
    /// The settings that are out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        fn within<T>(
            part: &str,
            settings: Option<&T>,
            check: impl Fn(&T) -> Result<(), ConfigError>,
        ) -> Result<(), ConfigError> {
            settings.map_or(Ok(()), check).map_err(|error| error.within(part))
        }
        ConfigError::all([
            within("retry", self.retry.as_ref(), retry::Settings::check),
            within("rate_limiter", self.rate_limiter.as_ref(), rate_limit::Settings::check),
            within("circuit_breaker", self.circuit_breaker.as_ref(), circuit_breaker::Settings::check),
            within("backpressure", self.backpressure.as_ref(), backpressure::Settings::check),
            within("timeout", Some(&self.timeout), timeout::Settings::check),
            within("fallback", Some(&self.fallback), fallback::Settings::check),
            within("hedge", self.hedge.as_ref(), hedge::Settings::check),
        ])
    }
}

impl ResilienceBuilder {
    /// The stack that `config` describes. It has no [`name`](Self::name) yet.
    ///
    /// # Errors
    ///
    /// A number is out of its range, or a setting needs a [store](Self::from_config_with_store).
    pub fn from_config(config: &ResilienceConfig) -> Result<Self, ConfigError> {
        Self::from_parts(config, None)
    }

    /// The stack that `config` describes, shared with other processes as by [`store`](Self::store). It has no
    /// [`name`](Self::name) yet.
    ///
    /// # Errors
    ///
    /// A number is out of its range.
    pub fn from_config_with_store(config: &ResilienceConfig, store: Store) -> Result<Self, ConfigError> {
        Self::from_parts(config, Some(store))
    }

    fn from_parts(config: &ResilienceConfig, store: Option<Store>) -> Result<Self, ConfigError> {
        config.check()?;
        let within = |part| move |error: ConfigError| error.within(part);
        let fallback = FallbackLayer::from_settings(config.fallback.clone()).map_err(within("fallback"))?;
        let mut builder = Self::new("")
            .call_limits(config.call_limits()?)
            .fallback(fallback)
            .attempt_timeout(config.timeout.attempt)
            .stream_clocks(config.timeout.stream_clocks());
        if let Some(hedge) = &config.hedge {
            builder = builder.hedge(HedgeLayer::of(hedge.clone()));
        }
        if let Some(retry) = &config.retry {
            builder = builder.retry(RetryLayer::of(retry.clone()));
        }
        if let Some(backpressure) = &config.backpressure {
            builder = builder.backpressure(BackpressureLayer::of(backpressure.clone()));
        }
        if let Some(rate_limit) = &config.rate_limiter {
            builder = builder.rate_limit(RateLimitLayer::of(rate_limit.clone()));
        }
        if let Some(settings) = &config.circuit_breaker {
            let settings = settings.clone();
            let layer = match store.clone() {
                Some(store) => CircuitBreakerLayer::from_settings_with_store(settings, store),
                None => CircuitBreakerLayer::from_settings(settings),
            };
            builder = builder.circuit_breaker(layer.map_err(within("circuit_breaker"))?);
        }
        Ok(store.into_iter().fold(builder, Self::store))
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
