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

use super::backlog::Backlog;
use super::cost::{CallCost, Reserved};
use super::quota_set::QuotaSet;
use crate::priority_semaphore::{Order, Ticket, WaitQueue};
use crate::{Deadline, Priority};

/// The quotas of one gate and the calls that wait for them. It is read and changed under one lock, which is held for a
/// few dozen nanoseconds and never across a wait.
#[derive(Debug)]
pub(super) struct RateQueue {
    pub(super) limits: QuotaSet,
    pub(super) backlog: Backlog,
    pub(super) waiters: WaitQueue<RateWaiter>,
}

/// A call in the queue, or one that was granted its reservation and has not been polled since.
#[derive(Debug)]
pub(super) struct RateWaiter {
    pub(super) cost: CallCost,
    pub(super) priority: Priority,
    /// The instant at which there was going to be room when the call arrived.
    pub(super) slot: Instant,
    /// How late the queue was then. The slot takes it into account.
    pub(super) lateness: Duration,
    pub(super) granted: Option<Reserved>,
    /// It has been woken as the first in the queue, to sleep until it has room.
    pub(super) is_first: bool,
    pub(super) waker: Option<Waker>,
}

/// The wakers of calls that were granted a reservation or became the first in the queue, to be called without the lock.
#[must_use = "the calls wait until they are woken"]
#[derive(Default)]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl RateQueue {
    /// A queue of at most `max_waiting` calls of each priority.
    pub(super) fn new(limits: QuotaSet, max_waiting: usize) -> Self {
        Self { limits, backlog: Backlog::default(), waiters: WaitQueue::new(max_waiting, Order::Fifo) }
    }

    /// Grants a reservation to every call in turn, until one has no room.
    pub(super) fn grant_ready(&mut self, now: Instant) -> Wakers {
        let mut wakers = Vec::new();
        while let Some(first) = self.waiters.peek_mut() {
            let (cost, priority) = (first.cost, first.priority);
            let behind = self.backlog.total().saturating_sub(1);
            let Ok(reserved) = self.limits.try_reserve(&cost, behind, now) else {
                if !std::mem::replace(&mut first.is_first, true) {
                    wakers.extend(first.waker.take());
                }
                break;
            };
            self.backlog.remove(priority, &cost);
            let waiter = self.waiters.pop().expect("peeked above");
            waiter.granted = Some(reserved);
            wakers.extend(waiter.waker.take());
        }
        Wakers(wakers)
    }

    /// The same after room was returned, which the first call in the queue did not expect.
    pub(super) fn grant_returned(&mut self, now: Instant) -> Wakers {
        if let Some(first) = self.waiters.peek_mut() {
            first.is_first = false;
        }
        self.grant_ready(now)
    }

    /// When the first call in the queue will have room.
    pub(super) fn first_slot(&mut self, now: Instant) -> Option<Instant> {
        let first = self.waiters.peek_mut()?;
        let wait = self.limits.shortfall(&CallCost::default(), &first.cost, now).wait;
        Some(Deadline::after(wait, now).instant())
    }

    /// How much later the first call of this priority will have room than it expected.
    pub(super) fn lateness(&mut self, priority: Priority, now: Instant) -> Duration {
        let Some(first) = self.waiters.first_of(priority) else { return Duration::ZERO };
        let wait = self.limits.shortfall(&CallCost::default(), &first.cost, now).wait;
        Deadline::after(wait, now).instant().saturating_duration_since(first.slot)
    }

    /// Queues a call that expects room after `wait`; `None` if the queue of its priority is full.
    pub(super) fn enqueue(
        &mut self,
        cost: CallCost,
        priority: Priority,
        wait: Duration,
        now: Instant,
    ) -> Option<Ticket> {
        let lateness = self.lateness(priority, now);
        let slot = Deadline::after(wait, now).instant();
        let waiter =
            RateWaiter { cost, priority, slot, lateness, granted: None, is_first: false, waker: None };
        // All calls are one flow: the wait of each is the sum of those ahead, known when it arrives.
        let (ticket, _) = self.waiters.enqueue(priority, 0, waiter)?;
        self.backlog.push(priority, &cost);
        Some(ticket)
    }
}

/// How long a granted reservation waits for its call to be polled. A call that comes later reserves again.
pub(super) const GRANT_LIFETIME: Duration = Duration::from_millis(100);
