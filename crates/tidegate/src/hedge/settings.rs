use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::response_times::HALF_WINDOW;
use crate::settings::{ConfigError, DurationText, at_least_one, from_zero_to_one};

/// The settings of a [`HedgeLayer`](super::HedgeLayer), and their defaults; the part `hedge` of a
/// configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether calls are hedged; `true` by default.
    pub enabled: bool,
    /// A call is hedged when its first token is later than that of this many of a hundred calls; above 0 and
    /// below 100; 95 by default.
    pub percentile: f64,
    /// The calls of a target that are measured before one is hedged, at most 512; 50 by default.
    pub min_samples: u32,
    /// The shortest time after which a call is hedged; 100 ms by default.
    #[serde(with = "DurationText")]
    pub min_delay: Duration,
    /// Hedges as a share of the calls, from 0 to 1; 0.05 by default.
    pub max_extra_requests: f64,
    /// The tokens of the hedges as a share of those of the calls, from 0 to 1; 0.05 by default.
    pub max_extra_tokens: f64,
    /// Whether a call is hedged at its own target if no other target of the chain can take it at once; `true`
    /// by default.
    pub same_target: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            percentile: 95.0,
            min_samples: 50,
            min_delay: Duration::from_millis(100),
            max_extra_requests: 0.05,
            max_extra_tokens: 0.05,
            same_target: true,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::all([
            self.check_percentile(),
            at_least_one("min_samples", self.min_samples),
            self.check_samples(),
            from_zero_to_one("max_extra_requests", self.max_extra_requests),
            from_zero_to_one("max_extra_tokens", self.max_extra_tokens),
        ])
    }

    fn check_percentile(&self) -> Result<(), ConfigError> {
        if self.percentile > 0.0 && self.percentile < 100.0 {
            return Ok(());
        }
        Err(ConfigError::expected("percentile", "a number above 0 and below 100", self.percentile))
    }

    fn check_samples(&self) -> Result<(), ConfigError> {
        if self.min_samples <= HALF_WINDOW.into() {
            return Ok(());
        }
        Err(ConfigError::expected("min_samples", &format!("at most {HALF_WINDOW}"), self.min_samples))
    }
}
