use std::sync::Arc;

use http::Request;
use serde::Serialize;

use super::key_signals::{CircuitForAlerts, KeySignals, admit_calls};
use crate::alerts::{self, Alerts};
use crate::attempt::AttemptGates;
use crate::circuit_breaker::{LastFailure, Metrics, State};
use crate::events::{self, Event, Subscription};
use crate::fallback::TargetStatistics;
use crate::rate_limit::SharedRate;
use crate::retry::Statistics;
use crate::{Deadline, Rejection, circuit_breaker, fallback, hedge, retry};

/// The state of a stack, for programs and operators. Cheap to clone; reading it acquires nothing.
#[derive(Clone, Debug)]
#[doc(alias = "PreflightChecker")]
pub struct Signals(Arc<GateHandles>);

#[derive(Debug)]
struct GateHandles {
    gates: AttemptGates,
    retry: retry::Handle,
    fallback: fallback::Handle,
}

/// The state of a stack at one moment, ready to be serialised. Times are in milliseconds.
///
/// If gates have keys, the calls in flight, queued and waiting are the sums over all keys, and every other
/// value of a gate is that of the key that is worst off in it: one open circuit shows as `open`. `keys` and
/// `unhealthy_keys` count all keys and those that are affected.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SignalsSnapshot {
    /// The name of the stack, usually `provider/model`.
    pub target: Arc<str>,
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
    /// The limit of calls in flight; if the gate has keys, that of a new key.
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
    /// How the rate limit is shared with other processes; `None` if it is not. With keys: that of a key whose
    /// store is unavailable, if there is one.
    pub rate_shared: Option<SharedRate>,
    /// The keys that some gate has a state of; zero without keys. A state that is like new is dropped within
    /// about a minute.
    pub keys: usize,
    /// The keys whose circuit is not closed, or whose rate limit the provider has closed.
    pub unhealthy_keys: usize,
    /// The statistics of the retries.
    pub retry: Statistics,
    /// The statistics of the other targets.
    pub fallback: Vec<TargetStatistics>,
    /// The statistics of the hedges; `None` if calls are not hedged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<hedge::HedgeStatistics>,
    #[serde(skip)]
    pub(crate) for_alerts: CircuitForAlerts,
    /// Whether calls are admitted, or if gates have keys, those of some key.
    #[serde(skip)]
    pub(crate) admits_calls: bool,
}

impl Signals {
    pub(super) fn new(gates: AttemptGates, retry: retry::Handle, fallback: fallback::Handle) -> Self {
        Self(Arc::new(GateHandles { gates, retry, fallback }))
    }

    pub(crate) fn gates(&self) -> &AttemptGates {
        &self.0.gates
    }

    /// The name of the stack, usually `provider/model`.
    #[must_use]
    pub fn target(&self) -> &Arc<str> {
        self.0.gates.target()
    }

    /// Whether a call with this deadline would now pass the gates: circuit, rate, in-flight. Acquires
    /// nothing. If gates have keys, the call is one with a new key.
    ///
    /// # Errors
    ///
    /// The rejection of the first gate that is certain to reject, with the time after which it may not.
    pub fn preflight(&self, deadline: Option<Deadline>) -> Result<(), Rejection> {
        self.0.gates.peek_any(deadline).map_or(Ok(()), Err)
    }

