use std::time::Duration;

use super::listeners::Listeners;
use super::window::Span;
use crate::key::KeyBy;
use crate::keyed::DEFAULT_MAX_KEYS;

/// What the user sets.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) enabled: bool,
    pub(super) failure_threshold: u32,
    pub(super) failure_rate_threshold: Option<f64>,
    pub(super) slow_call_threshold: Option<Duration>,
    pub(super) slow_call_rate_threshold: f64,
    pub(super) minimum_throughput: u32,
    pub(super) window: Span,
    pub(super) success_threshold: u32,
    pub(super) cooldown: Duration,
    pub(super) cooldown_growth: f64,
    pub(super) max_cooldown: Duration,
    pub(super) cooldown_jitter: f64,
    pub(super) quota_cooldown: Duration,
    pub(super) ramp_up: Option<Duration>,
    pub(super) half_open_max: u32,
    pub(super) probe_lease: Duration,
    pub(super) count_rate_limited: bool,
    pub(super) shadow: bool,
    pub(super) seed: Option<u64>,
    pub(super) key_by: Option<KeyBy>,
    pub(super) max_keys: usize,
    pub(super) listeners: Listeners,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 5,
            failure_rate_threshold: None,
            slow_call_threshold: None,
            slow_call_rate_threshold: 0.5,
            // Hystrix's `requestVolumeThreshold`; the window is that of Resilience4j.
            minimum_throughput: 20,
            window: Span::Calls(100),
            success_threshold: 1,
            cooldown: Duration::from_secs(30),
            cooldown_growth: 1.0,
            max_cooldown: Duration::from_secs(300),
            cooldown_jitter: 0.0,
            quota_cooldown: Duration::from_secs(60),
            ramp_up: None,
            half_open_max: 1,
            probe_lease: Duration::from_secs(60),
            count_rate_limited: false,
            shadow: false,
            seed: None,
            key_by: None,
            max_keys: DEFAULT_MAX_KEYS,
            listeners: Listeners::default(),
        }
    }
}

impl Settings {
    /// Returns the number of calls from which a rate is evaluated: at most as many as a window by count can
    /// hold.
    pub(super) fn enough_calls(&self) -> u64 {
        match self.window {
            Span::Calls(size) => self.minimum_throughput.min(size).into(),
            Span::Time(_) => self.minimum_throughput.into(),
        }
    }
}

/// Limits a share to the range from 0 to 1. NaN becomes 1.
pub(super) fn share(rate: f64) -> f64 {
    if rate.is_nan() { 1.0 } else { rate.clamp(0.0, 1.0) }
}
