use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::AlertKind;
use crate::settings::{ConfigError, DurationText, from_zero_to_one, more_than_no_time};

/// The thresholds of alerts, and their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The least share of the latest calls that succeed, from 0 to 1; 0.9 by default, and 0 for no alert.
    pub success_rate: f64,
    /// The largest share of the latest calls that are slow, from 0 to 1; 0.5 by default, and 1 for no alert.
    pub slow_rate: f64,
    /// The longest time that a circuit is not closed; 60 s by default.
    #[serde(with = "DurationText")]
    pub circuit_open: Duration,
    /// The least share of a quota that is left, from 0 to 1; 0.1 by default, and 0 for no alert.
    pub quota_left: f64,
    /// Whether there is an alert when no target admits calls, and for each chain of which none does; `true`
    /// by default.
    pub all_targets: bool,
    /// How long a threshold is crossed before its alert is raised; 30 s by default. `circuit_open` has its
    /// own time.
    #[serde(with = "DurationText")]
    pub raise_after: Duration,
    /// How long a threshold is kept before its alert is cleared; 60 s by default.
    #[serde(with = "DurationText")]
    pub clear_after: Duration,
    /// The time between two looks at the signals, at most a day; 5 s by default.
    #[serde(with = "DurationText")]
    pub interval: Duration,
}

const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Settings {
    fn default() -> Self {
        Self {
            success_rate: 0.9,
            slow_rate: 0.5,
            circuit_open: Duration::from_secs(60),
            quota_left: 0.1,
            all_targets: true,
            raise_after: Duration::from_secs(30),
            clear_after: Duration::from_secs(60),
            interval: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// A share is not from 0 to 1, or the interval is zero or longer than a day. The message names the setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        // A clock cannot be as far ahead as the longest duration.
        let interval = if self.interval > LONGEST_INTERVAL {
            let found = humantime::format_duration(self.interval);
            Err(ConfigError::expected("interval", "at most 1day", found))
        } else {
            more_than_no_time("interval", self.interval)
        };
        ConfigError::all([
            from_zero_to_one("success_rate", self.success_rate),
            from_zero_to_one("slow_rate", self.slow_rate),
            from_zero_to_one("quota_left", self.quota_left),
            interval,
        ])
    }

    /// How long the condition of this alert holds before it is raised.
    pub(super) fn raise_after(&self, kind: AlertKind) -> Duration {
        match kind {
            AlertKind::CircuitOpen => self.circuit_open,
            _ => self.raise_after,
        }
    }
}
