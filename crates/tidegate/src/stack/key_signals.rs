use std::cmp::Reverse;

use http::Request;
use serde::Serialize;

use crate::attempt::AttemptGates;
use crate::circuit_breaker::{EvaluatedRates, LastFailure, State, highest};
use crate::durations::millis;
use crate::key::KeyId;
use crate::keyed::{Keyed, KeyedHandle};
use crate::{backpressure, circuit_breaker, rate_limit};

/// The state that the gates have for one key at one moment, ready to be serialised. Times are in
/// milliseconds.
///
/// A gate without keys shows the state that all keys share. A gate that has no state of the key, because
/// there was no request yet or because the state was like new and was dropped, shows that of a new key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeySignals {
    /// The id of the key; `None` if no gate has keys. If the gates have different keys, that of the outermost
    /// gate that has one.
    pub key: Option<KeyId>,
    /// `closed`, `open` or `half_open`.
    pub circuit_state: State,
    /// The time until an open circuit admits a probe.
    pub cooldown_remaining_ms: Option<u64>,
    /// The share of failed calls in the window, from 0 to 1. `None` without calls, or if the window is a time
    /// and there is no `failure_rate_threshold`. While the circuit is open, the share when it opened.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in the window, from 0 to 1; `None` without a `slow_call_threshold`.
    pub slow_call_rate: Option<f64>,
    /// Whether the two shares are those of all processes, through a store; `false` while the store does not
    /// reply, and `None` if each process has a window of its own.
    pub circuit_window_shared: Option<bool>,
    /// The latest failure that counted against the provider.
    pub last_failure: Option<LastFailure>,
    /// Calls in flight, bodies included; zero if there is no limit.
    pub current_inflight: usize,
    /// The limit of calls in flight.
    pub max_inflight: Option<usize>,
    /// Calls that wait for a permit.
    pub queued: usize,
    /// Requests that could be sent now; `None` without a quota.
    pub rate_remaining: Option<u32>,
    /// Requests that could be sent with a full quota.
    pub rate_capacity: Option<u32>,
    /// Tokens that could be used now; `None` without a token quota.
    pub tokens_remaining: Option<u64>,
    /// Tokens that could be used with a full quota.
    pub tokens_capacity: Option<u64>,
    /// The rest of the time for which the provider closed the rate limit.
    pub rate_closed_ms: Option<u64>,
    /// Calls that wait in the queue of the rate limit.
    pub rate_waiting: usize,
    #[serde(skip)]
    pub(super) for_alerts: CircuitForAlerts,
}

/// What alerts evaluate of a circuit, or of the worst one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CircuitForAlerts {
    pub(crate) rates: EvaluatedRates,
    /// The rates from before the cooldown of a circuit that is half-open without a probe: nothing shows
    /// whether its target has recovered.
    pub(crate) idle_rates: EvaluatedRates,
    /// Whether it is open, or half-open with a probe.
    pub(crate) is_open: bool,
    /// Whether it is half-open without a probe.
    pub(crate) is_idle: bool,
}

impl KeySignals {
    pub(super) fn read(
        key: Option<KeyId>,
        backpressure: &backpressure::Handle,
        rate_limit: &rate_limit::Handle,
        circuit_breaker: &circuit_breaker::Handle,
    ) -> Self {
        let circuit_breaker::Snapshot {
            state,
            cooldown_remaining_ms,
            failure_rate,
            slow_call_rate,
            window_shared,
            last_failure,
            probes,
            evaluated: rates,
            ..
        } = circuit_breaker.snapshot();
        let (current_inflight, queued) = backpressure.own_calls();
        Self {
            key,
            circuit_state: state,
            cooldown_remaining_ms,
            failure_rate,
            slow_call_rate,
            circuit_window_shared: window_shared,
            last_failure,
            current_inflight,
            max_inflight: backpressure.limit(),
            queued,
            rate_remaining: rate_limit.remaining(),
            rate_capacity: rate_limit.capacity(),
            tokens_remaining: rate_limit.tokens_remaining(),
            tokens_capacity: rate_limit.tokens_capacity(),
            rate_closed_ms: rate_limit.closed_for().map(millis),
            rate_waiting: rate_limit.own_waiting(),
            for_alerts: CircuitForAlerts::of(state, probes > 0, rates),
        }
    }

