use std::time::{Duration, Instant};

use serde::Serialize;

use super::circuit::Circuit;
use super::{Reason, State};
use crate::ErrorCode;
use crate::durations::millis;

/// The state and the statistics of a circuit at one moment, ready to be serialised. Times are in
/// milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// `closed`, `open` or `half_open`.
    pub state: State,
    /// The reason for the state; `None` if it has never changed.
    pub reason: Option<Reason>,
    /// The time until a probe is admitted, if the circuit is open and not forced open.
    pub cooldown_remaining_ms: Option<u64>,
    /// The number of probes in flight, including those with an expired lease that have not been replaced.
    pub probes: usize,
    /// The share of failed calls in the window, from 0 to 1. `None` without calls, or if the window is a time
    /// and there is no `failure_rate_threshold`. While the circuit is open, the share when it opened.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in the window, from 0 to 1; `None` without a `slow_call_threshold`.
    pub slow_call_rate: Option<f64>,
    /// The number of calls in the window of results, or in that of latencies if it is more.
    pub calls_in_window: u64,
    /// Whether these shares and this number are those of all processes, as of the latest report of this one;
    /// `None` if the window is not shared. `false`: the store has not replied, and they are those of this
    /// process.
    pub window_shared: Option<bool>,
    /// The time from the latest opening of a closed circuit until it closed again.
    pub last_recovery_ms: Option<u64>,
    /// The latest failure that counted.
    pub last_failure: Option<LastFailure>,
    /// The number of calls that were admitted but would have been rejected, since the start; in shadow mode
    /// only.
    pub would_have_rejected: u64,
    /// The number of attempts that were admitted from the `open_budget`, since the start.
    pub admitted_while_open: u64,
    /// The shares by which alerts are raised.
    #[serde(skip)]
    pub(crate) evaluated: EvaluatedRates,
}

/// The time without any call after which nothing is known of a target: calls that come more often show
/// whether it has recovered.
pub(crate) const RATES_LIFETIME: Duration = Duration::from_secs(3_600);

/// The shares of windows with enough calls for a decision, which is at least `minimum_throughput`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct EvaluatedRates {
    pub(crate) failures: Option<f64>,
    pub(crate) slow_calls: Option<f64>,
    /// The time since the latest call, if it was so long ago that the shares are no longer evaluated.
    pub(crate) lapsed: Option<Duration>,
}

/// A failure that counted against a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// Its error code.
    pub code: ErrorCode,
    /// The time since the failure.
    pub ago_ms: u64,
}

/// The higher of two rates.
pub(crate) fn highest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().max_by(f64::total_cmp)
}

impl Snapshot {
    /// The state of the circuit, without the counts of its handle.
    pub(super) fn of(circuit: &mut Circuit, now: Instant) -> Self {
        let [failures, slow_calls] = circuit.window_totals(now);
        let ago = |at| millis(now.saturating_duration_since(at));
        Self {
            state: circuit.state(now),
            reason: circuit.last_transition().map(|last_transition| last_transition.reason),
            cooldown_remaining_ms: circuit.cooldown_remaining(now).map(millis),
            probes: circuit.probes(),
            failure_rate: failures.rate(),
            slow_call_rate: slow_calls.rate(),
            calls_in_window: failures.calls.max(slow_calls.calls),
            window_shared: circuit.is_window_of_all(),
            last_recovery_ms: circuit.last_recovery().map(millis),
            last_failure: circuit.last_failure().map(|(code, at)| LastFailure { code, ago_ms: ago(at) }),
            would_have_rejected: 0,
            admitted_while_open: 0,
            evaluated: circuit.evaluated_rates([failures, slow_calls], now),
        }
    }

    /// The same circuit with the worse state, rates, size of the window and recovery of the two.
    pub(super) fn worst_of(self, other: Self) -> Self {
        Self {
            state: self.state.worst_of(other.state),
            failure_rate: highest(self.failure_rate, other.failure_rate),
            slow_call_rate: highest(self.slow_call_rate, other.slow_call_rate),
            calls_in_window: self.calls_in_window.max(other.calls_in_window),
            last_recovery_ms: self.last_recovery_ms.max(other.last_recovery_ms),
            ..self
        }
    }
}
