//! The queue of calls that wait for room in the quotas.
//!
//! Every access to the queue grants in order: every waiting call that has room by now gets its reservation, also when
//! its future is not polled at that moment, and the next one is considered. A future that is kept without being polled
//! therefore delays no other call. The first call in the queue sleeps until it has room; each of the others until its
//! own slot, so that they wake one after the other.
//!
//! ```text
//!           no room                 its slot comes, or a call ends, or another call looks
//!   enter ───────────▶ queued ─────────────────────────────────────────────────────────▶ granted ──▶ admitted
//!                        │                                                                  │
//!                        └─ time is up ─▶ rejected                                          └─ dropped ─▶ refunded
//! ```

use std::task::Waker;
use std::time::{Duration, Instant};

use http::Extensions;

use super::backlog::Backlog;
use super::cost::{CallCost, Reserved};
use super::lease_demand::WaitingCalls;
use super::quota_set::QuotaSet;
use super::quota_set::Shortfall;
use super::thread_credits::CreditBook;
use super::unsent::UnsentReservations;
use crate::priority_semaphore::{Arrival, Flow, Order, Ticket, WaitQueue};
use crate::{Deadline, Priority};

/// The quotas of one gate and the calls that wait for them. It is read and changed under one lock, which is held for a
/// few dozen nanoseconds and never across a wait.
#[derive(Debug)]
pub(super) struct RateQueue {
    pub(super) limits: QuotaSet,
    pub(super) credits: CreditBook,
    pub(super) backlog: Backlog,
    pub(super) waiters: WaitQueue<RateWaiter>,
    pub(super) unsent: UnsentReservations,
}

/// A call in the queue, or one that has left it and has not been polled since.
#[derive(Debug)]
pub(super) struct RateWaiter {
    pub(super) call: RateCall,
    pub(super) state: RateWaiterState,
    /// The instant at which there was going to be room when the call arrived.
    pub(super) slot: Instant,
    /// How late the queue was then. The slot takes it into account.
    pub(super) lateness: Duration,
    /// It has been woken as the first in the queue, to sleep until it has room.
    pub(super) is_first: bool,
    pub(super) waker: Option<Waker>,
}

/// What decides the place of a call in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateCall {
    pub(super) cost: CallCost,
    pub(super) priority: Priority,
    pub(super) flow: Flow,
}

