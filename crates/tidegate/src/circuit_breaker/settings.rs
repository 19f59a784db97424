use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call_totals::CallTotals;
use super::circuit::window::{MAX_CALLS, MIN_SPAN};
use super::{CallResult, OpenBudget, Transition};
use crate::events::Listeners;
use crate::key::KeyBy;
use crate::keyed::DEFAULT_MAX_KEYS;
use crate::settings::{
    ConfigError, DurationText, LayerSettings, OptionalDurationText, at_least, at_least_one, factor,
    from_zero_to_one, more_than_no_time,
};
use crate::store::{Store, WindowSpan};

/// The shortest time that a probe may take.
pub(super) const MIN_LEASE: Duration = Duration::from_millis(1);

/// The settings of a [`CircuitBreakerLayer`](super::CircuitBreakerLayer), and their defaults; the part
/// `circuit_breaker` of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
#[doc(alias = "CircuitBreakerConfig")]
pub struct Settings {
    /// Whether the circuit may open; `true` by default.
    #[doc(alias = "enable_circuit_breaker")]
    pub enabled: bool,
    /// Opens after this many consecutive failures; 5 by default.
    pub failure_threshold: u32,
    /// Failures of a call are counted up to its attempt of this number, at least 1. By default one fewer than
    /// the `failure_threshold`, so that the retries of one call do not reach it; all attempts if it is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts_counted_per_call: Option<u32>,
    /// Closes after this many consecutive successful probes; 1 by default.
    pub success_threshold: u32,
    /// The time that the circuit stays open; 30 s by default. `cooldown_seconds` in a file.
    #[serde(rename = "cooldown_seconds", with = "DurationText")]
    pub cooldown: Duration,
    /// The number of concurrent probes while half-open; 1 by default.
    pub half_open_max: u32,
    /// Opens when this share of the calls in the window has failed, above 0 and at most 1. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate_threshold: Option<f64>,
    /// A call that takes this long to its first token is slow. Off by default.
    #[serde(with = "OptionalDurationText", skip_serializing_if = "Option::is_none")]
    pub slow_call_threshold: Option<Duration>,
    /// Opens when this share of the calls in the window is slow, above 0 and at most 1; 0.5 if there is a
    /// `slow_call_threshold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_call_rate_threshold: Option<f64>,
    /// The slow-call rate is that of this many latest calls, instead of the window. With as many as
    /// `minimum_throughput`, slowness opens the circuit sooner; the whole window is steadier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_call_window_size: Option<u32>,
    /// The fewest calls in the window for which a rate is evaluated; 20 by default.
    pub minimum_throughput: u32,
    /// The window is this many of the latest calls; 100 if there is no `sliding_window`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window_size: Option<u32>,
    /// The window is the calls of this latest period, instead of a number of calls.
    #[serde(with = "OptionalDurationText", skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<Duration>,
    /// Whether the rates are those of all processes that share the circuit through a [store](crate::store);
    /// `false` by default: each process has a window of its own. It needs a `failure_rate_threshold` or a
    /// `slow_call_threshold`: consecutive failures are those of one process.
    pub shared_window: bool,
    /// The factor by which the cooldown grows each time the circuit opens again; at least 1; 1 by default.
    pub cooldown_growth: f64,
    /// The longest cooldown; by default 5 m, or `cooldown_seconds` if that is more.
    #[serde(with = "OptionalDurationText", skip_serializing_if = "Option::is_none")]
    pub max_cooldown: Option<Duration>,
    /// Up to this share of the cooldown is added at random, from 0 to 1; 0 by default.
    pub cooldown_jitter: f64,
    /// The time that the circuit stays open when the account's quota is exhausted and the provider sent no
    /// time; 60 s by default.
    #[serde(with = "DurationText")]
    pub quota_cooldown: Duration,
    /// The time after which a probe without a response is given up, so that another may take its slot; at
    /// least 1 ms; 60 s by default.
    #[serde(with = "DurationText")]
    pub probe_lease: Duration,
    /// After closing, the traffic is restored gradually over this time; at once by default.
    #[serde(with = "OptionalDurationText", skip_serializing_if = "Option::is_none")]
    pub ramp_up: Option<Duration>,
    /// Attempts that an open circuit admits of calls that no other target can take; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_budget: Option<OpenBudget>,
    /// Whether a 429 counts as a failure; `false` by default.
    pub count_rate_limited: bool,
    /// Admits every call, and only reports which calls it would have rejected; `false` by default.
    pub shadow: bool,
    /// Keeps a circuit for each key: `"tenant"`, `"credential"`, `"model"`, `"header:<name>"`, `"path"` or
    /// `"host"`. By default all calls share one circuit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_by: Option<KeyBy>,
    /// The most keys that are kept; 10 000 by default.
    pub max_keys: usize,
}

