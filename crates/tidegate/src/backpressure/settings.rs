use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Aimd, Gradient, Limit, Order, Vegas};
use crate::KeyBy;
use crate::keyed::DEFAULT_MAX_KEYS;
use crate::settings::{ConfigError, DurationText, Hook, LayerSettings, at_least_one};

/// The settings of a [`BackpressureLayer`](crate::BackpressureLayer), and their defaults; the part
/// `backpressure` of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
#[doc(alias = "BackpressureConfig")]
pub struct Settings {
    /// Whether there is a limit; `true` by default.
    pub enabled: bool,
    /// Calls in flight, bodies included; the upper bound of an adaptive limit; 50 by default.
    pub max_inflight: usize,
    /// Calls of each priority that may wait for a permit; 64 by default.
    pub max_queued: usize,
    /// The longest wait for a permit; 10 s by default.
    #[serde(with = "DurationText")]
    pub queue_timeout: Duration,
    /// The order of the queue: `"fifo"` or `"newest_first_under_overload"`. `"fifo"` by default.
    pub order: Order,
    /// The algorithm of an adaptive limit: `"aimd"`, `"gradient"` or `"vegas"`. By default the limit is fixed
    /// at `max_inflight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Algorithm>,
    /// The lower bound of an adaptive limit; 1 by default.
    pub min_inflight: usize,
    /// Keeps a limit and a queue for each key: `"tenant"`, `"credential"`, `"model"`, `"header:<name>"`,
    /// `"path"` or `"host"`. By default all calls share one limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_by: Option<KeyBy>,
    /// The most keys that are kept; 10 000 by default.
    pub max_keys: usize,
}

/// The algorithm of an adaptive limit, with its default parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// [`Aimd`].
    Aimd,
    /// [`Gradient`].
    Gradient,
    /// [`Vegas`].
    Vegas,
}

/// What only a program can set.
#[derive(Clone, Debug, Default)]
pub(super) struct BackpressureHooks {
    /// Replaces the algorithm of the settings.
    pub(super) adaptive: Option<Hook<LimitFactory>>,
    /// The limit is that of a key.
    pub(super) is_of_key: bool,
    /// Responses change nothing, and are not measured.
    pub(super) ignores_responses: bool,
}

pub(super) type BackpressureSettings = LayerSettings<Settings, BackpressureHooks>;

/// Creates the algorithm of each limit, without history.
pub(super) type LimitFactory = dyn Fn() -> Box<dyn Limit> + Send + Sync;

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_inflight: 50,
            max_queued: 64,
            queue_timeout: Duration::from_secs(10),
            order: Order::Fifo,
            adaptive: None,
            min_inflight: 1,
            key_by: None,
            max_keys: DEFAULT_MAX_KEYS,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::all([
            at_least_one("max_inflight", self.max_inflight),
            at_least_one("min_inflight", self.min_inflight),
            at_least_one("max_keys", self.max_keys),
            self.check_order(),
        ])
    }

    fn check_order(&self) -> Result<(), ConfigError> {
        // A maximum of zero is invalid by itself.
        if self.min_inflight <= self.max_inflight.max(1) {
            return Ok(());
        }
        let most = format!("at most max_inflight, {}", self.max_inflight);
        Err(ConfigError::expected("min_inflight", &most, self.min_inflight))
    }
}

impl BackpressureSettings {
    /// A new algorithm without history; `None` if the limit is fixed.
    pub(super) fn algorithm(&self) -> Option<Box<dyn Limit>> {
        if self.hooks.ignores_responses {
            return None;
        }
        match (&self.hooks.adaptive, self.adaptive) {
            (Some(factory), _) => Some(factory()),
            (None, Some(Algorithm::Aimd)) => Some(Box::new(Aimd::new())),
            (None, Some(Algorithm::Gradient)) => Some(Box::new(Gradient::new())),
            (None, Some(Algorithm::Vegas)) => Some(Box::new(Vegas::new())),
            (None, None) => None,
        }
    }
}
