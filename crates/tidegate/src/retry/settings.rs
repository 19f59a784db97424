use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::policy::{CodeSet, RetryPolicy};
use super::{Jitter, Strategy};
use crate::settings::{
    ConfigError, DurationText, Hook, LayerSettings, OrNone, at_least_one, at_most, factor, from_zero_to_one,
};
use crate::{ErrorCode, Payload};

/// The settings of a [`RetryLayer`](crate::RetryLayer), and their defaults; the part `retry` of a
/// configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
#[doc(alias = "RetryConfig")]
pub struct Settings {
    /// Whether failed attempts are retried; `true` by default. A [`RetryOverride`](super::RetryOverride) of a
    /// request takes precedence.
    #[doc(alias = "enable_retries")]
    pub enabled: bool,
    /// Attempts after the first; 3 by default.
    pub max_retries: u32,
    /// Attempts of the whole call, including those at other targets. By default each target counts its own,
    /// `max_retries` and the first. With no more than these, a target that fails leaves none to the next
    /// ones. It is a limit of the call, which the stack applies; a layer that is used alone ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How the waits grow: `"fixed"`, `"linear"`, `"exponential"`, `"fibonacci"`, `"decorrelated_jitter"` or
    /// `"adaptive"`. `"exponential"` by default.
    pub strategy: Strategy,
    /// The random part of the waits: `"full"`, `"equal"`, `{ ratio = 0.1 }` or `"none"`. `"full"` by default.
    pub jitter: Jitter,
    /// The wait that the waits grow from; 1 s by default.
    #[serde(with = "DurationText")]
    pub initial_delay: Duration,
    /// The longest wait of the back-off; 30 s by default. A longer wait of the provider ends the retries.
    #[serde(with = "DurationText")]
    pub max_delay: Duration,
    /// Each wait is this many times the one before; at least 1; 2 by default.
    pub backoff_multiplier: f64,
    /// Restricts retries to these retryable codes, by number or by name. All of them by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<String>>"))]
    pub retry_on: Option<Vec<ErrorCode>>,
    /// Retries a rejection by one of the gates, if its wait is at most `max_delay`, and the call has a
    /// deadline that allows it; `false` by default.
    pub retry_rejections: bool,
    /// The retry budget of all calls together, or `"none"`; 20 % of the calls and 10 a second by default.
    #[serde(with = "OrNone::<RetryBudget>")]
    pub budget: Option<RetryBudget>,
    /// Time at the end of the call that is reserved for the other targets of a chain; none by default.
    #[serde(with = "DurationText")]
    pub reserve_for_fallback: Duration,
    /// Sends one `Idempotency-Key` with all attempts of a call; `false` by default.
    pub idempotency_key: bool,
    /// Sends the number of the attempt as `x-tidegate-attempt`; `false` by default.
    pub attempt_header: bool,
    /// Request bodies up to this many bytes are buffered so that they can be sent again; 32 MiB by default.
    pub body_cap: usize,
}

/// Bounds the retries of all calls together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries per call, from 0 to 1; 0.2 by default.
    pub ratio: f64,
    /// Retries a second that are allowed on top; 10 by default.
    pub floor: u32,
}

/// What only a program can set.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryHooks {
    pub(super) seed: Option<u64>,
    pub(super) load: Option<Hook<LoadGauge>>,
}

pub(super) type RetrySettings = LayerSettings<Settings, RetryHooks>;

/// Reads the current load: the used part of the available capacity.
pub(super) type LoadGauge = dyn Fn() -> Option<f64> + Send + Sync;

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_retries: 3,
            max_attempts: None,
            strategy: Strategy::Exponential,
            jitter: Jitter::Full,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            backoff_multiplier: 2.0,
            retry_on: None,
            retry_rejections: false,
            budget: Some(RetryBudget::default()),
            reserve_for_fallback: Duration::ZERO,
            idempotency_key: false,
            attempt_header: false,
            body_cap: Payload::DEFAULT_CAP,
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { ratio: 0.2, floor: 10 }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let jitter = if let Jitter::Ratio(ratio) = self.jitter { ratio } else { 0.0 };
        ConfigError::all([
            factor("backoff_multiplier", self.backoff_multiplier),
            at_most("initial_delay", self.initial_delay, "max_delay", self.max_delay),
            from_zero_to_one("jitter.ratio", jitter),
            from_zero_to_one("budget.ratio", self.budget.map_or(0.0, |budget| budget.ratio)),
            at_least_one("max_attempts", self.max_attempts.unwrap_or(1)),
            self.check_codes(),
        ])
    }

    fn check_codes(&self) -> Result<(), ConfigError> {
        let expected = "the number or name of a retryable error code, such as E2001 or rate_limited";
        let codes = self.retry_on.iter().flatten().enumerate();
        let fatal = codes.filter(|(_, code)| !code.is_retryable());
        ConfigError::all(fatal.map(|(index, code)| {
            Err(ConfigError::new(format!("retry_on[{index}]"), format!("expected {expected}, found {code}")))
        }))
    }

    pub(super) fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            max_retries: if self.enabled { self.max_retries } else { 0 },
            backoff: Backoff {
                strategy: self.strategy,
                jitter: self.jitter,
                initial: self.initial_delay,
                max: self.max_delay,
                multiplier: self.backoff_multiplier,
            },
            codes: self.retry_on.as_ref().map_or(CodeSet::ALL, |codes| codes.iter().copied().collect()),
            retry_rejections: self.retry_rejections,
        }
    }
}