/// What only a program can set.
#[derive(Clone, Debug, Default)]
pub(super) struct CircuitBreakerHooks {
    pub(super) seed: Option<u64>,
    pub(super) listeners: Listeners<Transition>,
    pub(super) call_listeners: Listeners<CallResult>,
    /// The totals of its layer, if this is the circuit of a key. There may be many of them, each with few
    /// calls at once.
    pub(super) totals_of_layer: Option<CallTotals>,
    /// The store through which the circuit is shared.
    pub(super) store: Option<Store>,
}

pub(super) type CircuitBreakerSettings = LayerSettings<Settings, CircuitBreakerHooks>;

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 5,
            max_attempts_counted_per_call: None,
            success_threshold: 1,
            cooldown: Duration::from_secs(30),
            half_open_max: 1,
            failure_rate_threshold: None,
            slow_call_threshold: None,
            slow_call_rate_threshold: None,
            slow_call_window_size: None,
            // Hystrix's `requestVolumeThreshold`; the window is that of Resilience4j.
            minimum_throughput: 20,
            sliding_window_size: None,
            sliding_window: None,
            shared_window: false,
            cooldown_growth: 1.0,
            max_cooldown: None,
            cooldown_jitter: 0.0,
            quota_cooldown: Duration::from_secs(60),
            probe_lease: Duration::from_secs(60),
            ramp_up: None,
            open_budget: None,
            count_rate_limited: false,
            shadow: false,
            key_by: None,
            max_keys: DEFAULT_MAX_KEYS,
        }
    }
}

impl Settings {
    /// The window over which rates are computed.
    pub(super) fn window(&self) -> WindowSpan {
        match (self.sliding_window, self.sliding_window_size) {
            (Some(time), _) => WindowSpan::Time(time),
            (None, calls) => WindowSpan::Calls(calls.unwrap_or(100)),
        }
    }

    /// The window over which the slow-call rate is computed.
    pub(super) fn slow_call_window(&self) -> WindowSpan {
        self.slow_call_window_size.map_or_else(|| self.window(), WindowSpan::Calls)
    }

    pub(super) fn set_window(&mut self, window: WindowSpan) {
        (self.sliding_window_size, self.sliding_window) = match window {
            WindowSpan::Calls(calls) => (Some(calls), None),
            WindowSpan::Time(time) => (None, Some(time)),
        };
    }

    /// The number of the last attempt of a call whose failure counts.
    pub(super) fn counted_attempts(&self) -> u32 {
        self.max_attempts_counted_per_call.unwrap_or(match self.failure_threshold {
            // Any failure opens the circuit, whichever attempt it is.
            0 | 1 => u32::MAX,
            threshold => threshold - 1,
        })
    }

    /// The share of slow calls that opens the circuit.
    pub(super) fn slow_call_rate(&self) -> f64 {
        self.slow_call_rate_threshold.unwrap_or(0.5)
    }

    /// The upper limit of the growth of the cooldown.
    pub(super) fn longest_cooldown(&self) -> Duration {
        self.max_cooldown.unwrap_or(Duration::from_secs(300)).max(self.cooldown)
    }

