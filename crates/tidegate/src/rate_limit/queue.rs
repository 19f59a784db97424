//! The queue of calls that wait for room in the quotas.
//!
//! Whoever looks at the queue grants in order: every waiting call that has room by now gets its reservation, also when
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
    /// Calls that had room by then have been granted it.
    granted_until: Instant,
}

/// A call in the queue, or one that was granted its reservation and has not been polled since.
#[derive(Debug)]
struct RateWaiter {
    cost: CallCost,
    priority: Priority,
    /// The instant at which there was going to be room when the call arrived.
    slot: Instant,
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
    pub(super) fn new(limits: QuotaSet, max_waiting: usize, now: Instant) -> Self {
        let waiters = WaitQueue::new(max_waiting, Order::Fifo);
        Self { limits, backlog: Backlog::default(), waiters, granted_until: now }
    }

    /// Grants a reservation to every call in turn, until one has no room by now. Each is granted as of the instant at which
    /// there was room, so that none of it is lost while nobody looked. Must be called before the quotas change.
    pub(super) fn grant_ready(&mut self, now: Instant) -> Wakers {
        let mut wakers = Vec::new();
        let mut at = self.granted_until.min(now);
        while let Some(first) = self.waiters.peek_mut() {
            let (cost, priority) = (first.cost, first.priority);
            let behind = self.backlog.total().saturating_sub(1);
            let wait = self.limits.shortfall(&CallCost::default(), &cost, at).wait;
            at = Deadline::after(wait, at).instant();
            let reserved = if at <= now { self.limits.try_reserve(&cost, behind, at).ok() } else { None };
            let Some(reserved) = reserved else {
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
        self.granted_until = now;
        Wakers(wakers)
    }

    /// The same after room was returned, which the first call in the queue did not expect.
    pub(super) fn grant_returned(&mut self, now: Instant) -> Wakers {
        if let Some(first) = self.waiters.peek_mut() {
            first.is_first = false;
        }
        self.grant_ready(now)
    }

    /// When the first call in the queue will have room, and how much later that is than it expected.
    fn first_slot(&mut self, now: Instant) -> Option<(Instant, Duration)> {
        let first = self.waiters.peek_mut()?;
        let wait = self.limits.shortfall(&CallCost::default(), &first.cost, now).wait;
        let slot = Deadline::after(wait, now).instant();
        Some((slot, slot.saturating_duration_since(first.slot)))
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
            None => {
                let slot = Deadline::after(shortfall.wait, now).instant();
                let waiter = RateWaiter { cost, priority, slot, granted: None, is_first: false, waker: None };
                queue.waiters.enqueue(priority, waiter)
            }
        };
        if ticket.is_some() {
            queue.backlog.push(priority, &cost);
            queue.granted_until = now;
        }
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
            let waiter = queue.waiters.get_mut(ticket);
            if let Some(reserved) = waiter.granted.take() {
                let ticket = self.ticket.take().expect("checked above");
                let waiter = queue.waiters.remove(ticket);
                let result = match now <= reserved.at + GRANT_LIFETIME {
                    true => Some(Ok(reserved)),
                    // The call comes so late that it would be sent on top of those that are sent now.
                    false => self.reserve_again(&mut queue, waiter, &reserved, now),
                };
                drop(queue);
                granted.wake();
                match result {
                    Some(result) => return Poll::Ready(result),
                    None => continue,
                }
            }
            let slot = match first_slot {
                Some((slot, _)) if waiter.is_first => slot,
                Some((_, delay)) => Deadline::after(delay, waiter.slot).instant(),
                None => waiter.slot,
            };
            if now >= until || slot > until {
                let ticket = self.ticket.take().expect("checked above");
                let rejection = self.reject(ticket, &mut queue, now);
                drop(queue);
                granted.wake();
                return Poll::Ready(Err(rejection));
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

    /// Replaces a reservation that lapsed: a new one if there is room now, else a new place in the queue.
    fn reserve_again(
        &mut self,
        queue: &mut RateQueue,
        waiter: RateWaiter,
        lapsed: &Reserved,
        now: Instant,
    ) -> Option<Result<Reserved, Rejection>> {
        queue.limits.refund(lapsed, now);
        let RateWaiter { cost, priority, .. } = waiter;
        let shortfall = match queue.backlog.total() {
            0 => match queue.limits.try_reserve(&cost, 0, now) {
                Ok(reserved) => return Some(Ok(reserved)),
                Err(shortfall) => shortfall,
            },
            _ => queue.limits.shortfall(&queue.backlog.ahead_of(priority), &cost, now),
        };
        let slot = Deadline::after(shortfall.wait, now).instant();
        let waiter = RateWaiter { cost, priority, slot, granted: None, is_first: false, waker: None };
        self.ticket = queue.waiters.enqueue(priority, waiter);
        if self.ticket.is_none() {
            return Some(Err(shortfall.annotate(too_many_waiting())));
        }
        queue.backlog.push(priority, &cost);
        queue.granted_until = now;
        None
    }

    fn until(&self) -> Instant {
        self.deadline.map_or(self.max_wait, |deadline| deadline.min(self.max_wait)).instant()
    }

    /// Leaves the queue. The rejection names the wait that the call would have if it arrived now; if there is room by
    /// now, it names the quota that the call waited for.
    fn reject(&self, ticket: Ticket, queue: &mut RateQueue, now: Instant) -> Rejection {
        let RateWaiter { cost, priority, .. } = queue.waiters.remove(ticket);
        queue.backlog.remove(priority, &cost);
        let shortfall = match queue.limits.shortfall(&queue.backlog.ahead_of(priority), &cost, now) {
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
const GRANT_LIFETIME: Duration = Duration::from_millis(100);

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
        let before = queue.grant_ready(now);
        let waiter = queue.waiters.remove(ticket);
        match &waiter.granted {
            Some(reserved) => queue.limits.refund(reserved, now),
            None => queue.backlog.remove(waiter.priority, &waiter.cost),
        }
        let granted = queue.grant_returned(now);
        drop(queue);
        before.wake();
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
