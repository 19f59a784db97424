use std::sync::Arc;
use std::time::Duration;

use http::Request;
use serde::Serialize;

use crate::attempt::AttemptGates;
use crate::circuit_breaker::{LastFailure, State};
use crate::fallback::TargetStatistics;
use crate::retry::Statistics;
use crate::{Deadline, Gate, Rejection, clock, fallback, retry};

/// The state of a stack, for programs and operators. Cheap to clone; reading it acquires nothing.
#[derive(Clone, Debug)]
pub struct Signals(Arc<GateHandles>);

#[derive(Debug)]
struct GateHandles {
    gates: AttemptGates,
    retry: retry::Handle,
    fallback: fallback::Handle,
}

/// The state of a stack at one moment, ready to be serialised. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalsSnapshot {
    /// The name of the stack, usually `provider/model`.
    pub target: Arc<str>,
    /// `closed`, `open` or `half_open`.
    pub circuit_state: State,
    /// The time until an open circuit admits a probe.
    pub cooldown_remaining_ms: Option<u64>,
    /// The share of the latest calls that failed, from 0 to 1; `None` if no failure rate is configured.
    pub failure_rate: Option<f64>,
    /// The share of the latest calls that were slow, from 0 to 1; `None` if no slow-call threshold is
    /// configured.
    pub slow_call_rate: Option<f64>,
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
    /// Tokens that could be used now; `None` without a token quota.
    pub tokens_remaining: Option<u64>,
    /// The rest of the time for which the provider closed the rate limit.
    pub rate_closed_ms: Option<u64>,
    /// Calls that wait in the queue of the rate limit.
    pub rate_waiting: usize,
    /// The statistics of the retries.
    pub retry: Statistics,
    /// The statistics of the other targets.
    pub fallback: Vec<TargetStatistics>,
}

impl Signals {
    pub(super) fn new(gates: AttemptGates, retry: retry::Handle, fallback: fallback::Handle) -> Self {
        Self(Arc::new(GateHandles { gates, retry, fallback }))
    }

    /// The name of the stack, usually `provider/model`.
    #[must_use]
    pub fn target(&self) -> &Arc<str> {
        self.0.gates.target()
    }

    /// Whether a call with this deadline would now pass the gates: circuit, rate, in-flight. Acquires
    /// nothing.
    ///
    /// # Errors
    ///
    /// The rejection of the first gate that is certain to reject, with the time after which it may not.
    pub fn preflight(&self, deadline: Option<Deadline>) -> Result<(), Rejection> {
        let gates = &self.0.gates;
        let rejection = rejection_if_past(deadline)
            .or_else(|| gates.circuit_breaker().peek())
            .or_else(|| gates.rate_limit().handle().peek(deadline))
            .or_else(|| gates.backpressure().peek());
        rejection.map_or(Ok(()), Err)
    }

    /// The same for one request, with its deadline, its priority, and its key where a gate is keyed.
    ///
    /// # Errors
    ///
    /// As [`preflight`](Self::preflight).
    pub fn preflight_for<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
        self.0.gates.peek(request).map_or(Ok(()), Err)
    }

    /// The state at this moment.
    #[must_use]
    pub fn snapshot(&self) -> SignalsSnapshot {
        let GateHandles { gates, retry, fallback } = &*self.0;
        let (target, circuit_breaker) = (gates.target(), gates.circuit_breaker());
        let (rate_limit, backpressure) = (gates.rate_limit().handle(), gates.backpressure());
        let circuit = circuit_breaker.snapshot();
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        SignalsSnapshot {
            target: Arc::clone(target),
            circuit_state: circuit.state,
            cooldown_remaining_ms: circuit.cooldown_remaining_ms,
            failure_rate: circuit.failure_rate,
            slow_call_rate: circuit.slow_call_rate,
            last_failure: circuit.last_failure,
            current_inflight: backpressure.in_flight(),
            max_inflight: backpressure.limit(),
            queued: backpressure.queued(),
            rate_remaining: rate_limit.remaining(),
            tokens_remaining: rate_limit.tokens_remaining(),
            rate_closed_ms: rate_limit.closed_for().map(millis),
            rate_waiting: rate_limit.waiting(),
            retry: retry.statistics(),
            fallback: fallback.statistics(),
        }
    }

    /// Whether the circuit is closed and the provider has not closed the rate limit. If the gates are keyed,
    /// this covers no key: use [`preflight_for`](Self::preflight_for).
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.gates.circuit_breaker().state() == State::Closed
            && self.0.gates.rate_limit().handle().closed_for().is_none()
    }

    /// The health of the provider, from 0 to 1. It is 0 while the circuit is open. Otherwise it is the share
    /// of calls that did not fail, as far as that is measured; half of that while the circuit is half-open or
    /// the provider has closed the rate limit.
    #[must_use]
    pub fn health_score(&self) -> f64 {
        let circuit = self.0.gates.circuit_breaker().snapshot();
        let is_rate_closed = self.0.gates.rate_limit().handle().closed_for().is_some();
        let success_rate = 1.0 - circuit.failure_rate.unwrap_or(0.0);
        match circuit.state {
            State::Open => 0.0,
            State::HalfOpen => success_rate / 2.0,
            State::Closed if is_rate_closed => success_rate / 2.0,
            State::Closed => success_rate,
        }
    }

    /// Closes the circuit, refills the quotas and discards the limits that the provider reported. Calls in
    /// flight remain counted.
    pub fn reset(&self) {
        self.0.gates.circuit_breaker().reset();
        self.0.gates.rate_limit().handle().reset();
    }
}

/// The rejection of a call after its deadline.
fn rejection_if_past(deadline: Option<Deadline>) -> Option<Rejection> {
    let is_past = deadline.is_some_and(|deadline| deadline.is_past(clock::now()));
    is_past.then(|| Rejection::new(Gate::Deadline, crate::ErrorCode::Timeout))
}
