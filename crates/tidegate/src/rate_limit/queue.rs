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

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use http::{Extensions, Request};
use http_body::Body;
use tokio::time::Sleep;

use super::backlog::Backlog;
use super::handle::Handle;
use super::quota::CallCost;
use super::quota_set::{QuotaSet, Reserved, Shortfall};
use super::reservation::Reservation;
use super::settings::{OnLimit, Settings};
use crate::attempt::QueuedAttempt;
use crate::priority_semaphore::{Order, Ticket, WaitQueue};
use crate::{Deadline, ErrorCode, Gate, Priority, Rejection, RejectionReason, clock};

/// The quotas of one gate and the calls that wait for them. It is read and changed under one lock, which is held for a
/// few dozen nanoseconds and never across a wait.
#[derive(Debug)]
pub(super) struct RateQueue {
    pub(super) limits: QuotaSet,
    pub(super) backlog: Backlog,
    waiters: WaitQueue<RateWaiter>,
}

/// A call in the queue, or one that was granted its reservation and has not been polled since.
#[derive(Debug)]
struct RateWaiter {
    cost: CallCost,
    priority: Priority,
    /// The instant at which there was going to be room when the call arrived.
    slot: Instant,
    /// How late the queue was then. The slot takes it into account.
    lateness: Duration,
    granted: Option<Reserved>,
    /// It has been woken as the first in the queue, to sleep until it has room.
    is_first: bool,
    waker: Option<Waker>,
}

/// The decision on a new call.
pub(super) enum RateDecision {
    Admitted(Reserved),
    Queued(QueuedCall),
    Rejected(Rejection),
}

/// A call that waits for room. Dropping it leaves the queue, and refunds a reservation that was granted meanwhile.
#[derive(Debug)]
pub struct QueuedCall {
    handle: Handle,
    ticket: Option<Ticket>,
    /// The quota that lacked room when the call arrived.
    quota: Option<&'static str>,
    max_wait: Deadline,
    deadline: Option<Deadline>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The wakers of calls that were granted a reservation or became the first in the queue, to be called without the lock.
#[must_use = "the calls wait until they are woken"]
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
    fn first_slot(&mut self, now: Instant) -> Option<Instant> {
        let first = self.waiters.peek_mut()?;
        let wait = self.limits.shortfall(&CallCost::default(), &first.cost, now).wait;
        Some(Deadline::after(wait, now).instant())
    }

    /// How much later the first call of this priority will have room than it expected.
    fn lateness(&mut self, priority: Priority, now: Instant) -> Duration {
        let Some(first) = self.waiters.first_of(priority) else { return Duration::ZERO };
        let wait = self.limits.shortfall(&CallCost::default(), &first.cost, now).wait;
        Deadline::after(wait, now).instant().saturating_duration_since(first.slot)
    }

    /// Queues a call that expects room after `wait`; `None` if the queue of its priority is full.
    fn enqueue(
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
        let ticket = self.waiters.enqueue(priority, waiter)?;
        self.backlog.push(priority, &cost);
        Some(ticket)
    }
}