    /// The signals that this request would meet.
    pub(super) fn of<B: 'static>(gates: &AttemptGates, request: &Request<B>) -> Self {
        let (backpressure, rate_limit) = (gates.backpressure(), gates.rate_limit());
        let circuit_breaker = gates.circuit_breaker();
        let key = backpressure.key_of(request).or_else(|| rate_limit.key_of(request));
        Self::read(
            key.or_else(|| circuit_breaker.key_of(request)),
            &backpressure.get_or_new(request),
            &rate_limit.get_or_new(request),
            &circuit_breaker.get_or_new(request),
        )
    }

    /// The signals without a key: of the states that all requests share, or of a new key.
    pub(super) fn without_key(gates: &AttemptGates) -> Self {
        Self::read(None, gates.backpressure(), gates.rate_limit(), gates.circuit_breaker())
    }

    /// The signals of every key that some gate has a state of; none without keys.
    pub(super) fn of_all_keys(gates: &AttemptGates) -> Vec<Self> {
        let of = |key| {
            let (backpressure, rate_limit) = (gates.backpressure().at(key), gates.rate_limit().at(key));
            Self::read(Some(key), &backpressure, &rate_limit, &gates.circuit_breaker().at(key))
        };
        let mut keys: Vec<_> = keys(gates.backpressure().by_key())
            .chain(keys(gates.rate_limit().by_key()))
            .chain(keys(gates.circuit_breaker().by_key()))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(of).collect()
    }

    /// Sorts by the number of calls in flight and waiting, most first; among equals those that are not
    /// healthy come first.
    pub(super) fn sort_by_calls(signals: &mut [Self]) {
        signals.sort_by_cached_key(|it| {
            let calls = it.current_inflight + it.queued + it.rate_waiting;
            (Reverse(calls), it.is_healthy(), it.key)
        });
    }

    /// Whether the circuit is closed and the provider has not closed the rate limit.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.circuit_state == State::Closed && self.rate_closed_ms.is_none()
    }

    /// The health, from 0 to 1. It is 0 while the circuit is open. Otherwise it is the share of calls that
    /// did not fail, as far as that is measured; half of that while the circuit is half-open or the provider
    /// has closed the rate limit.
    #[must_use]
    pub fn health_score(&self) -> f64 {
        let success_rate = 1.0 - self.failure_rate.unwrap_or(0.0);
        match self.circuit_state {
            State::Open => 0.0,
            State::HalfOpen => success_rate / 2.0,
            State::Closed if self.rate_closed_ms.is_some() => success_rate / 2.0,
            State::Closed => success_rate,
        }
    }

    /// Replaces every value that is better than that of `other` by it. The counts of calls stay.
    pub(super) fn worst_of(self, other: &Self) -> Self {
        let requests =
            scarcest((self.rate_remaining, self.rate_capacity), (other.rate_remaining, other.rate_capacity));
        let tokens = scarcest(
            (self.tokens_remaining, self.tokens_capacity),
            (other.tokens_remaining, other.tokens_capacity),
        );
        Self {
            circuit_state: self.circuit_state.worst_of(other.circuit_state),
            cooldown_remaining_ms: self.cooldown_remaining_ms.max(other.cooldown_remaining_ms),
            failure_rate: highest(self.failure_rate, other.failure_rate),
            slow_call_rate: highest(self.slow_call_rate, other.slow_call_rate),
            circuit_window_shared: [self.circuit_window_shared, other.circuit_window_shared]
                .into_iter()
                .flatten()
                .min(),
            last_failure: [self.last_failure, other.last_failure]
                .into_iter()
                .flatten()
                .min_by_key(|failure| failure.ago_ms),
            rate_remaining: requests.0,
            rate_capacity: requests.1,
            tokens_remaining: tokens.0,
            tokens_capacity: tokens.1,
            rate_closed_ms: self.rate_closed_ms.max(other.rate_closed_ms),
            for_alerts: self.for_alerts.worst_of(other.for_alerts),
            ..self
        }
    }
}