    /// Whether this request would now pass the gates, by its deadline, priority and cost, and its key where a
    /// gate has keys. Acquires nothing.
    ///
    /// # Errors
    ///
    /// As [`preflight`](Self::preflight).
    pub fn preflight_for<B: 'static>(&self, request: &Request<B>) -> Result<(), Rejection> {
        self.0.gates.peek(request).map_or(Ok(()), Err)
    }

    /// The state at this moment. Its cost grows with the number of keys.
    #[must_use]
    #[doc(alias = "signals_snapshot")]
    pub fn snapshot(&self) -> SignalsSnapshot {
        let GateHandles { gates, retry, fallback } = &*self.0;
        let of_keys = KeySignals::of_all_keys(gates);
        let (keys, unhealthy_keys) = (of_keys.len(), of_keys.iter().filter(|key| !key.is_healthy()).count());
        let worst = of_keys.into_iter().reduce(|worst, key| worst.worst_of(&key));
        let worst = worst.unwrap_or_else(|| KeySignals::without_key(gates));
        SignalsSnapshot {
            target: Arc::clone(gates.target()),
            circuit_state: worst.circuit_state,
            cooldown_remaining_ms: worst.cooldown_remaining_ms,
            failure_rate: worst.failure_rate,
            slow_call_rate: worst.slow_call_rate,
            circuit_window_shared: worst.circuit_window_shared,
            last_failure: worst.last_failure,
            current_inflight: gates.backpressure().in_flight(),
            max_inflight: gates.backpressure().limit(),
            queued: gates.backpressure().queued(),
            rate_remaining: worst.rate_remaining,
            rate_capacity: worst.rate_capacity,
            tokens_remaining: worst.tokens_remaining,
            tokens_capacity: worst.tokens_capacity,
            rate_closed_ms: worst.rate_closed_ms,
            rate_waiting: gates.rate_limit().waiting(),
            rate_shared: gates.rate_limit().shared(),
            keys,
            unhealthy_keys,
            retry: retry.statistics(),
            fallback: fallback.statistics(),
            for_alerts: worst.for_alerts,
            admits_calls: admit_calls(gates),
            hedge: fallback.hedges(),
        }
    }

    /// The totals of the circuit since the start; see
    /// [`circuit_breaker::Handle::metrics`](crate::circuit_breaker::Handle::metrics).
    #[must_use]
    #[doc(alias = "get_metrics")]
    pub fn circuit_metrics(&self) -> Metrics {
        self.0.gates.circuit_breaker().metrics()
    }

    /// The handle of the circuit, with which it can be forced open or closed.
    #[must_use]
    pub fn circuit_breaker(&self) -> circuit_breaker::Handle {
        self.0.gates.circuit_breaker().clone()
    }

    /// The state of each key, of at most `limit` keys: those with the most calls in flight and waiting come
    /// first, and among equals those that are not healthy. Empty if no gate has keys. Its cost grows with the
    /// number of keys.
    #[must_use]
    pub fn keys(&self, limit: usize) -> Vec<KeySignals> {
        let mut signals = KeySignals::of_all_keys(&self.0.gates);
        KeySignals::sort_by_calls(&mut signals);
        signals.truncate(limit);
        signals
    }

    /// The state that this request would meet: that of its key, where a gate has keys.
    #[must_use]
    pub fn of<B: 'static>(&self, request: &Request<B>) -> KeySignals {
        KeySignals::of(&self.0.gates, request)
    }

    /// Whether the circuit is closed and the provider has not closed the rate limit; if gates have keys, for
    /// every key. For one caller see [`of`](Self::of), and for the share of the keys
    /// [`health_score`](Self::health_score).
    #[must_use]
    #[doc(alias = "get_health_status")]
    pub fn is_healthy(&self) -> bool {
        self.health().0
    }

    /// The health of the provider, from 0 to 1. It is 0 while the circuit is open. Otherwise it is the share
    /// of calls that did not fail, as far as that is measured; half of that while the circuit is half-open or
    /// the provider has closed the rate limit. If gates have keys, it is the mean over the keys.
    #[must_use]
    pub fn health_score(&self) -> f64 {
        self.health().1
    }

    /// [`is_healthy`](Self::is_healthy) and [`health_score`](Self::health_score) of one moment, at the cost
    /// of one of them, which grows with the number of keys.
    #[must_use]
    pub fn health(&self) -> (bool, f64) {
        let signals = self.per_key();
        let score = signals.iter().map(KeySignals::health_score).sum::<f64>() / signals.len() as f64;
        (signals.iter().all(KeySignals::is_healthy), score)
    }

    /// Subscribes to the decisions about this target from now on; see [`events`](crate::events). They are
    /// those of all stacks and layers that have the name of this one.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<Event> {
        events::subscribe_to(self.target())
    }

    /// The alerts about this stack, by these thresholds; see [`alerts`](crate::alerts).
    ///
    /// # Panics
    ///
    /// The interval of the settings is zero, or there is no tokio runtime with a timer.
    #[must_use]
    pub fn on_degraded(&self, settings: alerts::Settings) -> Alerts {
        let signals = self.clone();
        Alerts::new(settings, move || vec![signals.snapshot()])
    }

    /// Closes the circuit, refills the quotas and discards the limits that the provider reported, for every
    /// key. Calls in flight remain counted, and quotas that are shared through a [`store`](crate::store) are
    /// kept. A member of a group that is left out after a failure stays so until
    /// [`group::Handle::reset`](crate::group::Handle::reset).
    #[doc(alias = "reset_resilience_state")]
    pub fn reset(&self) {
        self.0.gates.circuit_breaker().reset();
        self.0.gates.rate_limit().reset();
    }

    /// The state of each key, or that of a new key if there are none yet; without keys the one state. Never
    /// empty.
    fn per_key(&self) -> Vec<KeySignals> {
        let of_keys = KeySignals::of_all_keys(&self.0.gates);
        if of_keys.is_empty() { vec![KeySignals::without_key(&self.0.gates)] } else { of_keys }
    }
}
