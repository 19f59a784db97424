//! The admission of calls: their cost, and the reservation, the place in the queue or the rejection of each.

use std::time::Instant;

use http::{Extensions, Request};
use http_body::Body;

use super::cost::{CallCost, MAX_TOKENS, Reserved};
use super::handle::Handle;
use super::pending_reservation::PendingReservation;
use super::queue::{LockedQueue, RateCall, RateQueue};
use super::quota_set::Shortfall;
use super::rejections::{no_room, too_many_waiting};
use super::reservation::Reservation;
use crate::attempt::{Admission, AdmissionGate, TakeReady, swap_in_clone};
use crate::body::bytes_of;
use crate::chain_position::ChainPosition;
use crate::clock::Now;
use crate::keyed::KeyedHandle;
use crate::priority_semaphore::Arrival;
use crate::rejected::record_rejection;
use crate::thread_shard::ByThread;
use crate::{Deadline, Estimated, Rejection};

/// The decision on a new call.
pub(super) type RateDecision = Admission<Reserved, PendingReservation>;

impl AdmissionGate for ByThread<Handle> {
    type Guard = Option<Reservation>;
    type Queued = PendingReservation;

    #[inline]
    fn admit<B: Body + 'static>(
        &self,
        request: &mut Request<B>,
    ) -> Admission<Option<Reservation>, PendingReservation> {
        self.admit_at(request, &mut Now::default())
    }

    #[cold]
    fn record_rejection<B: 'static>(&self, rejection: Rejection, request: &Request<B>) -> Rejection {
        record_rejection(rejection, self.0.target(), self.key_of(request), request.extensions())
    }
}

impl<S: Clone> TakeReady<S> for ByThread<Handle> {
    fn take_ready(inner: &mut S, _: &PendingReservation) -> S {
        swap_in_clone(inner)
    }
}

impl ByThread<Handle> {
    /// Admits, queues or rejects the call. The gates of one attempt read the clock at most once, into `now`.
    #[inline]
    pub(crate) fn admit_at<B: Body + 'static>(
        &self,
        request: &mut Request<B>,
        now: &mut Now,
    ) -> Admission<Option<Reservation>, PendingReservation> {
        if !self.is_enabled() {
            return Admission::Admitted(None);
        }
        match self.get_or_insert(request) {
            Ok(limit) => limit.unwrap_or_else(|| self.of_thread()).admit_here(request, now),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }
}

impl Handle {
    fn admit_here<B: Body + 'static>(
        self,
        request: &mut Request<B>,
        now: &mut Now,
    ) -> Admission<Option<Reservation>, PendingReservation> {
        let decision = self.reserve(self.cost(request), request.extensions(), now.get());
        decision.map(|reserved| Some(Reservation::new(self, reserved, request)))
    }

    /// Reserves room for a call, queues it, or rejects it.
    #[inline]
    pub(super) fn reserve(&self, cost: CallCost, extensions: &Extensions, now: Instant) -> RateDecision {
        if let Some(link) = &self.0.store {
            link.join(self);
        }
        // A call that costs tokens needs room in several quotas, and is not admitted on credit.
        let queue = if cost == CallCost::ONE_CALL {
            match self.0.queue.admit_on_credit(now) {
                Ok(number) => {
                    let total_spent = CallCost { calls: number, ..CallCost::default() };
                    return Admission::Admitted(Reserved { cost, at: now, total_spent });
                }
                Err(queue) => queue,
            }
        } else {
            self.lock()
        };
        self.reserve_in(queue, cost, extensions, Arrival::First, now)
    }

    /// Reserves room for a call in the locked queue, queues the call, or rejects it. `arrival` is `Returning` if
    /// an earlier reservation of the call was returned.
    pub(super) fn reserve_in(
        &self,
        mut queue: LockedQueue<'_>,
        cost: CallCost,
        extensions: &Extensions,
        arrival: Arrival,
        now: Instant,
    ) -> RateDecision {
        let cost = queue.limits.bounded(cost);
        self.0.queue.spend_headroom(1);
        let shortfall = match self.try_reserve_in_turn(&mut queue, &cost, extensions, arrival, now) {
            Ok(reserved) => return Admission::Admitted(reserved),
            Err(shortfall) => shortfall,
        };
        self.0.queue.clear_headroom();
        let (settings, deadline) = (self.0.settings(), Deadline::of(extensions));
        let call = RateCall::of(cost, extensions, arrival);
        let rejection = settings
            .reject_early(queue.is_full(&call), &shortfall, deadline, now)
            .or_else(|| ChainPosition::is_of_hedge(extensions).then(|| shortfall.annotate(no_room())));
        let place = match rejection {
            Some(rejection) => Err(rejection),
            None => {
                queue.enqueue(call, shortfall.wait, now).ok_or_else(|| shortfall.annotate(too_many_waiting()))
            }
        };
        if arrival == Arrival::Returning {
            queue.grant_returned(now);
        }
        self.request_exchange(&mut queue, now);
        drop(queue);
        match place {
            Ok(ticket) => {
                Admission::Queued(PendingReservation::new(self.clone(), ticket, &shortfall, deadline, now))
            }
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    /// Reserves room for a call, unless waiting calls come first, even if there is room for it.
    #[inline]
    fn try_reserve_in_turn(
        &self,
        queue: &mut RateQueue,
        cost: &CallCost,
        extensions: &Extensions,
        arrival: Arrival,
        now: Instant,
    ) -> Result<Reserved, Shortfall> {
        // What decides the place in the queue is read only if there is one.
        let call = || RateCall::of(*cost, extensions, arrival);
        let is_returning = arrival == Arrival::Returning;
        if !is_returning && queue.backlog.total() > 0 {
            queue.grant_ready(now);
        }
        let behind = queue.backlog.total();
        if behind > 0 && !(is_returning && queue.is_next(&call(), now)) {
            return Err(queue.shortfall(&call(), now));
        }
        let reserved = queue.limits.try_reserve(cost, behind, now)?;
        if is_returning {
            queue.grant_returned(now);
        }
        queue.credits.record_charged();
        self.request_exchange(queue, now);
        Ok(reserved)
    }

    /// The cost of a request. Without a token quota nothing is read or counted.
    pub(super) fn cost<B: 'static>(&self, request: &Request<B>) -> CallCost {
        if !self.is_enabled() || !self.has_token_quota() {
            return CallCost::ONE_CALL;
        }
        let body = bytes_of(request);
        let settings = self.0.settings();
        let estimated: Estimated = settings.hooks.estimate().estimate_at(
            request.uri(),
            request.headers(),
            body.map_or(&[], |body| body),
        );
        // The output limit of a body that is not in memory is unknown, and `content-length` is only the
        // caller's claim.
        let estimated = if body.is_some() { estimated } else { Estimated { max_output: None, ..estimated } };
        let output = estimated.output(settings.default_output_tokens);
        CallCost { calls: 1, input: estimated.input.min(MAX_TOKENS), output }
    }
}
