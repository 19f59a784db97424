//! The admission of calls: the permit, the place in the queue or the rejection of each.

use http::Request;
use http_body::Body;

use super::handle::Handle;
use super::pending_permit::PendingPermit;
use super::permit::Permit;
use super::rejections::queue_is_full;
use crate::attempt::{Admission, AdmissionGate, TakeReady, swap_in_clone};
use crate::chain_position::ChainPosition;
use crate::keyed::KeyedHandle;
use crate::priority_semaphore::{Arrival, TryAcquire};
use crate::rejected::record_rejection;
use crate::thread_shard::ByThread;
use crate::{Deadline, Priority, Rejection, clock};

impl AdmissionGate for ByThread<Handle> {
    type Guard = Permit;
    type Queued = PendingPermit;

    #[inline]
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<Permit, PendingPermit> {
        self.admit_as(request, Arrival::First)
    }

    #[cold]
    fn record_rejection<B: 'static>(&self, rejection: Rejection, request: &Request<B>) -> Rejection {
        record_rejection(rejection, self.0.target(), self.key_of(request), request.extensions())
    }
}

impl<S: Clone> TakeReady<S> for ByThread<Handle> {
    fn take_ready(inner: &mut S, _: &PendingPermit) -> S {
        swap_in_clone(inner)
    }
}

impl ByThread<Handle> {
    /// Admits, queues or rejects the call. An attempt that has waited before comes as [`Arrival::Returning`].
    #[inline]
    pub(crate) fn admit_as<B: Body + 'static>(
        &self,
        request: &Request<B>,
        arrival: Arrival,
    ) -> Admission<Permit, PendingPermit> {
        if !self.is_enabled() {
            return Admission::Admitted(Permit::unlimited());
        }
        match self.get_or_insert(request) {
            Ok(bulkhead) => bulkhead.unwrap_or_else(|| self.of_thread()).acquire(request, arrival),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }
}

impl Handle {
    #[inline]
    fn acquire<B: Body>(self, request: &Request<B>, arrival: Arrival) -> Admission<Permit, PendingPermit> {
        if self.0.semaphore.try_acquire() {
            Admission::Admitted(Permit::start(self, request.body()))
        } else {
            self.enqueue(request, arrival)
        }
    }

    #[cold]
    fn enqueue<B: Body>(self, request: &Request<B>, arrival: Arrival) -> Admission<Permit, PendingPermit> {
        // Without a queue a rejection does not read the clock.
        if self.0.settings().max_queued == 0 || ChainPosition::is_of_hedge(request.extensions()) {
            return Admission::Rejected(queue_is_full());
        }
        let (priority, deadline) = (Priority::of(request.extensions()), Deadline::of(request.extensions()));
        let flow = arrival.flow(request.extensions());
        let now = clock::now();
        let wait_deadline = self.wait_deadline(deadline, now);
        if let Some(rejection) = wait_deadline.rejection_at(now) {
            return Admission::Rejected(rejection);
        }
        self.0.semaphore.sweep(now);
        match self.0.semaphore.try_acquire_or_enqueue(priority, flow, wait_deadline.instant()) {
            TryAcquire::Acquired => Admission::Admitted(Permit::start(self, request.body())),
            TryAcquire::Queued(ticket) => {
                Admission::Queued(PendingPermit::new(self, flow, ticket, wait_deadline))
            }
            TryAcquire::QueueFull => Admission::Rejected(queue_is_full()),
        }
    }
}
