use std::sync::Arc;
use std::time::Duration;

use http::Request;
use serde::Serialize;

use crate::backpressure::Outlook;
use crate::circuit_breaker::{LastFailure, State};
use crate::fallback::TargetStatistics;
use crate::retry::Statistics;
use crate::{Deadline, Gate, Rejection, backpressure, circuit_breaker, clock, fallback, rate_limit, retry};

/// What a stack knows about its provider, for programs and people. Cheap to clone; reading it takes nothing.
#[derive(Clone, Debug)]
pub struct Signals(Arc<GateHandles>);

#[derive(Debug)]
struct GateHandles {
    target: Arc<str>,
    circuit_breaker: circuit_breaker::Handle,
    rate_limit: rate_limit::Handle,
    backpressure: backpressure::Handle,
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
    /// How long until an open circuit lets a probe through.
    pub cooldown_remaining_ms: Option<u64>,
    /// The share of the latest calls that failed, from 0 to 1; `None` where no rate is asked for.
    pub failure_rate: Option<f64>,
    /// The share of the latest calls that were slow, from 0 to 1; `None` where nobody asks what is slow.
    pub slow_call_rate: Option<f64>,
    /// The latest failure that counted against the provider.
    pub last_failure: Option<LastFailure>,
    /// Calls in flight, bodies included; zero where there is no limit.
    pub current_inflight: usize,
    /// The most calls that may be in flight.
    pub max_inflight: Option<usize>,
    /// Calls that wait for a permit.
    pub queued: usize,
    /// Requests that could be sent at once; `None` without a quota.
    pub rate_remaining: Option<u32>,
    /// Tokens that could be spent at once; `None` without a quota of tokens.
    pub tokens_remaining: Option<u64>,
    /// How much longer the provider wants to be left alone.
    pub rate_closed_ms: Option<u64>,
    /// Calls that wait for their turn under the rate limit.
    pub rate_waiting: usize,
    /// What the retries came to.
    pub retry: Statistics,
    /// What the other targets were good for.
    pub fallback: Vec<TargetStatistics>,
}

impl Signals {
    pub(super) fn new(
        target: Arc<str>,
        circuit_breaker: circuit_breaker::Handle,
        rate_limit: rate_limit::Handle,
        backpressure: backpressure::Handle,
        retry: retry::Handle,
        fallback: fallback::Handle,
    ) -> Self {
        Self(Arc::new(GateHandles { target, circuit_breaker, rate_limit, backpressure, retry, fallback }))
    }

    /// The name of the stack, usually `provider/model`.
    #[must_use]
    pub fn target(&self) -> &Arc<str> {
        &self.0.target
    }

    /// Whether a call that came now, with this deadline, would get past the gates: circuit, rate, in-flight.
    /// Takes nothing.
    ///
    /// # Errors
    ///
    /// The refusal of the first gate that is bound to refuse, with the time after which it may not.
    pub fn preflight(&self, deadline: Option<Deadline>) -> Result<(), Rejection> {
        let GateHandles { circuit_breaker, rate_limit, backpressure, .. } = &*self.0;
        let rejection = rejection_if_past(deadline)
            .or_else(|| circuit_breaker.peek())
            .or_else(|| rate_limit.peek(deadline))
            .or_else(|| backpressure.peek());
        rejection.map_or(Ok(()), Err)
    }

    /// The same for one request: with its deadline and its priority, and by its keys where the gates have keys.
    ///
    /// # Errors
    ///
    /// As [`preflight`](Self::preflight).
    pub fn preflight_for<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
        let deadline = Deadline::of(request.extensions());
        let GateHandles { circuit_breaker, rate_limit, backpressure, .. } = &*self.0;
        let rejection = rejection_if_past(deadline)
            .or_else(|| circuit_breaker.peek_for(request))
            .or_else(|| rate_limit.peek(deadline))
            .or_else(|| backpressure.peek_for(request));
        rejection.map_or(Ok(()), Err)
    }

    /// Why this call is to be refused before it queues for a permit, if it is.
    ///
    /// Where a permit is free it does not queue: the rate limit comes next, and says at once itself what it would say
    /// here. To be asked twice costs it another lock and another look at the clock, 350 instructions.
    pub(super) fn rejection_before_queue<B>(&self, request: &Request<B>) -> Option<Rejection> {
        let deadline = Deadline::of(request.extensions());
        let GateHandles { circuit_breaker, rate_limit, backpressure, .. } = &*self.0;
        rejection_if_past(deadline).or_else(|| circuit_breaker.peek_for(request)).or_else(|| {
            match backpressure.outlook(request) {
                Outlook::Room => None,
                Outlook::Queue => rate_limit.peek(deadline),
                Outlook::Refused(rejection) => rate_limit.peek(deadline).or(Some(rejection)),
            }
        })
    }

    /// The state at this moment.
    #[must_use]
    pub fn snapshot(&self) -> SignalsSnapshot {
        let GateHandles { target, circuit_breaker, rate_limit, backpressure, retry, fallback } = &*self.0;
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

    /// Whether the circuit is closed and the provider has not asked to be left alone. Where the gates have keys, this
    /// speaks of no key: ask [`preflight_for`](Self::preflight_for).
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.circuit_breaker.state() == State::Closed && self.0.rate_limit.closed_for().is_none()
    }

    /// How well the provider is, from 0 to 1: 0 while its circuit is open; else the share of calls that did not fail,
    /// as far as it is known, and half of that while the circuit is half-open or the provider asked to be left alone.
    #[must_use]
    pub fn health_score(&self) -> f64 {
        let circuit = self.0.circuit_breaker.snapshot();
        let is_resting = self.0.rate_limit.closed_for().is_some();
        let good = 1.0 - circuit.failure_rate.unwrap_or(0.0);
        match circuit.state {
            State::Open => 0.0,
            State::HalfOpen => good / 2.0,
            State::Closed if is_resting => good / 2.0,
            State::Closed => good,
        }
    }

    /// Closes the circuit, refills the quotas and forgets what the provider said. Calls in flight stay counted.
    pub fn reset(&self) {
        self.0.circuit_breaker.reset();
        self.0.rate_limit.reset();
    }
}

/// The refusal of a call whose time is over.
fn rejection_if_past(deadline: Option<Deadline>) -> Option<Rejection> {
    let is_past = deadline.is_some_and(|deadline| deadline.is_past(clock::now()));
    is_past.then(|| Rejection::new(Gate::Deadline, crate::ErrorCode::Timeout))
}
