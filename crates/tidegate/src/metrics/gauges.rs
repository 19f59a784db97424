//! The gauges, which are set from the signals of a stack.

use std::time::Duration;

use metrics::{Label, gauge};

use super::names::{self, Metric};
use crate::Signals;
use crate::circuit_breaker::State;
use crate::stack::SignalsSnapshot;

impl Signals {
    /// Sets the gauges of this stack: calls in flight, queues, quotas, cooldowns, and the state of the
    /// circuit. Call it before the metrics are read, or periodically. Its cost grows with the number of keys.
    ///
    /// The gauge of a part that the stack does not have is not set. If another stack of the same name and
    /// labels had that part, its last value stays, unless the recorder removes it.
    ///
    /// `labels` are added to the label `target`. They distinguish stacks that have one name; their values
    /// have to be few.
    pub fn record_metrics(&self, labels: &[(&'static str, &str)]) {
        let SignalsSnapshot {
            target,
            circuit_state,
            circuit_window_shared,
            cooldown_remaining_ms,
            current_inflight,
            max_inflight,
            queued,
            rate_remaining,
            tokens_remaining,
            rate_closed_ms,
            rate_waiting,
            rate_shared,
            admits_calls,
            ..
        } = self.snapshot();
        let own = [Label::new("target", target)].into_iter();
        let labels: Vec<Label> =
            own.chain(labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()))).collect();
        let set = |metric: Metric, value: f64| gauge!(metric.name, labels.clone()).set(value);
        set(names::ADMITS_CALLS, flag(admits_calls));
        let gates = self.gates();
        let has_limit = gates.backpressure().is_enabled();
        let has_rate = gates.rate_limit().is_enabled();
        // A disabled circuit can be forced open, and is closed again later.
        let circuit = gates.circuit_breaker();
        let was_forced = || circuit_state != State::Closed || circuit.snapshot().last_recovery_ms.is_some();
        let has_circuit = circuit.is_enabled() || was_forced();
        for (metric, value) in [
            (names::INFLIGHT, has_limit.then_some(current_inflight as f64)),
            (names::QUEUED, has_limit.then_some(queued as f64)),
            (names::RATE_QUEUED, has_rate.then_some(rate_waiting as f64)),
            (names::RATE_COOLDOWN, has_rate.then(|| seconds(rate_closed_ms))),
            (names::CIRCUIT_COOLDOWN, has_circuit.then(|| seconds(cooldown_remaining_ms))),
            (names::CIRCUIT_STATE, has_circuit.then(|| severity(circuit_state))),
            (names::INFLIGHT_LIMIT, max_inflight.map(|limit| limit as f64)),
            (names::REQUESTS_REMAINING, rate_remaining.map(f64::from)),
            (names::TOKENS_REMAINING, tokens_remaining.map(|tokens| tokens as f64)),
            (names::RATE_SHARED, rate_shared.map(|shared| flag(shared.available))),
            (names::CIRCUIT_WINDOW_SHARED, circuit_window_shared.map(flag)),
            (names::RATE_PROCESSES, rate_shared.map(|shared| f64::from(shared.processes))),
        ] {
            if let Some(value) = value {
                set(metric, value);
            }
        }
    }
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn seconds(millis: Option<u64>) -> f64 {
    Duration::from_millis(millis.unwrap_or_default()).as_secs_f64()
}

const fn severity(state: State) -> f64 {
    match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    }
}