impl Handle {
    /// Reserves room for a call, queues it, or rejects it.
    pub(super) fn reserve(&self, cost: CallCost, extensions: &Extensions) -> RateDecision {
        let (now, priority) = (clock::now(), Priority::of(extensions));
        let mut queue = self.lock();
        let granted = match queue.backlog.total() {
            0 => Wakers(Vec::new()),
            _ => queue.grant_ready(now),
        };
        let shortfall = match queue.backlog.total() {
            0 => match queue.limits.try_reserve(&cost, 0, now) {
                Ok(reserved) => {
                    drop(queue);
                    granted.wake();
                    return RateDecision::Admitted(reserved);
                }
                Err(shortfall) => shortfall,
            },
            // Waiting calls come first, even if there is room for this one.
            _ => queue.limits.shortfall(&queue.backlog.ahead_of(priority), &cost, now),
        };
        let (settings, deadline) = (self.0.settings(), Deadline::of(extensions));
        let rejection = settings.reject_early(queue.backlog.count(priority), &shortfall, deadline, now);
        let ticket = match &rejection {
            Some(_) => None,
            None => queue.enqueue(cost, priority, shortfall.wait, now),
        };
        drop(queue);
        granted.wake();
        match (ticket, rejection) {
            (Some(ticket), _) => RateDecision::Queued(QueuedCall {
                handle: Self(self.0.to_hold()),
                ticket: Some(ticket),
                quota: shortfall.quota,
                max_wait: Deadline::after(settings.max_wait, now),
                deadline,
                sleep: None,
            }),
            (None, Some(rejection)) => RateDecision::Rejected(rejection),
            (None, None) => RateDecision::Rejected(shortfall.annotate(too_many_waiting())),
        }
    }
}

impl QueuedCall {
    /// Ready with the reservation, or with the rejection when the time is up.
    fn poll_reserved(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reserved, Rejection>> {
        loop {
            let now = clock::now();
            let handle = self.handle.clone();
            let mut queue = handle.lock();
            let granted = queue.grant_ready(now);
            let ticket = self.ticket.as_ref().expect("polled after completion");
            let (first_slot, until) = (queue.first_slot(now), self.until());
            let priority = queue.waiters.get_mut(ticket).priority;
            let lateness = queue.lateness(priority, now);
            let waiter = queue.waiters.get_mut(ticket);
            let late = lateness.saturating_sub(waiter.lateness);
            let slot = match first_slot {
                Some(slot) if waiter.is_first => slot,
                // Grants wake the call; it need not look before the first one has room.
                Some(first) => Deadline::after(late, waiter.slot).instant().max(first),
                None => waiter.slot,
            };
            let granted_now = waiter.granted.take();
            if granted_now.is_some() || now >= until || slot > until {
                let ticket = self.ticket.take().expect("checked above");
                // Its waker may be the last of a task that owns another call of this queue: it is dropped without the lock.
                let waiter = queue.waiters.remove(ticket);
                let result = match granted_now {
                    Some(reserved) if now < until && now <= reserved.at + GRANT_LIFETIME => {
                        Some(Ok(reserved))
                    }
                    // The call comes so late that it would be sent on top of those that are sent now.
                    Some(lapsed) => {
                        queue.limits.refund(&lapsed, now);
                        self.reserve_again(&mut queue, &waiter, until, now)
                    }
                    None => {
                        queue.backlog.remove(waiter.priority, &waiter.cost);
                        Some(Err(self.rejection(&mut queue, &waiter, now)))
                    }
                };
                let freed = queue.grant_returned(now);
                drop(queue);
                drop(waiter);
                granted.wake();
                freed.wake();
                match result {
                    Some(result) => return Poll::Ready(result),
                    None => continue,
                }
            }
            let stale = match &waiter.waker {
                Some(stored) if stored.will_wake(cx.waker()) => None,
                _ => waiter.waker.replace(cx.waker().clone()),
            };
            drop(queue);
            // The last waker of a task may drop the task, and with it a call in this queue.
            drop(stale);
            granted.wake();
            // A timer may fire a little early, and a slot may have passed while an earlier call waits.
            let wake_at = slot.max(now + MIN_SLEEP).min(until).into();
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wake_at)));
            if sleep.deadline() != wake_at {
                sleep.as_mut().reset(wake_at);
            }
            ready!(sleep.as_mut().poll(cx));
        }
    }

    /// Replaces a reservation that lapsed and was refunded: a new one if there is room now, else a new place in the queue.
    fn reserve_again(
        &mut self,
        queue: &mut RateQueue,
        waiter: &RateWaiter,
        until: Instant,
        now: Instant,
    ) -> Option<Result<Reserved, Rejection>> {
        if now >= until {
            return Some(Err(self.rejection(queue, waiter, now)));
        }
        let RateWaiter { cost, priority, .. } = *waiter;
        let shortfall = match queue.backlog.total() {
            0 => match queue.limits.try_reserve(&cost, 0, now) {
                Ok(reserved) => return Some(Ok(reserved)),
                Err(shortfall) => shortfall,
            },
            _ => queue.limits.shortfall(&queue.backlog.ahead_of(priority), &cost, now),
        };
        self.ticket = queue.enqueue(cost, priority, shortfall.wait, now);
        match self.ticket {
            Some(_) => None,
            None => Some(Err(shortfall.annotate(too_many_waiting()))),
        }
    }

    fn until(&self) -> Instant {
        self.deadline.map_or(self.max_wait, |deadline| deadline.min(self.max_wait)).instant()
    }

    /// The rejection of a call that has left the queue. It names the wait that the call would have if it arrived now; if
    /// there is room by now, it names the quota that the call waited for.
    fn rejection(&self, queue: &mut RateQueue, waiter: &RateWaiter, now: Instant) -> Rejection {
        let RateWaiter { cost, priority, .. } = waiter;
        let shortfall = match queue.limits.shortfall(&queue.backlog.ahead_of(*priority), cost, now) {
            shortfall if shortfall.wait.is_zero() => Shortfall { quota: self.quota, ..shortfall },
            shortfall => shortfall,
        };
        let rejection = match self.deadline {
            Some(deadline) if deadline < self.max_wait => past_deadline(),
            _ => rejected_because(RejectionReason::MaxWaitExceeded),
        };
        shortfall.annotate(rejection)
    }
}

