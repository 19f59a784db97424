use std::mem;
use std::sync::Arc;

use http::Request;
use http_body::Body;

use super::gate::{
    Admission, AdmissionGate, AttemptGuard, BodyGuard, ResponseHead, TakeReady, swap_in_clone,
};
use super::peek::past_deadline;
use super::queued_at_gates::{Admitted, AdmittedRate, QueuedAtGates, Waiting, Waits};
use crate::backpressure::{self, Permit};
use crate::circuit_breaker::{self, CallGuard};
use crate::clock::Now;
use crate::key::KeyId;
use crate::keyed::KeyedHandle;
use crate::priority_semaphore::Arrival;
use crate::rate_limit::{self, Reservation};
use crate::rejected::record_rejection;
use crate::store::Store;
use crate::thread_shard::ByThread;
use crate::{Deadline, Error, Gate, Outcome, Rejection, Trail};

/// The gates of a stack, in their order: Backpressure, RateLimit, CircuitBreaker.
///
/// An attempt does not queue at a gate if a later one is certain to reject it. With keys the rate limit comes
/// before the permit: a caller that waits for its own quota holds no permit. If the wait for the permit
/// outlasts the reservation, the attempt reserves again. A returning attempt is queued ahead of later
/// arrivals, and `max_wait` and `queue_timeout` bound the sum of its waits.
#[derive(Clone, Debug)]
pub struct AttemptGates(pub(super) Arc<GateSet>);

#[derive(Debug)]
pub(super) struct GateSet {
    target: Arc<str>,
    pub(super) backpressure: ByThread<backpressure::Handle>,
    pub(super) rate_limit: ByThread<rate_limit::Handle>,
    circuit_breaker: ByThread<circuit_breaker::Handle>,
    /// Whether any gate is on.
    is_on: bool,
    /// Whether any gate has a state per key.
    pub(super) has_keys: bool,
}

/// What an admitted attempt holds. The fields are dropped in this order, the reverse of admission.
#[derive(Debug)]
pub struct AttemptGuards {
    circuit_breaker: CallGuard,
    reservation: Option<Reservation>,
    permit: Permit,
}

/// What an attempt holds while its response body is read.
#[derive(Debug)]
pub struct AttemptBodyGuards {
    circuit_breaker: CallGuard,
    reservation: Option<Box<Reservation>>,
    permit: Permit,
}

/// Why an attempt does not pass a gate.
enum Blocked {
    Queued(Waiting),
    Rejected(Rejection),
}

impl AttemptGuards {
    /// The guards of gates that are off.
    const fn none() -> Self {
        Self { circuit_breaker: CallGuard::unrecorded(), reservation: None, permit: Permit::unlimited() }
    }
}

impl AttemptGates {
    pub(crate) fn new(
        target: Arc<str>,
        backpressure: backpressure::Handle,
        rate_limit: rate_limit::Handle,
        circuit_breaker: circuit_breaker::Handle,
    ) -> Self {
        let is_on = backpressure.is_enabled() || rate_limit.is_enabled() || circuit_breaker.is_enabled();
        let has_keys = backpressure.by_key().is_some()
            || rate_limit.by_key().is_some()
            || circuit_breaker.by_key().is_some();
        let (backpressure, rate_limit) = (backpressure.by_thread(), rate_limit.by_thread());
        let circuit_breaker = circuit_breaker.by_thread();
        Self(Arc::new(GateSet { target, backpressure, rate_limit, circuit_breaker, is_on, has_keys }))
    }

    pub(crate) fn backpressure(&self) -> &backpressure::Handle {
        &self.0.backpressure
    }

    pub(crate) fn rate_limit(&self) -> &rate_limit::Handle {
        &self.0.rate_limit
    }

    pub(crate) fn circuit_breaker(&self) -> &circuit_breaker::Handle {
        &self.0.circuit_breaker
    }

