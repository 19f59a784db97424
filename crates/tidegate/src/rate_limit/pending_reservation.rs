use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Request;
use http_body::Body;

use super::cost::{CallCost, Reserved};
use super::handle::Handle;
use super::queue::{GRANT_LIFETIME, RateCall, RateQueue, RateWaiter, RateWaiterState};
use super::quota_set::Shortfall;
use super::rejections::{past_deadline, rejected_because, too_many_waiting};
use super::reservation::Reservation;
use super::settings::OnLimit;
use crate::attempt::QueuedAttempt;
use crate::priority_semaphore::Ticket;
use crate::timer::LazySleep;
use crate::{Deadline, Rejection, RejectionReason, clock};

/// A call that waits for room. Dropping it leaves the queue, and refunds a reservation that was granted
/// meanwhile.
#[derive(Debug)]
pub struct PendingReservation {
    handle: Handle,
    ticket: Option<Ticket>,
    /// The quota that lacked room when the call arrived.
    quota: Option<&'static str>,
    max_wait: Deadline,
    deadline: Option<Deadline>,
    sleep: LazySleep,
}

/// The time in which the reply of a store, or its timeout, reaches a call on a busy machine.
const REPLY_GRACE: Duration = Duration::from_secs(1);

/// The shortest sleep between two looks at the queue.
const MIN_SLEEP: Duration = Duration::from_millis(1);

