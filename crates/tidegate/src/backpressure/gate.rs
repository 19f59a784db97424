use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http::Request;
use http_body::Body;

use super::bulkhead::Bulkhead;
use super::permit::Permit;
use super::permit_future::PermitFuture;
use super::settings::BackpressureSettings;
use crate::attempt::{Admission, AdmissionGate, TakeReady, swap_in_clone};
use crate::keyed::{Keyed, KeyedState};
use crate::layer_state::LayerState;
use crate::priority_semaphore::TryAcquire;
use crate::{Deadline, ErrorCode, Gate, Priority, Rejection, RejectionReason, clock};

/// Shared by a layer, its services and their clones: the limit, or with keys the limits of all keys.
#[derive(Clone)]
pub struct Handle(pub(super) LayerState<BackpressureSettings, Limiters>);

pub(super) enum Limiters {
    Disabled,
    Shared(Arc<Bulkhead>),
    /// One bulkhead per key, and the limit of each.
    PerKey(Keyed<Arc<Bulkhead>>, AtomicUsize),
}

impl From<&BackpressureSettings> for Limiters {
    fn from(settings: &BackpressureSettings) -> Self {
        let limit = settings.max_inflight;
        match &settings.key_by {
            _ if !settings.enabled => Self::Disabled,
            None => Self::Shared(Arc::new(Bulkhead::new(limit, settings))),
            Some(by) => Self::PerKey(Keyed::new(by.clone(), settings.max_keys), AtomicUsize::new(limit)),
        }
    }
}

impl KeyedState for Arc<Bulkhead> {
    /// Every call that holds or waits for a permit holds a reference to the bulkhead.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(self) > 1
    }

    fn is_pristine(&self, _: Instant) -> bool {
        !self.is_adaptive()
    }
}

