use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::retry::{Jitter, Strategy};

/// One policy: which parts are on, and their settings. See the [module page](crate::config).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResilienceConfig {
    /// Retries of failed attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryConfig>,
    /// The rate limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiterConfig>,
    /// The circuit breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    /// The limit of calls in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backpressure: Option<BackpressureConfig>,
    /// Timeouts; they are on even if absent.
    pub timeout: TimeoutConfig,
    /// The failures that a fallback acts on. The targets are set in the program.
    pub fallback: FallbackConfig,
}

/// Settings of [`RetryLayer`](crate::RetryLayer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts after the first; 3 by default.
    pub max_retries: u32,
    /// Attempts of the whole call, including those at other targets. By default each target counts its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How the waits grow: `"fixed"`, `"linear"`, `"exponential"`, `"fibonacci"`, `"decorrelated_jitter"` or
    /// `"adaptive"`. `"exponential"` by default.
    pub strategy: Strategy,
    /// The random part of the waits: `"full"`, `"equal"`, `{ ratio = 0.1 }` or `"none"`. `"full"` by default.
    pub jitter: Jitter,
    /// The wait that the waits grow from; 1 s by default.
    #[serde(with = "seconds")]
    pub initial_delay: Duration,
    /// The longest wait; 30 s by default.
    #[serde(with = "seconds")]
    pub max_delay: Duration,
    /// Each wait is this many times the one before; at least 1; 2 by default.
    pub backoff_multiplier: f64,
    /// Restricts retries to these retryable codes, by number or by name. All of them by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<String>>,
    /// Time at the end of the call that is reserved for the other targets of a chain; none by default.
    #[serde(with = "seconds")]
    pub reserve: Duration,
    /// Sends one `Idempotency-Key` with all attempts of a call; `false` by default.
    pub idempotency_key: bool,
    /// Sends the number of the attempt as `x-tidegate-attempt`; `false` by default.
    pub attempt_header: bool,
}

/// Settings of [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimiterConfig {
    /// Requests a second, with fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Requests a minute, with fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<f64>,
    /// Requests a day, with fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<f64>,
    /// Tokens a second, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<u64>,
    /// Tokens a minute, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Tokens a day, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Input tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_minute: Option<u64>,
    /// The estimated output tokens of a request without a maximum; 500 by default.
    pub default_output_tokens: u64,
    /// Whether the limits follow the rate-limit headers of responses; `true` by default.
    pub learn: bool,
    /// Whether a quota that the provider reports and that is not configured is enforced; `true` by default.
    pub adopt: bool,
    /// The burst of the request quota with the shortest period; by default as many as the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_size: Option<u32>,
    /// The longest wait in the queue; 10 s by default.
    #[serde(with = "seconds")]
    pub max_wait: Duration,
    /// The number of calls of each priority that may wait; 1024 by default.
    pub max_waiting: usize,
    /// What happens to a call when the quota is used up; `"wait"` by default.
    pub on_limit: OnLimitConfig,
}

/// What happens to a call when the quota is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimitConfig {
    /// The call waits in the queue.
    #[default]
    Wait,
    /// The call is rejected at once.
    Reject,
}

/// Settings of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// Opens after this many consecutive failures; 5 by default.
    pub failure_threshold: u32,
    /// Closes after this many consecutive successful probes; 1 by default.
    pub success_threshold: u32,
    /// The time that the circuit stays open; 30 s by default.
    #[serde(with = "seconds")]
    pub cooldown_seconds: Duration,
    /// The number of concurrent probes while half-open; 1 by default.
    pub half_open_max: u32,
    /// Opens when this share of the calls in the window has failed, above 0 and at most 1. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate_threshold: Option<f64>,
    /// A call that takes this long to its first token is slow. Off by default.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub slow_call_threshold: Option<Duration>,
    /// Opens when this share of the calls in the window is slow, above 0 and at most 1; 0.5 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_call_rate_threshold: Option<f64>,
    /// The fewest calls in the window for which a rate is evaluated; 20 by default.
    pub minimum_throughput: u32,
    /// The window is this many of the latest calls; 100 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window_size: Option<u32>,
    /// The window is the calls of this latest period, instead of a number of calls.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<Duration>,
    /// The factor by which the cooldown grows each time the circuit opens again; at least 1; 1 by default.
    pub cooldown_growth: f64,
    /// The longest cooldown; by default 5 m, or `cooldown_seconds` if that is more.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub max_cooldown: Option<Duration>,
    /// Up to this share of the cooldown is added at random, from 0 to 1; 0 by default.
    pub cooldown_jitter: f64,
    /// After closing, the traffic is restored gradually over this time; at once by default.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub ramp_up: Option<Duration>,
    /// Admits every call, and only reports which calls it would have rejected; `false` by default.
    pub shadow: bool,
}

