use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::{ConfigError, DurationText, more_than_no_time};

/// How limits are shared, and their defaults; the part `store` of a configuration, without the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The longest time of an operation of the store, after which the decision is local; 50 ms by default. If
    /// it is longer than a lease, what refills within it lowers the burst of shared quotas.
    #[serde(with = "DurationText")]
    pub timeout: Duration,
    /// What happens to calls while the store is unavailable: `"fail_open"` or `"fail_closed"`; `"fail_open"`
    /// by default.
    pub mode: OnUnavailable,
    /// Whether quotas are taken in slices ahead of need; `true` by default. Without, each call that finds no
    /// other waiting makes a round trip.
    pub leases: bool,
    /// How long a slice of a quota may be used; 100 ms by default. At most as long as half of the burst takes
    /// to refill, and at least 20 ms.
    #[serde(with = "DurationText")]
    pub lease: Duration,
    /// The number of processes, by which quotas are divided while the store is unavailable. By default the
    /// number that took a lease of the same limit within the last minute, or else the largest such number of
    /// another limit that this process has seen lately; 1 in a process that has not reached the store since
    /// it started, which then takes whole quotas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

/// What happens to calls while the store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnUnavailable {
    /// Each process admits its share of the quotas.
    #[default]
    #[serde(rename = "fail_open")]
    Open,
    /// Calls wait for the store, and are rejected when their time is up.
    #[serde(rename = "fail_closed")]
    Closed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(50),
            mode: OnUnavailable::Open,
            leases: true,
            lease: Duration::from_millis(100),
            processes: None,
        }
    }
}

impl Settings {
    /// Checks every number.
    ///
    /// # Errors
    ///
    /// The settings that are out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let processes = match self.processes {
            Some(0) => Err(ConfigError::expected("processes", "at least 1", 0)),
            _ => Ok(()),
        };
        ConfigError::all([
            more_than_no_time("timeout", self.timeout),
            more_than_no_time("lease", self.lease),
            processes,
        ])
    }
}