impl RateCall {
    /// The call of a request with these extensions.
    pub(super) fn of(cost: CallCost, extensions: &Extensions, arrival: Arrival) -> Self {
        Self { cost, priority: Priority::of(extensions), flow: arrival.flow(extensions) }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum RateWaiterState {
    Waiting,
    Granted(Reserved),
    /// A call of another flow has taken its place in a full queue.
    Displaced,
}

/// The wakers of calls that were granted a reservation or became the first in the queue, to be called without the lock.
#[must_use = "the calls wait until they are woken"]
#[derive(Default)]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl RateQueue {
    /// A queue of at most `max_waiting` calls of each priority.
    pub(super) fn new(limits: QuotaSet, max_waiting: usize) -> Self {
        Self {
            limits,
            credits: CreditBook::default(),
            backlog: Backlog::default(),
            waiters: WaitQueue::new(max_waiting, Order::Fifo),
            unsent: UnsentReservations::default(),
        }
    }

    /// Grants a reservation to every call in turn, until one has no room.
    pub(super) fn grant_ready(&mut self, now: Instant) -> Wakers {
        let mut wakers = Vec::new();
        while let Some(first) = self.waiters.peek_mut() {
            let RateCall { cost, priority, .. } = first.call;
            let behind = self.backlog.total().saturating_sub(1);
            let Ok(reserved) = self.limits.try_reserve(&cost, behind, now) else {
                if !std::mem::replace(&mut first.is_first, true) {
                    wakers.extend(first.waker.take());
                }
                break;
            };
            self.backlog.remove(priority, &cost);
            let waiter = self.waiters.pop().expect("peeked above");
            waiter.state = RateWaiterState::Granted(reserved);
            wakers.extend(waiter.waker.take());
        }
        Wakers(wakers)
    }

    /// Grants reservations in turn after room was returned, which the first call in the queue did not expect.
    pub(super) fn grant_returned(&mut self, now: Instant) -> Wakers {
        if let Some(first) = self.waiters.peek_mut() {
            first.is_first = false;
        }
        self.grant_ready(now)
    }

    /// The cost of the calls that wait, and that of the first.
    pub(super) fn waiting(&mut self) -> WaitingCalls {
        let mut all = self.backlog.cost(Priority::Interactive);
        all.add(&self.backlog.cost(Priority::Batch));
        let first = self.waiters.peek_mut().map_or_else(CallCost::default, |first| first.call.cost);
        WaitingCalls { all, first }
    }

    /// When the first call in the queue will have room.
    pub(super) fn first_slot(&mut self, now: Instant) -> Option<Instant> {
        let first = self.waiters.peek_mut()?;
        let wait = self.limits.shortfall(&CallCost::default(), &first.call.cost, now).wait;
        Some(Deadline::after(wait, now).instant())
    }

    /// How much later the first call of this priority will have room than it expected.
    pub(super) fn lateness(&mut self, priority: Priority, now: Instant) -> Duration {
        let Some(first) = self.waiters.first_of(priority) else { return Duration::ZERO };
        let wait = self.limits.shortfall(&CallCost::default(), &first.call.cost, now).wait;
        Deadline::after(wait, now).instant().saturating_duration_since(first.slot)
    }

    /// Computes the slot of a waiting call anew.
    pub(super) fn find_slot(&mut self, ticket: &Ticket, lateness: Duration, now: Instant) -> Instant {
        let RateCall { cost, priority, .. } = self.waiters.get_mut(ticket).call;
        let mut own_ahead = self.backlog.cost(priority);
        own_ahead.subtract(&cost);
        self.waiters.for_each_behind(ticket, |behind| own_ahead.subtract(&behind.call.cost));
        let wait = self.limits.shortfall(&self.backlog.ahead_of(priority, own_ahead), &cost, now).wait;
        let waiter = self.waiters.get_mut(ticket);
        (waiter.slot, waiter.lateness) = (Deadline::after(wait, now).instant(), lateness);
        waiter.slot
    }

    /// The room that a call lacks behind the calls that are served before it.
    pub(super) fn shortfall(&self, call: &RateCall, now: Instant) -> Shortfall {
        self.limits.shortfall(&self.backlog.ahead_of(call.priority, self.own_ahead(call)), &call.cost, now)
    }

    /// Whether no call would be served before this arrival.
    pub(super) fn is_next(&self, call: &RateCall) -> bool {
        self.backlog.ahead_of(call.priority, self.own_ahead(call)) == CallCost::default()
    }

    /// The cost of the calls of the same priority that are served before this arrival.
    fn own_ahead(&self, call: &RateCall) -> CallCost {
        let mut ahead = self.backlog.cost(call.priority);
        self.waiters.passed_by(call.priority, call.flow).for_each(|passed| ahead.subtract(&passed.call.cost));
        ahead
    }

    /// Whether there is no room for a call, not even that of a call of another flow.
    pub(super) fn is_full(&self, call: &RateCall) -> bool {
        self.waiters.is_full(call.priority, call.flow)
    }

    /// Queues a call that expects room after `wait`; `None` if the queue of its priority is full. The calls that it passes
    /// expect room later.
    pub(super) fn enqueue(
        &mut self,
        call: RateCall,
        wait: Duration,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Option<Ticket> {
        let RateCall { cost, priority, flow } = call;
        let lateness = self.lateness(priority, now);
        let mut own_ahead = self.own_ahead(&call);
        let waiter = RateWaiter {
            call,
            state: RateWaiterState::Waiting,
            slot: Deadline::after(wait, now).instant(),
            lateness,
            is_first: false,
            waker: None,
        };
        let (ticket, displaced) = self.waiters.enqueue(priority, flow, waiter)?;
        if let Some(displaced) = displaced {
            displaced.state = RateWaiterState::Displaced;
            wakers.0.extend(displaced.waker.take());
            self.backlog.remove(priority, &displaced.call.cost);
        }
        self.backlog.push(priority, &cost);
        own_ahead.add(&cost);
        let Self { limits, backlog, waiters, .. } = self;
        waiters.for_each_behind(&ticket, |passed| {
            let wait = limits.shortfall(&backlog.ahead_of(priority, own_ahead), &passed.call.cost, now).wait;
            (passed.slot, passed.lateness) = (Deadline::after(wait, now).instant(), lateness);
            own_ahead.add(&passed.call.cost);
        });
        Some(ticket)
    }
}

/// How long a granted reservation waits for its call to be polled. A call that comes later reserves again.
pub(super) const GRANT_LIFETIME: Duration = Duration::from_millis(100);