/// Settings of [`BackpressureLayer`](crate::BackpressureLayer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackpressureConfig {
    /// Calls in flight, bodies included; the upper bound of an adaptive limit; 50 by default.
    pub max_inflight: usize,
    /// Calls of each priority that may wait for a permit; 64 by default.
    pub max_queued: usize,
    /// The longest wait for a permit; 10 s by default.
    #[serde(with = "seconds")]
    pub queue_timeout: Duration,
    /// The order of the queue; `"fifo"` by default.
    pub order: OrderConfig,
    /// The algorithm of an adaptive limit. By default the limit is fixed at `max_inflight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveConfig>,
    /// The lower bound of an adaptive limit; 1 by default.
    pub min_inflight: usize,
}

/// The order of the calls that wait for a permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderConfig {
    /// First come, first served.
    #[default]
    Fifo,
    /// The newest call first while more than half of the queue is used.
    NewestFirstUnderOverload,
}

/// The algorithm of an adaptive limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdaptiveConfig {
    /// [`Aimd`](crate::backpressure::Aimd).
    Aimd,
    /// [`Gradient`](crate::backpressure::Gradient).
    Gradient,
    /// [`Vegas`](crate::backpressure::Vegas).
    Vegas,
}

/// Timeouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutConfig {
    /// The whole call, waits and attempts together; none by default.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
    /// The header with which a caller can shorten `total`; none by default. `grpc-timeout` is read as in
    /// gRPC, a name that ends in `-ms`, such as `"x-request-timeout-ms"`, in milliseconds, and any other in
    /// seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// One attempt, to the last byte of its response; 600 s by default.
    #[serde(with = "seconds")]
    pub attempt: Duration,
    /// From the call to the first token of a stream; 120 s by default.
    #[serde(with = "seconds")]
    pub first_token: Duration,
    /// Between two tokens of a stream, pings not counted; 120 s by default.
    #[serde(with = "seconds")]
    pub token_gap: Duration,
    /// Between two events of a stream, pings counted; 120 s by default.
    #[serde(with = "seconds")]
    pub frame_gap: Duration,
    /// Between two chunks of a stream; 120 s by default.
    #[serde(with = "seconds")]
    pub byte_gap: Duration,
}

/// The failures that a fallback acts on, in addition to those with a fallbackable code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FallbackConfig {
    /// Falls back when the prompt exceeds the context of the model; `false` by default.
    pub on_context_length: bool,
    /// Falls back when the content filter rejects; `false` by default.
    pub on_content_filter: bool,
    /// The next target continues a text stream that broke off; `false` by default.
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
            tokens_per_second: None,
            tokens_per_minute: None,
            tokens_per_day: None,
            input_tokens_per_minute: None,
            output_tokens_per_minute: None,
            default_output_tokens: 500,
            learn: true,
            adopt: true,
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
            failure_rate_threshold: None,
            slow_call_threshold: None,
            slow_call_rate_threshold: None,
            minimum_throughput: 20,
            sliding_window_size: None,
            sliding_window: None,
            cooldown_growth: 1.0,
            max_cooldown: None,
            cooldown_jitter: 0.0,
            ramp_up: None,
            shadow: false,
        }
    }
}

impl Default for BackpressureConfig {
    fn default() -> Self {
        Self {
            max_inflight: 50,
            max_queued: 64,
            queue_timeout: Duration::from_secs(10),
            order: OrderConfig::Fifo,
            adaptive: None,
            min_inflight: 1,
        }
    }
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        let silence = Duration::from_secs(120);
        Self {
            total: None,
            header: None,
            attempt: Duration::from_secs(600),
            first_token: silence,
            token_gap: silence,
            frame_gap: silence,
            byte_gap: silence,
        }
    }
}
