use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Request;
use http_body::Body;
use tokio::time::Sleep;

use super::Handle;
use super::bulkhead::Bulkhead;
use super::gate::WaitDeadline;
use super::permit::Permit;
use crate::attempt::QueuedAttempt;
use crate::priority_semaphore::Ticket;
use crate::{Rejection, clock};

/// A queued call: waits for a permit until its wait deadline.
#[derive(Debug)]
pub struct PermitFuture {
    handle: Handle,
    ticket: Option<TicketGuard>,
    deadline: WaitDeadline,
    // Created at the first poll, because a runtime is guaranteed only there.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A place in the queue, which is cancelled on drop.
#[derive(Debug)]
struct TicketGuard {
    bulkhead: Arc<Bulkhead>,
    ticket: Option<Ticket>,
}

impl PermitFuture {
    pub(super) fn new(
        handle: Handle,
        bulkhead: Arc<Bulkhead>,
        ticket: Ticket,
        deadline: WaitDeadline,
    ) -> Self {
        let ticket = Some(TicketGuard { bulkhead, ticket: Some(ticket) });
        Self { handle, ticket, deadline, sleep: None }
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, Rejection>> {
        let ticket = self.ticket.as_mut().expect("polled after completion");
        if let Poll::Ready(permit) = ticket.poll(cx) {
            return Poll::Ready(Ok(permit));
        }
        let deadline = self.deadline;
        let new_sleep = || Box::pin(tokio::time::sleep_until(deadline.instant().into()));
        let sleep = self.sleep.get_or_insert_with(new_sleep);
        loop {
            ready!(sleep.as_mut().poll(cx));
            // A timer may fire slightly early; it is then reset.
            if let Some(rejection) = deadline.rejection_at(clock::now()) {
                self.ticket = None;
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
        let mut permit = ready!(self.poll_permit(cx));
        if let Ok(permit) = &mut permit {
            permit.start(&self.handle, request.body());
        }
        Poll::Ready(permit)
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