    /// The store with which they are shared, if they are. That of the circuit comes first: a rate limit
    /// outlives its account.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.0.circuit_breaker.store().or_else(|| self.0.rate_limit.store())
    }

    pub(crate) fn target(&self) -> &Arc<str> {
        &self.0.target
    }

    /// Passes the remaining gates.
    #[inline]
    pub(super) fn advance<B: Body + 'static>(
        &self,
        mut admitted: Admitted,
        waits: &mut Waits,
        request: &mut Request<B>,
    ) -> Admission<AttemptGuards, QueuedAtGates> {
        let mut now = Now::default();
        // A caller that waits for its own quota holds no permit.
        let passed = if self.0.rate_limit.by_key().is_some() {
            self.pass_rate_limit(&mut admitted, waits, request, &mut now)
                .and_then(|()| self.pass_backpressure(&mut admitted, waits, request))
        } else {
            self.pass_backpressure(&mut admitted, waits, request)
                .and_then(|()| self.pass_rate_limit(&mut admitted, waits, request, &mut now))
        };
        match passed {
            Ok(()) => {}
            Err(Blocked::Queued(waiting)) => return self.queue(waiting, admitted, *waits, request),
            Err(Blocked::Rejected(rejection)) => {
                return Admission::Rejected(self.or_open(rejection, request));
            }
        }
        match self.0.circuit_breaker.admit_at(request, &mut now, !waits.has_awaited_turn) {
            Admission::Admitted(circuit_breaker) => {
                let reservation = match mem::take(&mut admitted.rate) {
                    AdmittedRate::Reserved(reservation) => reservation,
                    AdmittedRate::Nothing | AdmittedRate::Unsent(_) => None,
                };
                let permit = admitted.permit.take().expect("admitted above");
                Admission::Admitted(AttemptGuards { circuit_breaker, reservation, permit })
            }
            Admission::Queued(turn) => self.queue(Waiting::Turn(turn), admitted, *waits, request),
            Admission::Rejected(rejection) => Admission::Rejected(rejection),
        }
    }

    /// Reserves room in the rate limit, unless there is a reservation.
    #[inline]
    fn pass_rate_limit<B: Body + 'static>(
        &self,
        admitted: &mut Admitted,
        waits: &mut Waits,
        request: &mut Request<B>,
        now: &mut Now,
    ) -> Result<(), Blocked> {
        let rate_limit = &self.0.rate_limit;
        let admission = match admitted.rate {
            AdmittedRate::Reserved(_) => return Ok(()),
            AdmittedRate::Nothing => rate_limit.admit_at(request, now),
            AdmittedRate::Unsent(_) => {
                waits.arrival = Arrival::Returning;
                admitted.send_unsent(request, now.get())
            }
        };
        match admission {
            Admission::Admitted(reservation) => admitted.rate = AdmittedRate::Reserved(reservation),
            Admission::Queued(mut queued) => {
                if let Some(permit) = &admitted.permit {
                    queued.leave_time(permit.answer_time());
                }
                queued.end_after(waits.max_wait);
                if rate_limit.by_key().is_some() {
                    admitted.permit = None;
                }
                return Err(Blocked::Queued(Waiting::Reservation(Box::new(queued))));
            }
            Admission::Rejected(rejection) => return Err(Blocked::Rejected(rejection)),
        }
        Ok(())
    }

    /// Acquires a permit, unless there is one.
    #[inline]
    fn pass_backpressure<B: Body + 'static>(
        &self,
        admitted: &mut Admitted,
        waits: &Waits,
        request: &Request<B>,
    ) -> Result<(), Blocked> {
        if admitted.permit.is_some() {
            return Ok(());
        }
        match self.0.backpressure.admit_as(request, waits.arrival) {
            Admission::Admitted(permit) => admitted.permit = Some(permit),
            Admission::Queued(mut queued) => {
                queued.end_after(waits.queue_timeout);
                admitted.mark_unsent();
                return Err(Blocked::Queued(Waiting::Permit(queued)));
            }
            Admission::Rejected(rejection) => {
                let has_rate = matches!(admitted.rate, AdmittedRate::Reserved(_));
                let later = (!has_rate).then(|| self.0.rate_limit.peek_for(request)).flatten();
                return Err(Blocked::Rejected(later.unwrap_or(rejection)));
            }
        }
        Ok(())
    }

    /// The rejection of the circuit, if it rejects as well: it comes first, and names the time to come back.
    #[cold]
    fn or_open<B: 'static>(&self, rejection: Rejection, request: &Request<B>) -> Rejection {
        self.circuit_breaker().peek_counted(request).unwrap_or(rejection)
    }

    /// The key of the state that rejected the attempt.
    fn key_of_rejection<B: 'static>(&self, rejection: &Rejection, request: &Request<B>) -> Option<KeyId> {
        match rejection.gate() {
            Gate::Backpressure => self.0.backpressure.key_of(request),
            Gate::RateLimit => self.0.rate_limit.key_of(request),
            Gate::CircuitBreaker => self.circuit_breaker().key_of(request),
            Gate::Deadline | Gate::Translate => None,
        }
    }

    /// Queues the attempt, unless a later gate is certain to reject it.
    #[cold]
    fn queue<B: Body + 'static>(
        &self,
        waiting: Waiting,
        admitted: Admitted,
        waits: Waits,
        request: &Request<B>,
    ) -> Admission<AttemptGuards, QueuedAtGates> {
        let later = match (&waiting, &admitted.rate) {
            (Waiting::Permit(_), AdmittedRate::Nothing) => self.0.rate_limit.peek_for(request),
            (Waiting::Permit(_) | Waiting::Turn(_), _) => None,
            (Waiting::Reservation(_), _) if admitted.permit.is_some() => None,
            // It was admitted by both before.
            (Waiting::Reservation(_), _) if waits.arrival == Arrival::Returning => None,
            // The rate comes before the permit: a full queue for a permit rejects now.
            (Waiting::Reservation(_), _) => self.0.backpressure.peek_for(request),
        };
        match self.circuit_breaker().peek_counted(request).or(later) {
            Some(rejection) => Admission::Rejected(rejection),
            None => Admission::Queued(QueuedAtGates { waiting, admitted, waits, gates: self.clone() }),
        }
    }
}

