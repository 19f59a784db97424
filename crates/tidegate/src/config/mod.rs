//! Configures the stack from a file or from the environment.
//!
//! # When to use it
//! When settings should change without a build: one [`ResilienceConfig`] per policy, in any format that serde
//! reads.
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
//! A part that is absent, or has `enabled = false`, is off, except `timeout` and `fallback`, which have their
//! defaults if they are absent: a chain falls back unless `fallback = { enabled = false }`. A key that is
//! absent has the default of its layer:
//!
//! | part | keys and defaults |
//! |---|---|
//! | `preset` | none; [`minimal`](ResilienceConfig::minimal), [`production`](ResilienceConfig::production) or [`lesson`](ResilienceConfig::lesson) |
//! | `retry` | [`retry`](crate::retry#defaults) |
//! | `rate_limiter` | [`rate_limit`](crate::rate_limit#defaults) |
//! | `circuit_breaker` | [`circuit_breaker`](crate::circuit_breaker#defaults) |
//! | `backpressure` | [`backpressure`](crate::backpressure#defaults) |
//! | `timeout` | [`timeout`](crate::timeout#defaults) |
//! | `fallback` | [`fallback`](crate::fallback#defaults) |
//! | `hedge` | [`hedge`](crate::hedge#defaults) |
//!
//! Durations are `"30s"`, `"1m 30s"`, `"250ms"`, or a number of seconds. A duration that is optional, and the
//! retry budget, can be `"none"`, which turns off what a preset has turned on.
//!
//! # Presets
//! A preset has the settings that the file does not set:
//!
//! ```
//! use tidegate::ResilienceConfig;
//!
//! let config: ResilienceConfig = toml::from_str(r#"
//!     preset = "lesson"
//!     retry  = { max_retries = 1 }
//! "#)?;
//! let mut expected = ResilienceConfig::lesson();
//! expected.retry.as_mut().unwrap().max_retries = 1;
//! assert_eq!(config, expected);
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! # Other names
//! | part | also accepted | setting |
//! |---|---|---|
//! | `retry` | `reserve` | `reserve_for_fallback` |
//! | `retry` | `base_delay` | `initial_delay` |
//! | `retry` | `multiplier` | `backoff_multiplier` |
//! | `rate_limiter` | `learn` | `follow_headers` |
//! | `rate_limiter` | `adopt` | `adopt_reported_quotas` |
//! | `rate_limiter` | `pause` | `default_retry_after` |
//! | `circuit_breaker` | `cooldown`, `timeout_seconds` | `cooldown_seconds` |
//!
//! The parts `retry` and `circuit_breaker` can be called `retry_config` and `circuit_breaker_config`.
//! Serialization uses the names in the right column.
//!
//! # Errors
//! An unknown key is an error when the file is read, and a number out of range when the stack is built;
//! [`ResilienceConfig::from_toml`] checks both. All mistakes are reported at once, a line for each with the
//! key and what is expected, and for an unknown key the nearest known one. A key or a password may stand in
//! the wrong place: a message has the value that was found only if it is too short for a secret ([`found`])
//! or a misspelt one ([`unknown`]), and a name of the file only if it reads as a name ([`redacted`]).
//!
//! ```
//! use tidegate::ResilienceConfig;
//!
//! let error = toml::from_str::<ResilienceConfig>("retry = { max_retrys = 3 }").unwrap_err();
//! assert_eq!(error.message(), "retry: unknown key `max_retrys`, did you mean `max_retries`?");
//! ```
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
//! [`unread_variables`] finds those that are misspelt. A variable turns its part on. The program takes
//! precedence over the environment, the environment over the file, the file over its preset, and the preset
//! over the defaults: call [`overlay_env`](ResilienceConfig::overlay_env) after reading the file and before
//! setting fields in the program. [`ResilienceConfig::explain`] lists all settings with the origin of each.

mod env;
mod explanation;
mod file;
mod file_value;
mod http_uri;
mod names;
mod policy;
mod preset;
mod quote_hint;
mod recover;
#[cfg(feature = "schema")]
mod schema;
mod serde_error;
mod suggestion;
mod toml_text;

pub use self::env::unread_variables;
pub use self::explanation::{ExplainedLayer, ExplainedSetting, Explanation, Origin};
pub use self::file::PolicyFile;
pub use self::http_uri::http_uri;
#[cfg(test)]
pub(crate) use self::names::field_names;
pub use self::policy::ResilienceConfig;
pub use self::preset::Preset;
pub use self::recover::{Recovered, Removed, recover};
#[cfg(feature = "schema")]
pub(crate) use self::schema::{LimitUnitName, add_strategy_names};
pub use self::suggestion::{suggest, unknown};
pub use self::toml_text::TomlText;
pub use crate::settings::{Checks, ConfigError, DurationText, Mistake, found, redacted, redacted_key};

#[cfg(test)]
mod tests;
