use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::Sleep;

use super::bulkhead::Bulkhead;
use super::gate::WaitDeadline;
use super::permit::Permit;
use crate::priority_semaphore::Ticket;
use crate::{Rejection, clock};

/// A queued call: waits for a permit until its wait deadline. It does not allocate.
#[pin_project]
pub(super) struct PermitFuture {
    ticket: Option<TicketGuard>,
    deadline: WaitDeadline,
    // Created at the first poll, because a runtime is guaranteed only there.
    #[pin]
    sleep: Option<Sleep>,
}

/// A place in the queue, which is cancelled on drop.
struct TicketGuard {
    bulkhead: Arc<Bulkhead>,
    ticket: Option<Ticket>,
}

impl PermitFuture {
    pub(super) fn new(bulkhead: Arc<Bulkhead>, ticket: Ticket, deadline: WaitDeadline) -> Self {
        Self { ticket: Some(TicketGuard { bulkhead, ticket: Some(ticket) }), deadline, sleep: None }
    }
}

impl Future for PermitFuture {
    type Output = Result<Permit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ticket = this.ticket.as_mut().expect("polled after completion");
        if let Poll::Ready(permit) = ticket.poll(cx) {
            return Poll::Ready(Ok(permit));
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(tokio::time::sleep_until(this.deadline.instant().into())));
        }
        loop {
            ready!(this.sleep.as_mut().as_pin_mut().expect("set above").poll(cx));
            // A timer may fire slightly early; it is then reset.
            if let Some(rejection) = this.deadline.rejection_at(clock::now()) {
                *this.ticket = None;
                return Poll::Ready(Err(rejection));
            }
            this.sleep.set(Some(tokio::time::sleep_until(this.deadline.instant().into())));
        }
    }
}

impl TicketGuard {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Permit> {
        let ticket = self.ticket.as_ref().expect("polled after completion");
        ready!(self.bulkhead.semaphore.poll_granted(ticket, cx.waker()));
        self.bulkhead.semaphore.accept(self.ticket.take().expect("checked above"));
        Poll::Ready(Permit::holding(Arc::clone(&self.bulkhead)))
    }
}

impl Drop for TicketGuard {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.bulkhead.semaphore.cancel(ticket);
        }
    }
}
