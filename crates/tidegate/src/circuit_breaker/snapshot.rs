use std::time::Instant;

use serde::Serialize;

use super::state::Circuit;
use super::{Reason, State};
use crate::ErrorCode;

/// What a circuit knows at one moment, ready to be serialised. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// `closed`, `open` or `half_open`.
    pub state: State,
    /// Why it came to be so; none as long as it never changed.
    pub reason: Option<Reason>,
    /// How long until it lets a probe through, if it is open and not held so.
    pub cooldown_remaining_ms: Option<u64>,
    /// How many probes are under way, those included that hang and have not been replaced.
    pub probes: usize,
    /// The share of the calls in the window that failed, from 0 to 1. None without calls, or where no
    /// `failure_rate_threshold` asks for it. While the circuit is open, that which opened it.
    pub failure_rate: Option<f64>,
    /// The share of the calls in the window that were slow, from 0 to 1; none without a `slow_call_threshold`.
    pub slow_call_rate: Option<f64>,
    /// How many calls the window of results holds, or that of slow calls if it is more.
    pub calls_in_window: u64,
    /// The latest failure that counted.
    pub last_failure: Option<LastFailure>,
    /// How many calls passed that would have been refused, since the start: in shadow only.
    pub would_have_refused: u64,
}

/// A failure that counted against a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// What it was.
    pub code: ErrorCode,
    /// How long ago.
    pub ago_ms: u64,
}

impl Snapshot {
    pub(super) fn of(circuit: &mut Circuit, would_have_refused: u64, now: Instant) -> Self {
        let [failures, slow_calls] = circuit.window_totals(now);
        let ago = |at| now.saturating_duration_since(at).as_millis() as u64;
        Self {
            state: circuit.state(now),
            reason: circuit.last_transition().map(|last_transition| last_transition.reason),
            cooldown_remaining_ms: circuit.cooldown_remaining(now).map(|wait| wait.as_millis() as u64),
            probes: circuit.probes(),
            failure_rate: failures.rate(),
            slow_call_rate: slow_calls.rate(),
            calls_in_window: failures.calls.max(slow_calls.calls),
            last_failure: circuit.last_failure().map(|(code, at)| LastFailure { code, ago_ms: ago(at) }),
            would_have_refused,
        }
    }
}
