//! The queue of calls that wait for room in the quotas.
//!
//! Every access to the queue grants in order: every waiting call that has room by now gets its reservation,
//! also when its future is not polled at that moment, and the next one is considered. A future that is kept
//! without being polled therefore delays no other call. The first call in the queue sleeps until it has room;
//! each of the others until its own slot, so that they wake one after the other.
//!
//! The priorities and the tenants share the quotas by what their calls cost, and not by the number of calls.
//! A call costs the time in which the quotas that are short refill it, and where several are short, the
//! longest: the dominant resource (Ghodsi, Sekar, Zaharia and Stoica, "Multi-Resource Fair Queueing for
//! Packet Processing", SIGCOMM 2012). While a large batch call waits, interactive calls pass it and leave
//! room for the part of it that is due by then. It has room when its turn comes, and no interactive call
//! waits while the whole of it refills.
//!
//! ```text
//!           no room                 its slot comes, or a call ends, or another call looks
//!   enter ───────────▶ queued ─────────────────────────────────────────────────────────▶ granted ──▶ admitted
//!                        │                                                                  │
//!                        └─ time is up ─▶ rejected                                          └─ dropped ─▶ refunded
//! ```

mod backlog;
mod concurrent_queue;
mod thread_credits;
mod unsent;

use std::task::Waker;
use std::time::{Duration, Instant};

use http::Extensions;

pub(super) use self::concurrent_queue::{ConcurrentQueue, LockedQueue};
pub(super) use self::thread_credits::UsedCredit;
pub(crate) use self::unsent::UnsentReservation;

use self::backlog::{Backlog, QueuedCost};
use self::thread_credits::CreditBook;
use self::unsent::UnsentReservations;
use super::cost::{CallCost, Reserved};
use super::quota::DAY;
use super::quota_set::{QuotaSet, Shortfall};
use super::shared::WaitingCalls;
use crate::Priority;
use crate::clock;
use crate::priority_semaphore::{Arrival, Flow, Order, Ticket, WaitQueue};

/// The quotas of one gate and the calls that wait for them. It is read and changed under one lock, which is
/// held for a few dozen nanoseconds and never across a wait.
#[derive(Debug)]
pub(crate) struct RateQueue {
    pub(super) limits: QuotaSet,
    pub(super) credits: CreditBook,
    pub(super) backlog: Backlog,
    pub(super) waiters: WaitQueue<RateWaiter>,
    unsent: UnsentReservations,
    /// Of the calls that were granted a reservation, were displaced or became the first in the queue. They
    /// are woken when the lock is released.
    pub(super) wakers: Vec<Waker>,
}