impl Handle {
    /// The current limit of calls in flight; `None` if there is no limit. With keys, the limit of each key.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        match &*self.0 {
            Limiters::Disabled => None,
            Limiters::Shared(bulkhead) => Some(bulkhead.semaphore.limit()),
            Limiters::PerKey(_, limit) => Some(limit.load(Ordering::Relaxed)),
        }
    }

    /// Changes the limit at run time, with keys that of each key; zero is treated as one. A higher limit
    /// admits queued calls at once; a lower one takes effect as calls end. Does nothing if there is no limit
    /// or if it is adaptive.
    pub fn set_limit(&self, calls: usize) {
        let calls = calls.max(1);
        match &*self.0 {
            Limiters::Shared(bulkhead) => bulkhead.set_limit(calls),
            Limiters::PerKey(bulkheads, limit) if !self.0.settings().is_adaptive() => {
                limit.store(calls, Ordering::Relaxed);
                // Collected first, so that wakers do not run under the locks of the map.
                let bulkheads: Vec<_> = bulkheads.states().collect();
                bulkheads.iter().for_each(|bulkhead| bulkhead.set_limit(calls));
            }
            Limiters::Disabled | Limiters::PerKey(..) => {}
        }
    }

    /// The number of calls in flight, up to the end of their response bodies; zero if there is no limit.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sum(|bulkhead| bulkhead.semaphore.in_use())
    }

    /// The number of queued calls.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued_of(Priority::Interactive) + self.queued_of(Priority::Batch)
    }

    /// The number of queued calls of this priority.
    #[must_use]
    pub fn queued_of(&self, priority: Priority) -> usize {
        self.sum(|bulkhead| bulkhead.semaphore.queued(priority))
    }

    /// The number of keys that currently have a state; zero without keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        match &*self.0 {
            Limiters::PerKey(bulkheads, _) => bulkheads.len(),
            Limiters::Disabled | Limiters::Shared(_) => 0,
        }
    }

    /// The rejection that any call would get now, whatever its priority. Acquires nothing. With keys it is
    /// always `None`; see [`peek_for`](Self::peek_for).
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        let Limiters::Shared(bulkhead) = &*self.0 else { return None };
        // One full queue does not imply that the other is full.
        let peek = |priority| self.peek_rejection(bulkhead, priority, None);
        peek(Priority::Interactive).and(peek(Priority::Batch))
    }

    /// The rejection that this request, with its priority, deadline and key, would get now. Acquires nothing.
    #[must_use]
    pub fn peek_for<B>(&self, request: &Request<B>) -> Option<Rejection> {
        let found;
        let bulkhead = match &*self.0 {
            Limiters::Disabled => return None,
            Limiters::Shared(bulkhead) => bulkhead,
            Limiters::PerKey(bulkheads, _) => {
                found = bulkheads.find(request)?;
                &found
            }
        };
        let (priority, deadline) = (Priority::of(request.extensions()), Deadline::of(request.extensions()));
        self.peek_rejection(bulkhead, priority, deadline)
    }

    fn peek_rejection(
        &self,
        bulkhead: &Bulkhead,
        priority: Priority,
        deadline: Option<Deadline>,
    ) -> Option<Rejection> {
        if bulkhead.semaphore.can_acquire() {
            return None;
        }
        let now = clock::now();
        match self.wait_deadline(deadline, now).rejection_at(now) {
            None => bulkhead.semaphore.would_reject(priority).then(queue_is_full),
            rejection => rejection,
        }
    }

    #[inline]
    fn acquire<B: Body>(&self, request: &Request<B>) -> Admission<Permit, PermitFuture> {
        match &*self.0 {
            Limiters::Disabled => Admission::Admitted(Permit::unlimited()),
            Limiters::Shared(bulkhead) => self.acquire_from(bulkhead, request),
            Limiters::PerKey(bulkheads, limit) => {
                let limit = || limit.load(Ordering::Relaxed);
                let bulkhead = bulkheads.of(request, || Arc::new(Bulkhead::new(limit(), self.0.settings())));
                // The bulkhead may have been created while the limit was being changed.
                bulkhead.sync_limit(limit());
                self.acquire_from(&bulkhead, request)
            }
        }
    }

    #[inline]
    fn acquire_from<B: Body>(
        &self,
        bulkhead: &Arc<Bulkhead>,
        request: &Request<B>,
    ) -> Admission<Permit, PermitFuture> {
        if bulkhead.semaphore.try_acquire() {
            return Admission::Admitted(self.permit(bulkhead, request));
        }
        self.enqueue(bulkhead, request)
    }

    #[cold]
    fn enqueue<B: Body>(
        &self,
        bulkhead: &Arc<Bulkhead>,
        request: &Request<B>,
    ) -> Admission<Permit, PermitFuture> {
        // Without a queue a rejection does not read the clock.
        if self.0.settings().max_queued == 0 {
            return Admission::Rejected(queue_is_full());
        }
        let (priority, deadline) = (Priority::of(request.extensions()), Deadline::of(request.extensions()));
        let now = clock::now();
        let wait_deadline = self.wait_deadline(deadline, now);
        if let Some(rejection) = wait_deadline.rejection_at(now) {
            return Admission::Rejected(rejection);
        }
        match bulkhead.semaphore.try_acquire_or_enqueue(priority) {
            TryAcquire::Acquired => Admission::Admitted(self.permit(bulkhead, request)),
            TryAcquire::Queued(ticket) => Admission::Queued(PermitFuture::new(
                self.clone(),
                Arc::clone(bulkhead),
                ticket,
                wait_deadline,
            )),
            TryAcquire::QueueFull => Admission::Rejected(queue_is_full()),
        }
    }

    #[inline]
    fn permit<B: Body>(&self, bulkhead: &Arc<Bulkhead>, request: &Request<B>) -> Permit {
        let mut permit = Permit::holding(Arc::clone(bulkhead));
        permit.start(self, request.body());
        permit
    }

    fn sum(&self, count: impl Fn(&Bulkhead) -> usize) -> usize {
        match &*self.0 {
            Limiters::Disabled => 0,
            Limiters::Shared(bulkhead) => count(bulkhead),
            Limiters::PerKey(bulkheads, _) => bulkheads.states().map(|bulkhead| count(&bulkhead)).sum(),
        }
    }

    /// Emits an event for a change of an adaptive limit.
    pub(super) fn log_limit(&self, limit: usize) {
        tracing::debug!(layer = Gate::Backpressure.name(), target = self.0.target(), limit, "limit moved");
    }

    fn wait_deadline(&self, deadline: Option<Deadline>, now: Instant) -> WaitDeadline {
        WaitDeadline { queue: Deadline::after(self.0.settings().queue_timeout, now), call: deadline }
    }
}

impl AdmissionGate for Handle {
    type Guard = Permit;
    type Queued = PermitFuture;

    #[inline]
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<Permit, PermitFuture> {
        self.acquire(request)
    }

    fn target(&self) -> &str {
        self.0.target()
    }
}

impl<S: Clone> TakeReady<S> for Handle {
    fn take_ready(inner: &mut S, _: &PermitFuture) -> S {
        swap_in_clone(inner)
    }
}

/// The end of a queued call's wait: the queue time-out or the deadline of the call, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitDeadline {
    queue: Deadline,
    call: Option<Deadline>,
}

impl WaitDeadline {
    pub(super) fn instant(self) -> Instant {
        self.call.map_or(self.queue, |call| call.min(self.queue)).instant()
    }

    /// The rejection of a call that has waited until `now`, if its wait is over.
    pub(super) fn rejection_at(self, now: Instant) -> Option<Rejection> {
        if now < self.instant() {
            return None;
        }
        Some(match self.call {
            Some(call) if call < self.queue => Rejection::new(Gate::Deadline, ErrorCode::Timeout),
            _ => rejection(RejectionReason::QueueTimeout),
        })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", self.0.settings())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .field("keys", &self.keys())
            .finish()
    }
}

fn queue_is_full() -> Rejection {
    rejection(RejectionReason::QueueFull)
}

fn rejection(reason: RejectionReason) -> Rejection {
    Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).because(reason)
}