    /// The number of calls from which a rate over `window` is evaluated: at most as many as a window by count
    /// can hold.
    pub(super) fn enough_calls(&self, window: WindowSpan) -> u64 {
        match window {
            WindowSpan::Calls(size) => self.minimum_throughput.min(size).into(),
            WindowSpan::Time(_) => self.minimum_throughput.into(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let attempts = self.max_attempts_counted_per_call.unwrap_or(1);
        ConfigError::all([
            at_least_one("failure_threshold", self.failure_threshold),
            at_least_one("max_attempts_counted_per_call", attempts),
            at_least_one("success_threshold", self.success_threshold),
            at_least_one("half_open_max", self.half_open_max),
            at_least_one("minimum_throughput", self.minimum_throughput),
            at_least_one("max_keys", self.max_keys),
            check_rate("failure_rate_threshold", self.failure_rate_threshold),
            check_rate("slow_call_rate_threshold", self.slow_call_rate_threshold),
            self.check_slow_calls(),
            self.check_window_size(),
            self.check_window(),
            self.check_shared_window(),
            factor("cooldown_growth", self.cooldown_growth),
            self.check_max_cooldown(),
            from_zero_to_one("cooldown_jitter", self.cooldown_jitter),
            at_least("probe_lease", self.probe_lease, MIN_LEASE),
            self.open_budget.map_or(Ok(()), OpenBudget::check),
        ])
    }

    fn check_slow_calls(&self) -> Result<(), ConfigError> {
        match (self.slow_call_rate_threshold, self.slow_call_threshold) {
            (Some(rate), None) => {
                Err(ConfigError::expected("slow_call_rate_threshold", "slow_call_threshold beside it", rate))
            }
            (_, Some(slow)) => more_than_no_time("slow_call_threshold", slow),
            (None, None) => Ok(()),
        }
    }

    fn check_window_size(&self) -> Result<(), ConfigError> {
        let most = MAX_CALLS;
        let sizes = [
            ("sliding_window_size", self.sliding_window_size),
            ("slow_call_window_size", self.slow_call_window_size),
        ];
        ConfigError::all(sizes.into_iter().map(|(key, calls)| {
            let Some(calls) = calls.filter(|calls| !(1..=most).contains(calls)) else { return Ok(()) };
            let expected = format!("a whole number from 1 to {most}");
            Err(ConfigError::expected(key, &expected, calls))
        }))
    }

    fn check_window(&self) -> Result<(), ConfigError> {
        let Some(time) = self.sliding_window else { return Ok(()) };
        if self.sliding_window_size.is_some() {
            let found = humantime::format_duration(time);
            return Err(ConfigError::expected("sliding_window", "no sliding_window_size beside it", found));
        }
        at_least("sliding_window", time, MIN_SPAN)
    }

    fn check_shared_window(&self) -> Result<(), ConfigError> {
        if !self.shared_window || self.failure_rate_threshold.is_some() || self.slow_call_threshold.is_some()
        {
            return Ok(());
        }
        let expected = "failure_rate_threshold or slow_call_threshold beside it";
        Err(ConfigError::expected("shared_window", expected, true))
    }

    fn check_max_cooldown(&self) -> Result<(), ConfigError> {
        let Some(most) = self.max_cooldown.filter(|most| *most < self.cooldown) else { return Ok(()) };
        let expected = format!("at least cooldown_seconds, {}", humantime::format_duration(self.cooldown));
        Err(ConfigError::expected("max_cooldown", &expected, humantime::format_duration(most)))
    }
}

fn check_rate(key: &str, rate: Option<f64>) -> Result<(), ConfigError> {
    match rate.filter(|rate| !(*rate > 0.0 && *rate <= 1.0)) {
        Some(rate) => Err(ConfigError::expected(key, "a number above 0 and at most 1", rate)),
        None => Ok(()),
    }
}

/// Limits a share to the range from 0 to 1. NaN becomes 1.
pub(super) fn share(rate: f64) -> f64 {
    if rate.is_nan() { 1.0 } else { rate.clamp(0.0, 1.0) }
}