/// A call in the queue, or one that has left it and has not been polled since.
#[derive(Debug)]
pub(super) struct RateWaiter {
    pub(super) call: RateCall,
    queued: QueuedCost,
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

impl RateWaiter {
    /// Replaces the waker, and returns the one before if it is another, to be dropped without the lock.
    pub(super) fn set_waker(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.waker {
            Some(stored) if stored.will_wake(waker) => None,
            _ => self.waker.replace(waker.clone()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum RateWaiterState {
    Waiting,
    Granted(Reserved),
    /// A call of another flow has taken its place in a full queue.
    Displaced,
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
            wakers: Vec::new(),
        }
    }

    /// Grants a reservation to every call in turn, until one has no room.
    pub(super) fn grant_ready(&mut self, now: Instant) {
        while let Some(RateCall { cost, priority, .. }) = self.waiters.peek_mut().map(|first| first.call) {
            let behind = self.backlog.total().saturating_sub(1);
            let needed = self.needed_by_first(priority);
            let has_room = needed == Some(cost) || needed.is_some_and(|it| self.limits.has_room(&it, now));
            let reserved = has_room.then(|| self.limits.try_reserve(&cost, behind, now)).and_then(Result::ok);
            let Some(reserved) = reserved else {
                let first = self.waiters.peek_mut().expect("peeked above");
                if !std::mem::replace(&mut first.is_first, true) {
                    self.wakers.extend(first.waker.take());
                }
                return;
            };
            let waiter = self.waiters.pop().expect("peeked above");
            self.backlog.remove(priority, &waiter.queued);
            waiter.state = RateWaiterState::Granted(reserved);
            self.wakers.extend(waiter.waker.take());
        }
    }

    /// The room that the first call of this priority needs: for its cost, and for the part of the first batch
    /// call that is due before it. The room in a shared quota cannot be kept.
    fn needed_by_first(&mut self, priority: Priority) -> Option<CallCost> {
        let RateWaiter { queued: QueuedCost { mut cost, refill }, .. } = *self.waiters.first_of(priority)?;
        if priority == Priority::Interactive && !self.limits.is_shared() {
            let due = self.waiters.shares().granted_before(priority, refill);
            let batch = self.waiters.first_of(Priority::Batch).map(|batch| batch.queued.part(due));
            cost.add(&batch.unwrap_or_default());
        }
        Some(cost)
    }

    /// Grants reservations in turn after room was returned, which the first call in the queue did not expect.
    pub(super) fn grant_returned(&mut self, now: Instant) {
        if let Some(first) = self.waiters.peek_mut() {
            first.is_first = false;
        }
        self.grant_ready(now);
    }

    /// The cost of the calls that wait, and that of the first.
    pub(super) fn waiting(&mut self) -> WaitingCalls {
        let first = self.waiters.peek_mut().map_or_else(CallCost::default, |first| first.call.cost);
        WaitingCalls { all: self.backlog.all(), first }
    }

    /// When the first call in the queue will have room.
    pub(super) fn first_slot(&mut self, now: Instant) -> Option<Instant> {
        let priority = self.waiters.peek_mut()?.call.priority;
        self.slot_of_first(priority, now)
    }

    /// How much later the first call of this priority will have room than it expected.
    pub(super) fn lateness(&mut self, priority: Priority, now: Instant) -> Duration {
        let (slot, first) = (self.slot_of_first(priority, now), self.waiters.first_of(priority));
        slot.zip(first).map_or(Duration::ZERO, |(slot, first)| slot.saturating_duration_since(first.slot))
    }

    /// When the first call of this priority will have room, if it is next.
    fn slot_of_first(&mut self, priority: Priority, now: Instant) -> Option<Instant> {
        let needed = self.needed_by_first(priority)?;
        let wait = self.limits.shortfall(&CallCost::default(), &needed, now).wait;
        Some(clock::after(wait, now))
    }

    /// Computes the slot of a waiting call anew.
    pub(super) fn find_slot(&mut self, ticket: &Ticket, lateness: Duration, now: Instant) -> Instant {
        let RateWaiter { call: RateCall { cost, priority, .. }, queued, .. } = *self.waiters.get_mut(ticket);
        let mut own = self.backlog.cost(priority);
        self.waiters.for_each_behind(ticket, |behind| own.subtract(&behind.queued));
        let ahead = self.backlog.ahead_of(priority, own, &queued, self.waiters.shares());
        let wait = self.limits.shortfall(&ahead, &cost, now).wait;
        let waiter = self.waiters.get_mut(ticket);
        (waiter.slot, waiter.lateness) = (clock::after(wait, now), lateness);
        waiter.slot
    }

    /// The room that a call lacks behind the calls that are served before it.
    pub(super) fn shortfall(&self, call: &RateCall, now: Instant) -> Shortfall {
        self.limits.shortfall(&self.ahead_of_arrival(call, now), &call.cost, now)
    }

    /// Whether no call would be served before this arrival.
    pub(super) fn is_next(&self, call: &RateCall, now: Instant) -> bool {
        self.ahead_of_arrival(call, now) == CallCost::default()
    }

    fn ahead_of_arrival(&self, call: &RateCall, now: Instant) -> CallCost {
        let queued = self.queued_cost(call, now);
        let mut own = self.own_ahead(call);
        own.add(&queued);
        self.backlog.ahead_of(call.priority, own, &queued, self.waiters.shares())
    }

    /// What an arrival costs if it waits behind all the calls that wait.
    fn queued_cost(&self, call: &RateCall, now: Instant) -> QueuedCost {
        let refill = self.limits.refill_time(&self.backlog.all(), &call.cost, now);
        let refill = refill.clamp(Duration::from_nanos(1), MAX_REFILL);
        QueuedCost { cost: call.cost, refill: u64::try_from(refill.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// The cost of the calls of the same priority that are served before this arrival.
    fn own_ahead(&self, call: &RateCall) -> QueuedCost {
        let mut ahead = self.backlog.cost(call.priority);
        self.waiters.passed_by(call.priority, call.flow).for_each(|passed| ahead.subtract(&passed.queued));
        ahead
    }

    /// Removes a call, which has no place in the queue from then on. A reservation that it was granted stays.
    pub(super) fn leave(&mut self, ticket: Ticket) -> RateWaiter {
        let waiter = self.waiters.remove(ticket);
        if let RateWaiterState::Waiting = waiter.state {
            self.backlog.remove(waiter.call.priority, &waiter.queued);
        }
        waiter
    }

    /// Whether there is no room for a call, not even that of a call of another flow.
    pub(super) fn is_full(&self, call: &RateCall) -> bool {
        self.waiters.is_full(call.priority, call.flow)
    }

    /// Queues a call that expects room after `wait`; `None` if the queue of its priority is full. The calls
    /// that it passes expect room later.
    pub(super) fn enqueue(&mut self, call: RateCall, wait: Duration, now: Instant) -> Option<Ticket> {
        let RateCall { priority, flow, .. } = call;
        let lateness = self.lateness(priority, now);
        let queued = self.queued_cost(&call, now);
        let mut own = self.own_ahead(&call);
        let waiter = RateWaiter {
            call,
            queued,
            state: RateWaiterState::Waiting,
            slot: clock::after(wait, now),
            lateness,
            is_first: false,
            waker: None,
        };
        let (ticket, displaced) = self.waiters.enqueue(priority, flow, queued.refill, waiter)?;
        if let Some(displaced) = displaced {
            displaced.state = RateWaiterState::Displaced;
            self.wakers.extend(displaced.waker.take());
            self.backlog.remove(priority, &displaced.queued);
        }
        self.backlog.push(priority, &queued);
        own.add(&queued);
        let Self { limits, backlog, waiters, .. } = self;
        let shares = waiters.shares();
        waiters.for_each_behind(&ticket, |passed| {
            own.add(&passed.queued);
            let ahead = backlog.ahead_of(priority, own, &passed.queued, shares);
            let wait = limits.shortfall(&ahead, &passed.call.cost, now).wait;
            (passed.slot, passed.lateness) = (clock::after(wait, now), lateness);
        });
        Some(ticket)
    }
}

/// The most that a call counts for in the order of the queue.
const MAX_REFILL: Duration = DAY;

/// How long a granted reservation waits for its call to be polled. A call that comes later reserves again.
pub(super) const GRANT_LIFETIME: Duration = Duration::from_millis(100);
