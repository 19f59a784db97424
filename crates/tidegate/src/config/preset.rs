use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ResilienceConfig;
use crate::retry::Jitter;
use crate::{backpressure, circuit_breaker, fallback, rate_limit, retry, timeout};

/// A configuration to start from: `preset = "production"` in a file. The settings of the file override it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// [`ResilienceConfig::minimal`].
    Minimal,
    /// [`ResilienceConfig::production`].
    Production,
    /// [`ResilienceConfig::lesson`].
    Lesson,
}

impl Preset {
    /// The settings of this preset.
    #[must_use]
    pub fn config(self) -> ResilienceConfig {
        match self {
            Self::Minimal => ResilienceConfig::minimal(),
            Self::Production => ResilienceConfig::production(),
            Self::Lesson => ResilienceConfig::lesson(),
        }
    }
}

impl ResilienceConfig {
    /// Retries with their defaults, and nothing else: for a script, or for a client that has its own limits.
    #[must_use]
    pub fn minimal() -> Self {
        Self { retry: Some(retry::Settings::default()), ..Self::default() }
    }

    /// All parts on, for a service with interactive users.
    ///
    /// The rate limit has no quota of its own and follows the limits that the provider reports. The circuit
    /// also opens when half of the latest calls have failed, and stays open for longer each time, with some
    /// jitter, so that many processes do not come back at once. A call as a whole has 600 s, of which the last
    /// 120 s are reserved for the next targets of a chain, and an attempt 480 s. A prompt that does not fit
    /// the model goes to the next target.
    #[must_use]
    pub fn production() -> Self {
        Self {
            retry: Some(retry::Settings {
                reserve_for_fallback: Duration::from_secs(120),
                ..retry::Settings::default()
            }),
            rate_limiter: Some(rate_limit::Settings::default()),
            circuit_breaker: Some(circuit_breaker::Settings {
                failure_rate_threshold: Some(0.5),
                cooldown_growth: 2.0,
                cooldown_jitter: 0.2,
                ..circuit_breaker::Settings::default()
            }),
            backpressure: Some(backpressure::Settings::default()),
            timeout: timeout::Settings {
                total: Some(Duration::from_secs(600)),
                attempt: Duration::from_secs(480),
                ..timeout::Settings::default()
            },
            fallback: fallback::Settings { on_context_length: true, ..fallback::Settings::default() },
            hedge: None,
        }
    }

    /// The numbers of the course "Circuit Breakers y Fallback Strategies": three attempts, a circuit that
    /// opens after five failures or when half of the calls take 5 s, and 30 s for the whole call.
    ///
    /// | name in the course | number | setting |
    /// |---|---|---|
    /// | `max_attempts`, the first included | 3 | `retry.max_retries = 2` |
    /// | `base_delay`, `max_delay` | 1 s, 60 s | `retry.initial_delay`, `retry.max_delay` |
    /// | `jitter_range` | 0.1 | `retry.jitter = { ratio = 0.1 }` |
    /// | `success_threshold` | 3 | `circuit_breaker.success_threshold`, `circuit_breaker.half_open_max` |
    /// | `timeout_seconds` of the breaker | 60 s | `circuit_breaker.cooldown_seconds` |
    /// | `slow_call_threshold` | 5 s | `circuit_breaker.slow_call_threshold` |
    /// | `minimum_throughput` | 10 | `circuit_breaker.minimum_throughput` |
    /// | the calls in the rate of slow ones | 10 | `circuit_breaker.slow_call_window_size` |
    /// | `max_wait_duration` | 60 s | `timeout.attempt` |
    /// | `timeout_seconds` of the client | 30 s | `timeout.total` |
    ///
    /// Its other numbers are the defaults here. The course has neither a rate limit nor a limit of calls in
    /// flight.
    #[must_use]
    pub fn lesson() -> Self {
        Self {
            retry: Some(retry::Settings {
                max_retries: 2,
                max_delay: Duration::from_secs(60),
                jitter: Jitter::Ratio(0.1),
                ..retry::Settings::default()
            }),
            circuit_breaker: Some(circuit_breaker::Settings {
                success_threshold: 3,
                half_open_max: 3,
                cooldown: Duration::from_secs(60),
                slow_call_threshold: Some(Duration::from_secs(5)),
                minimum_throughput: 10,
                slow_call_window_size: Some(10),
                ..circuit_breaker::Settings::default()
            }),
            timeout: timeout::Settings {
                total: Some(Duration::from_secs(30)),
                attempt: Duration::from_secs(60),
                ..timeout::Settings::default()
            },
            ..Self::default()
        }
    }
}
