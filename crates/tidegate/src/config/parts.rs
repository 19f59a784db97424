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
    /// Tokens a second, prompts and answers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<u64>,
    /// Tokens a minute, prompts and answers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Tokens a day, prompts and answers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Tokens of prompts a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_minute: Option<u64>,
    /// Tokens of answers a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_minute: Option<u64>,
    /// Tokens that an answer is taken to have where the request names no maximum; 500.
    pub default_output_tokens: u64,
    /// Whether the headers of answers are read for how the limits stand; `true`.
    pub learn: bool,
    /// Whether a quota holds that the provider announces and nobody configured; `true`.
    pub adopt: bool,
    /// So many of the finest quota of requests may come at once; as many as it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_size: Option<u32>,
    /// A call waits at most this long for its turn; 10 s.
    #[serde(with = "seconds")]
    pub max_wait: Duration,
    /// So many calls of each priority may wait; 1024.
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
    /// Opens when this share of the calls in the window has failed, above 0 and at most 1; not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate_threshold: Option<f64>,
    /// A call that takes this long to its first token is slow; none is.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub slow_call_threshold: Option<Duration>,
    /// Opens when this share of the calls in the window is slow, above 0 and at most 1; 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_call_rate_threshold: Option<f64>,
    /// No rate is judged by fewer calls; 20.
    pub minimum_throughput: u32,
    /// Rates are of the last so many calls; 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window_size: Option<u32>,
    /// Rates are of the calls of this last while, instead.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<Duration>,
    /// Stays open so many times as long each time that it opens again; at least 1; 1.
    pub cooldown_growth: f64,
    /// The cooldown grows no further; 5 m, or `cooldown_seconds` if that is more.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub max_cooldown: Option<Duration>,
    /// Up to this share of the cooldown is added at random, from 0 to 1; 0.
    pub cooldown_jitter: f64,
    /// After closing, the traffic comes back over this long; at once.
    #[serde(with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub ramp_up: Option<Duration>,
    /// Lets every call pass and only tells which it would have refused; no.
    pub shadow: bool,
}

/// Settings of [`BackpressureLayer`](crate::BackpressureLayer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackpressureConfig {
    /// Calls in flight, bodies included; an adaptive limit is never higher; 50.
    pub max_inflight: usize,
    /// Calls of each priority that may wait for a permit; 64.
    pub max_queued: usize,
    /// How long a call waits for a permit; 10 s.
    #[serde(with = "seconds")]
    pub queue_timeout: Duration,
    /// Who goes first of those who wait; `"fifo"`.
    pub order: OrderConfig,
    /// How the limit finds itself; it stays at `max_inflight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveConfig>,
    /// An adaptive limit is never lower; 1.
    pub min_inflight: usize,
}

/// Who goes first of those who wait for a permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderConfig {
    /// First come, first served.
    #[default]
    Fifo,
    /// The newest first while more than half of the queue is full.
    NewestFirstUnderOverload,
}

/// How a limit finds itself.
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
