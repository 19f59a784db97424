use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http_body::Body;

use super::Handle;
use super::permit::Permit;
use super::rejections::{queue_is_full, queue_timeout};
use super::wait_deadline::WaitDeadline;
use crate::attempt::QueuedAttempt;
use crate::priority_semaphore::{Flow, SWEEP_INTERVAL, Ticket, TryAcquire};
use crate::timer::LazySleep;
use crate::{Deadline, Priority, Rejection, clock};

/// A queued call: waits for a permit until its wait deadline. Dropping it leaves the queue.
#[derive(Debug)]
pub struct PendingPermit {
    limit: Handle,
    flow: Flow,
    ticket: Option<Ticket>,
    deadline: WaitDeadline,
    sleep: LazySleep,
}

impl PendingPermit {
    pub(super) fn new(limit: Handle, flow: Flow, ticket: Ticket, deadline: WaitDeadline) -> Self {
        Self { limit, flow, ticket: Some(ticket), deadline, sleep: LazySleep::default() }
    }

    /// Ends the wait after `left` at the latest, which earlier waits of the attempt have left.
    pub(crate) fn end_after(&mut self, left: Option<Duration>) {
        let left = left.map(|left| Deadline::after(left, clock::now()));
        self.deadline.queue = left.map_or(self.deadline.queue, |left| left.min(self.deadline.queue));
    }

    /// How much longer the call could have waited.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.queue.remaining(clock::now())
    }

    /// Ready once the permit is acquired, or with the rejection when the wait is over.
    fn poll_acquired(&mut self, priority: Priority, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        let semaphore = &self.limit.0.semaphore;
        loop {
            let now = clock::now();
            self.deadline.answer_time = self.limit.0.answer_time(now);
            let until = self.deadline.instant();
            let ticket = self.ticket.as_ref().expect("polled after completion");
            if semaphore.poll_granted(ticket, cx.waker()).is_ready() {
                if semaphore.accept(self.ticket.take().expect("checked above")) {
                    if self.deadline.is_too_late(now) {
                        semaphore.release();
                        return Poll::Ready(Err(queue_timeout()));
                    }
                    return Poll::Ready(Ok(()));
                }
                // This call was polled too late or displaced, and joins the queue again.
                if let Some(rejection) = self.deadline.rejection_at(now) {
                    return Poll::Ready(Err(rejection));
                }
                match semaphore.try_acquire_or_enqueue(priority, self.flow, until) {
                    TryAcquire::Acquired => return Poll::Ready(Ok(())),
                    TryAcquire::Queued(ticket) => self.ticket = Some(ticket),
                    TryAcquire::QueueFull => return Poll::Ready(Err(queue_is_full())),
                }
                continue;
            }
            if let Some(rejection) = self.deadline.rejection_at(now) {
                semaphore.cancel(self.ticket.take().expect("checked above"));
                return Poll::Ready(Err(rejection));
            }
            semaphore.sweep(now);
            ready!(self.sleep.poll_until(until.min(now + SWEEP_INTERVAL), cx));
        }
    }
}

impl QueuedAttempt for PendingPermit {
    type Guard = Permit;

    fn poll_admitted<B: Body + 'static>(
        &mut self,
        request: &mut Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit, Rejection>> {
        let acquired = ready!(self.poll_acquired(Priority::of(request.extensions()), cx));
        Poll::Ready(acquired.map(|()| Permit::start_queued(self.limit.clone(), request.body())))
    }
}

impl Drop for PendingPermit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.limit.0.semaphore.cancel(ticket);
        }
    }
}
