use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::retry::{Jitter, Strategy};

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

/// Settings of [`RetryLayer`](crate::RetryLayer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts after the first; 3.
    pub max_retries: u32,
    /// Attempts of the whole call, those at other targets included; without it each target counts its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How the waits grow: `"fixed"`, `"linear"`, `"exponential"`, `"fibonacci"`, `"decorrelated_jitter"` or
    /// `"adaptive"`; `"exponential"`.
    pub strategy: Strategy,
    /// What is random about them: `"full"`, `"equal"`, `{ ratio = 0.1 }` or `"none"`; `"full"`.
    pub jitter: Jitter,
    /// What the waits grow from; 1 s.
    #[serde(with = "seconds")]
    pub initial_delay: Duration,
    /// No wait is longer; 30 s.
    #[serde(with = "seconds")]
    pub max_delay: Duration,
    /// Each wait is so many times the one before; at least 1; 2.
    pub backoff_multiplier: f64,
    /// Of the codes that may be retried, only these, by number or by name; all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<String>>,
    /// Time at the end of the call's that is kept for the targets further down the chain; none.
    #[serde(with = "seconds")]
    pub reserve: Duration,
    /// Sends one `Idempotency-Key` with all attempts of a call; `false`.
    pub idempotency_key: bool,
    /// Sends the number of the attempt as `x-tidegate-attempt`; `false`.
    pub attempt_header: bool,
}

/// Settings of [`RateLimitLayer`](crate::RateLimitLayer).
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

/// Settings of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
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

/// Settings of [`BackpressureLayer`](crate::BackpressureLayer).
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
    /// The caller may say in this header how long it waits, at most `total`; none. `grpc-timeout` as gRPC has it,
    /// milliseconds where the name ends in `-ms`, such as `"x-request-timeout-ms"`, else seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// One attempt, to the last byte of its answer; 600 s.
    #[serde(with = "seconds")]
    pub attempt: Duration,
    /// From the call to the first token of a stream; 120 s.
    #[serde(with = "seconds")]
    pub first_token: Duration,
    /// Between two tokens of a stream, pings not counted; 120 s.
    #[serde(with = "seconds")]
    pub token_gap: Duration,
    /// Between two events of a stream, pings counted; 120 s.
    #[serde(with = "seconds")]
    pub frame_gap: Duration,
    /// Between two pieces of a stream; 120 s.
    #[serde(with = "seconds")]
    pub byte_gap: Duration,
}

/// When to go down the chain, beyond what the codes say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FallbackConfig {
    /// Also when the prompt does not fit the model.
    pub on_context_length: bool,
    /// Also when the content filter refuses.
    pub on_content_filter: bool,
    /// The next target goes on with a text stream that breaks; `false`.
    pub continue_streams: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            max_attempts: None,
            strategy: Strategy::Exponential,
            jitter: Jitter::Full,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            backoff_multiplier: 2.0,
            retry_on: None,
            reserve: Duration::ZERO,
            idempotency_key: false,
            attempt_header: false,
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
        let patient = Duration::from_secs(120);
        Self {
            total: None,
            header: None,
            attempt: Duration::from_secs(600),
            first_token: patient,
            token_gap: patient,
            frame_gap: patient,
            byte_gap: patient,
        }
    }
}