impl CircuitForAlerts {
    pub(crate) fn of(state: State, is_probing: bool, rates: EvaluatedRates) -> Self {
        let is_idle = state == State::HalfOpen && !is_probing;
        let none = EvaluatedRates::default();
        let (rates, idle_rates) = if is_idle { (none, rates) } else { (rates, none) };
        Self { rates, idle_rates, is_open: state != State::Closed && !is_idle, is_idle }
    }

    pub(crate) fn worst_of(self, other: Self) -> Self {
        let worst = |own: EvaluatedRates, other: EvaluatedRates| EvaluatedRates {
            failures: highest(own.failures, other.failures),
            slow_calls: highest(own.slow_calls, other.slow_calls),
            lapsed: own.lapsed.zip(other.lapsed).map(|(own, other)| own.min(other)),
        };
        Self {
            rates: worst(self.rates, other.rates),
            idle_rates: worst(self.idle_rates, other.idle_rates),
            is_open: self.is_open || other.is_open,
            is_idle: self.is_idle || other.is_idle,
        }
    }
}

/// Whether some key would be admitted by the gates that a provider closes: half-open circuits and those in
/// shadow mode admit calls. The gates may have the same keys or others.
pub(super) fn admit_calls(gates: &AttemptGates) -> bool {
    let (circuits, rates) = (gates.circuit_breaker(), gates.rate_limit());
    let circuit = |it: &circuit_breaker::Handle| it.state() != State::Open || it.peek().is_none();
    let rate = |it: &rate_limit::Handle| it.closed_for().is_none();
    let is_of_both = |key| circuit(&circuits.at(key)) && rate(&rates.at(key));
    let mut keys = keys(circuits.by_key()).chain(keys(rates.by_key())).peekable();
    let same_key = keys.peek().is_none() || keys.any(is_of_both);
    same_key && some_state(circuits, circuit) && some_state(rates, rate)
}

/// Whether this holds for the state of some key of the gate; without keys, for its one state.
fn some_state<T: KeyedHandle>(gate: &T, holds: impl Fn(&T) -> bool) -> bool {
    let mut keys = keys(gate.by_key()).peekable();
    if keys.peek().is_none() { holds(gate) } else { keys.any(|key| holds(&gate.at(key))) }
}

fn keys<T: KeyedHandle>(keyed: Option<&Keyed<T>>) -> impl Iterator<Item = KeyId> {
    keyed.into_iter().flat_map(Keyed::iter).map(|(key, _)| key)
}

/// What is left of a quota, and its capacity.
type LeftOf<T> = (Option<T>, Option<T>);

/// The quota of which the smaller share is left.
fn scarcest<T: Copy + Into<u128>>(one: LeftOf<T>, other: LeftOf<T>) -> LeftOf<T> {
    match (one.0.zip(one.1), other.0.zip(other.1)) {
        (Some((left, capacity)), Some((other_left, other_capacity))) => {
            if other_left.into() * capacity.into() < left.into() * other_capacity.into() {
                other
            } else {
                one
            }
        }
        (None, Some(_)) => other,
        (_, None) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: the least rest and the least capacity of two keys looked like a quota that is full.
    #[test]
    fn the_quota_of_the_smaller_share_is_the_scarcest() {
        let (spent, full, unknown) = ((Some(50_u32), Some(1000)), (Some(45), Some(45)), (Some(1), None));
        for (one, other, expected) in [
            (spent, full, spent),
            (full, spent, spent),
            (full, unknown, full),
            (unknown, full, full),
            ((None, None), full, full),
            (unknown, (None, None), unknown),
        ] {
            assert_eq!(scarcest(one, other), expected, "{one:?} {other:?}");
        }
    }
}
