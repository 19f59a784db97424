//! Configures the stack from a file or from the environment.
//!
//! # When to use it
//! When settings should change without a build: one [`ResilienceConfig`] per policy, in any format that serde reads.
//!
//! # Example
//! ```
//! use tidegate::{ResilienceBuilder, ResilienceConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config: ResilienceConfig = toml::from_str(r#"
//!     retry           = { max_retries = 3, initial_delay = "1s", max_delay = "30s", backoff_multiplier = 2.0 }
//!     rate_limiter    = { requests_per_second = 10, burst_size = 20, max_wait = "10s" }
//!     circuit_breaker = { failure_threshold = 5, cooldown_seconds = 30 }
//!     backpressure    = { max_inflight = 50 }
//! "#)?;
//! let builder = ResilienceBuilder::from_config(&config)?.name("openai/gpt-4o");
//!
//! let invalid = toml::from_str::<ResilienceConfig>("backpressure = { max_inflight = 0 }")?;
//! let error = ResilienceBuilder::from_config(&invalid).unwrap_err();
//! assert_eq!(error.to_string(), "backpressure.max_inflight: expected at least 1, found 0");
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! A part that is absent is off. A key that is absent has the default of its layer. Timeouts are on even if absent,
//! with defaults of their own. Durations are `"30s"`, `"1m 30s"`, `"250ms"`, or a number of seconds.
//!
//! # Errors
//! An unknown key is an error when the file is read, and a number out of range when the stack is built. The message
//! names the key and the expected value.
//!
//! # The environment
//! | variable | sets | unit |
//! |---|---|---|
//! | `AI_LIB_RPS` | `rate_limiter.requests_per_second` | requests, fractions allowed |
//! | `AI_LIB_RPM` | `rate_limiter.requests_per_minute` | requests, fractions allowed |
//! | `AI_LIB_BREAKER_FAILURE_THRESHOLD` | `circuit_breaker.failure_threshold` | failures |
//! | `AI_LIB_BREAKER_COOLDOWN_SECS` | `circuit_breaker.cooldown_seconds` | seconds |
//! | `AI_LIB_MAX_INFLIGHT` | `backpressure.max_inflight` | calls |
//! | `AI_LIB_QUEUE_TIMEOUT` | `backpressure.queue_timeout` | seconds, or a duration |
//! | `AI_LIB_ATTEMPT_TIMEOUT_MS` | `timeout.attempt` | milliseconds |
//!
//! A variable turns its part on. The program takes precedence over the environment, the environment over the file, and
//! the file over the defaults: call [`overlay_env`](ResilienceConfig::overlay_env) after reading the file and before
//! setting fields in the program.

mod env;
mod error;
mod layers;
mod parts;
mod seconds;

pub use error::ConfigError;
pub use parts::{
    AdaptiveConfig, BackpressureConfig, CircuitBreakerConfig, FallbackConfig, OnLimitConfig, OrderConfig,
    RateLimiterConfig, ResilienceConfig, RetryConfig, TimeoutConfig,
};

#[cfg(test)]
mod tests;
