use std::time::{Duration, Instant, SystemTime};

use serde::{Serialize, Serializer};

use super::call_totals::Totals;
use super::settings::Settings;
use super::{Snapshot, State};
use crate::events;

/// The metrics of a circuit since the start, ready to be serialised. A [reset](super::Handle::reset) leaves
/// the totals, and clears the streaks and what is known of the latest calls.
///
/// Attempts are counted, since the circuit decides on each of them. Times are those of the system clock, in
/// RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[doc(alias = "get_metrics")]
#[non_exhaustive]
pub struct Metrics {
    /// The name of the layer, usually `provider/model`.
    pub name: String,
    /// `closed`, `open` or `half_open`.
    pub state: State,
    /// All calls that have ended, with those that were rejected.
    pub total_calls: u64,
    /// Calls that the circuit rejected.
    pub total_rejected: u64,
    /// Calls that succeeded.
    pub total_successes: u64,
    /// Failures that count against the provider.
    pub total_failures: u64,
    /// Calls that took the `slow_call_threshold` or longer to their first token.
    pub total_slow_calls: u64,
    /// The share of failed calls in the window, from 0 to 1; `None` without calls.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in their window, from 0 to 1; `None` without a `slow_call_threshold`.
    pub slow_call_rate: Option<f64>,
    /// The mean time to the first token or to a failure of the latest 50 calls with either, in seconds; `None`
    /// without calls. All times have three decimals.
    pub avg_response_time: Option<f64>,
    /// Failures since the latest success.
    pub consecutive_failures: u32,
    /// Successes since the latest failure.
    pub consecutive_successes: u64,
    /// When the latest failure ended.
    #[serde(serialize_with = "rfc3339")]
    pub last_failure_time: Option<SystemTime>,
    /// When the head of the latest response that succeeded has arrived.
    #[serde(serialize_with = "rfc3339")]
    pub last_success_time: Option<SystemTime>,
    /// The time from the latest opening of a closed circuit until it closed again, in seconds.
    pub last_recovery_time: Option<f64>,
    /// The calls in the window of results.
    pub window_size: u64,
    /// The settings that decide.
    pub config: MetricsConfig,
}

/// The settings in [`Metrics`], by the names of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Consecutive failures that open the circuit.
    pub failure_threshold: u32,
    /// Successful probes that close it.
    pub success_threshold: u32,
    /// How long it stays open, in seconds.
    pub timeout_seconds: f64,
    /// The time to the first token from which a call is slow, in seconds.
    pub slow_call_threshold: Option<f64>,
}

impl Metrics {
    pub(super) fn new(
        name: &str,
        snapshot: &Snapshot,
        totals: &Totals,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        let time = |at: Instant| SystemTime::now().checked_sub(now.saturating_duration_since(at));
        Self {
            name: name.to_owned(),
            state: snapshot.state,
            total_calls: totals.successes + totals.failures + totals.neutral + totals.rejected,
            total_rejected: totals.rejected,
            total_successes: totals.successes,
            total_failures: totals.failures,
            total_slow_calls: totals.slow,
            failure_rate: snapshot.failure_rate,
            slow_call_rate: snapshot.slow_call_rate,
            avg_response_time: totals.average_latency.map(seconds),
            consecutive_failures: totals.consecutive_failures,
            consecutive_successes: totals.consecutive_successes,
            last_failure_time: totals.last_failure.and_then(time),
            last_success_time: totals.last_success.and_then(time),
            last_recovery_time: snapshot.last_recovery_ms.map(|ms| ms as f64 / 1000.0),
            window_size: snapshot.calls_in_window,
            config: MetricsConfig {
                failure_threshold: settings.failure_threshold,
                success_threshold: settings.success_threshold,
                timeout_seconds: seconds(settings.cooldown),
                slow_call_threshold: settings.slow_call_threshold.map(seconds),
            },
        }
    }
}

/// Seconds to three decimals.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

fn rfc3339<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => events::rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}