impl PendingReservation {
    pub(super) fn new(
        handle: Handle,
        ticket: Ticket,
        shortfall: &Shortfall,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Self {
        let max_wait = handle.0.settings().longest_wait();
        // The reply of a store is waited for in any case.
        let max_wait = if shortfall.is_pending {
            max_wait.max(shortfall.wait.saturating_add(REPLY_GRACE))
        } else {
            max_wait
        };
        let max_wait = Deadline::after(max_wait, now);
        let (ticket, quota, sleep) = (Some(ticket), shortfall.quota, LazySleep::default());
        Self { handle, ticket, quota, max_wait, deadline, sleep }
    }

    /// Ends the wait so early that `answer_time` is left until the deadline of the call.
    pub(crate) fn leave_time(&mut self, answer_time: Duration) {
        let now = clock::now();
        let left = |deadline: Deadline| deadline.remaining(now).saturating_sub(answer_time);
        self.deadline = self.deadline.map(|deadline| Deadline::after(left(deadline), now));
    }

    /// Ends the wait after `left` at the latest, which earlier waits of the attempt have left.
    pub(crate) fn end_after(&mut self, left: Option<Duration>) {
        let left = left.map(|left| Deadline::after(left, clock::now()));
        self.max_wait = left.map_or(self.max_wait, |left| left.min(self.max_wait));
    }

    /// How much longer the call could have waited.
    pub(crate) fn left(&self) -> Duration {
        self.max_wait.remaining(clock::now())
    }

    /// Ready with the reservation, or with the rejection when the time is up.
    fn poll_reserved(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reserved, Rejection>> {
        loop {
            let now = clock::now();
            let handle = self.handle.clone();
            let mut queue = handle.lock();
            queue.grant_ready(now);
            let ticket = self.ticket.take().expect("polled after completion");
            if let Some(wake_at) = self.next_look(&mut queue, &ticket, now) {
                let stale = queue.waiters.get_mut(&ticket).set_waker(cx.waker());
                self.ticket = Some(ticket);
                handle.request_exchange(&mut queue, now);
                drop(queue);
                // The last waker of a task may drop the task, and with it a call in this queue.
                drop(stale);
                // A timer may fire a little early, and a slot may have passed while an earlier call waits.
                ready!(self.sleep.poll_until(wake_at.max(now + MIN_SLEEP).min(self.until()), cx));
                continue;
            }
            // Its waker may be the last of a task that owns another call of this queue: it is dropped without
            // the lock.
            let waiter = queue.leave(ticket);
            let result = self.result(&mut queue, &waiter, now);
            queue.grant_returned(now);
            handle.request_exchange(&mut queue, now);
            drop(queue);
            drop(waiter);
            if let Some(result) = result {
                return Poll::Ready(result);
            }
        }
    }

    /// When the call looks at the queue again; `None` if it leaves the queue now.
    fn next_look(&self, queue: &mut RateQueue, ticket: &Ticket, now: Instant) -> Option<Instant> {
        let (first_slot, until) = (queue.first_slot(now), self.until());
        let &mut RateWaiter { call, slot, lateness: expected, is_first, ref state, .. } =
            queue.waiters.get_mut(ticket);
        if !matches!(state, RateWaiterState::Waiting) || now >= until || self.is_refused(queue, &call, now) {
            return None;
        }
        let lateness = queue.lateness(call.priority, now);
        let slot = match first_slot {
            Some(first) if is_first => first,
            // Grants wake the call; it need not look before the first one has room.
            Some(first) => clock::after(lateness.saturating_sub(expected), slot).max(first),
            None => slot,
        };
        // Calls before it may have left, and room may have been returned, since its slot was computed.
        let slot = if slot > until { queue.find_slot(ticket, lateness, now) } else { slot };
        (slot <= until).then_some(slot)
    }

    /// The result of a call that has left the queue; `None` if it has a new place.
    fn result(
        &mut self,
        queue: &mut RateQueue,
        waiter: &RateWaiter,
        now: Instant,
    ) -> Option<Result<Reserved, Rejection>> {
        let call = waiter.call;
        match waiter.state {
            RateWaiterState::Granted(reserved)
                if self.is_in_time(waiter.slot.min(reserved.at), now)
                    && now <= reserved.at + GRANT_LIFETIME =>
            {
                Some(Ok(reserved))
            }
            // The call comes so late that it would be sent on top of those that are sent now.
            RateWaiterState::Granted(lapsed) => {
                queue.limits.refund(&lapsed, now);
                self.reserve_again(queue, call, now)
            }
            RateWaiterState::Displaced => Some(Err(queue.shortfall(&call, now).annotate(too_many_waiting()))),
            RateWaiterState::Waiting => Some(Err(self.rejection(queue, &call, now))),
        }
    }

    /// Whether a call that waited for the reply of a store only has got it, and there is no room.
    fn is_refused(&self, queue: &RateQueue, call: &RateCall, now: Instant) -> bool {
        if !self.rejects_without_room() {
            return false;
        }
        let shortfall = queue.limits.shortfall(&CallCost::default(), &call.cost, now);
        !shortfall.is_pending && !shortfall.wait.is_zero()
    }

    fn rejects_without_room(&self) -> bool {
        self.handle.0.settings().on_limit == OnLimit::Reject
    }

    /// Replaces a reservation that lapsed and was refunded: a new one if there is room now, else a new place
    /// in the queue.
    fn reserve_again(
        &mut self,
        queue: &mut RateQueue,
        call: RateCall,
        now: Instant,
    ) -> Option<Result<Reserved, Rejection>> {
        if now >= self.until() {
            return Some(Err(self.rejection(queue, &call, now)));
        }
        let shortfall = match queue.backlog.total() {
            0 => match queue.limits.try_reserve(&call.cost, 0, now) {
                Ok(reserved) => return Some(Ok(reserved)),
                Err(shortfall) => shortfall,
            },
            _ => queue.shortfall(&call, now),
        };
        self.ticket = queue.enqueue(call, shortfall.wait, now);
        match self.ticket {
            Some(_) => None,
            None => Some(Err(shortfall.annotate(too_many_waiting()))),
        }
    }

    /// Whether a call that was granted at `now` is sent: before its deadline, and if its slot or its grant
    /// came within its longest wait. A timer fires a little late, which is not the fault of the call.
    fn is_in_time(&self, slot: Instant, now: Instant) -> bool {
        slot <= self.max_wait.instant() && !self.deadline.is_some_and(|deadline| deadline.is_past(now))
    }

    fn until(&self) -> Instant {
        self.deadline.map_or(self.max_wait, |deadline| deadline.min(self.max_wait)).instant()
    }

    /// The rejection of a call that has left the queue. It names the wait that the call would have if it
    /// arrived now; if there is room by now, it names the quota that the call waited for.
    fn rejection(&self, queue: &RateQueue, call: &RateCall, now: Instant) -> Rejection {
        let shortfall = match queue.shortfall(call, now) {
            shortfall if shortfall.wait.is_zero() => Shortfall { quota: self.quota, ..shortfall },
            shortfall => shortfall,
        };
        let rejection = match self.deadline {
            Some(deadline) if deadline < self.max_wait => past_deadline(),
            _ if self.rejects_without_room() => rejected_because(RejectionReason::RateLimitReached),
            _ => rejected_because(RejectionReason::MaxWaitExceeded),
        };
        shortfall.annotate(rejection)
    }
}

impl QueuedAttempt for PendingReservation {
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

impl Drop for PendingReservation {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = clock::now();
        let mut queue = self.handle.lock();
        let waiter = queue.leave(ticket);
        if let RateWaiterState::Granted(reserved) = &waiter.state {
            queue.limits.refund(reserved, now);
        }
        queue.grant_returned(now);
        self.handle.report_returned(&mut queue, now);
        drop(queue);
        drop(waiter);
    }
}