/// How long a granted reservation waits for its call to be polled. A call that comes later reserves again.
pub(super) const GRANT_LIFETIME: Duration = Duration::from_millis(100);

/// The shortest sleep between two looks at the queue.
const MIN_SLEEP: Duration = Duration::from_millis(1);

impl QueuedAttempt for QueuedCall {
    type Guard = Option<Reservation>;

    fn poll_admitted<B: Body + 'static>(
        &mut self,
        request: &mut Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Reservation>, Rejection>> {
        let reserved = ready!(self.poll_reserved(cx));
        Poll::Ready(reserved.map(|reserved| Some(Reservation::new(self.handle.clone(), reserved, request))))
    }
}

impl Drop for QueuedCall {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = clock::now();
        let mut queue = self.handle.lock();
        let waiter = queue.waiters.remove(ticket);
        match &waiter.granted {
            Some(reserved) => queue.limits.refund(reserved, now),
            None => queue.backlog.remove(waiter.priority, &waiter.cost),
        }
        let granted = queue.grant_returned(now);
        drop(queue);
        granted.wake();
    }
}

impl Settings {
    /// The rejection of a call if its wait would be in vain. `shortfall` is the room that it lacks; `waiting` calls of its
    /// priority are already in the queue.
    pub(super) fn reject_early(
        &self,
        waiting: usize,
        shortfall: &Shortfall,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Option<Rejection> {
        let rejection = if self.on_limit == OnLimit::Reject {
            rejected_because(RejectionReason::RateLimitReached)
        } else if shortfall.wait > self.max_wait {
            rejected_because(RejectionReason::MaxWaitExceeded)
        } else if waiting >= self.max_waiting {
            too_many_waiting()
        } else if deadline.is_some_and(|deadline| !deadline.allows(shortfall.wait, now)) {
            past_deadline()
        } else {
            return None;
        };
        Some(shortfall.annotate(rejection))
    }
}

fn past_deadline() -> Rejection {
    Rejection::new(Gate::Deadline, ErrorCode::Timeout).because(RejectionReason::RateLimitPastDeadline)
}

fn too_many_waiting() -> Rejection {
    rejected_because(RejectionReason::RateQueueFull)
}

fn rejected_because(reason: RejectionReason) -> Rejection {
    Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).because(reason)
}