impl AdmissionGate for AttemptGates {
    type Guard = AttemptGuards;
    type Queued = QueuedAtGates;

    #[inline]
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<AttemptGuards, QueuedAtGates> {
        if !request.extensions().is_empty() {
            if let Some(trail) = Trail::of(request.extensions()) {
                trail.enter(&self.0.target);
            }
            if let Some(rejection) = past_deadline(Deadline::of(request.extensions())) {
                return Admission::Rejected(rejection);
            }
        }
        // A circuit breaker that is disabled may still be forced open.
        let circuit = self.circuit_breaker();
        if !self.0.is_on && circuit.admits_all() {
            return Admission::Admitted(AttemptGuards::none());
        }
        // An open circuit rejects before anything is acquired. With keys the look-up is made once, at the
        // circuit.
        if circuit.by_key().is_none()
            && let Some(rejection) = circuit.peek_counted_by(request.extensions())
        {
            return Admission::Rejected(rejection);
        }
        self.advance(Admitted::default(), &mut Waits::default(), request)
    }

    #[cold]
    fn record_rejection<B: 'static>(&self, rejection: Rejection, request: &Request<B>) -> Rejection {
        let key = self.key_of_rejection(&rejection, request);
        record_rejection(rejection, self.target(), key, request.extensions())
    }
}

impl<S: Clone> TakeReady<S> for AttemptGates {
    fn take_ready(inner: &mut S, _: &QueuedAtGates) -> S {
        swap_in_clone(inner)
    }
}

impl AttemptGuard for AttemptGuards {
    type Body = AttemptBodyGuards;

    #[inline]
    fn on_head(self, head: ResponseHead<'_>, outcome: &Outcome) -> AttemptBodyGuards {
        AttemptBodyGuards {
            circuit_breaker: self.circuit_breaker.on_head(head, outcome),
            reservation: self.reservation.on_head(head, outcome),
            permit: self.permit.on_head(head, outcome),
        }
    }

    fn on_error(self, error: &Error, outcome: &Outcome) {
        // That a deadline left less time than heads take is no failure of the provider.
        let is_neutral = self.permit.had_too_little_time(error);
        self.circuit_breaker.on_error(error, if is_neutral { &Outcome::Neutral } else { outcome });
        self.reservation.on_error(error, outcome);
        self.permit.on_error(error, outcome);
    }
}

impl BodyGuard for AttemptBodyGuards {
    fn on_data(&mut self, bytes: usize) {
        self.circuit_breaker.on_data(bytes);
    }

    fn on_end(self, failure: Option<&Outcome>) {
        self.circuit_breaker.on_end(failure);
        self.reservation.on_end(failure);
        self.permit.on_end(failure);
    }
}
