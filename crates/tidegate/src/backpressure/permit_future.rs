use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;
use http_body::Body;
use tokio::time::Sleep;

use super::Handle;
use super::gate::WaitDeadline;
use super::permit::Permit;
use crate::attempt::QueuedAttempt;
use crate::priority_semaphore::Ticket;
use crate::{Rejection, clock};

/// A queued call: waits for a permit until its wait deadline. Dropping it leaves the queue.
#[derive(Debug)]
pub struct PermitFuture {
    limit: Handle,
    ticket: Option<Ticket>,
    deadline: WaitDeadline,
    // Created at the first poll, because a runtime is guaranteed only there.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl PermitFuture {
    pub(super) const fn new(limit: Handle, ticket: Ticket, deadline: WaitDeadline) -> Self {
        Self { limit, ticket: Some(ticket), deadline, sleep: None }
    }

    /// Ready once the permit is acquired, or with the rejection when the wait is over.
    fn poll_acquired(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        let semaphore = &self.limit.0.semaphore;
        let ticket = self.ticket.as_ref().expect("polled after completion");
        if semaphore.poll_granted(ticket, cx.waker()).is_ready() {
            semaphore.accept(self.ticket.take().expect("checked above"));
            return Poll::Ready(Ok(()));
        }
        let deadline = self.deadline;
        let new_sleep = || Box::pin(tokio::time::sleep_until(deadline.instant().into()));
        let sleep = self.sleep.get_or_insert_with(new_sleep);
        loop {
            ready!(sleep.as_mut().poll(cx));
            // A timer may fire slightly early; it is then reset.
            if let Some(rejection) = deadline.rejection_at(clock::now()) {
                semaphore.cancel(self.ticket.take().expect("checked above"));
                return Poll::Ready(Err(rejection));
            }
            sleep.set(tokio::time::sleep_until(deadline.instant().into()));
        }
    }
}

impl QueuedAttempt for PermitFuture {
    type Guard = Permit;

    fn poll_admitted<B: Body + 'static>(
        &mut self,
        request: &mut Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit, Rejection>> {
        let acquired = ready!(self.poll_acquired(cx));
        Poll::Ready(acquired.map(|()| Permit::start(self.limit.clone(), request.body())))
    }
}

impl Drop for PermitFuture {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.limit.0.semaphore.cancel(ticket);
        }
    }
}
