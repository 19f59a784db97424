use std::future::poll_fn;

use crate::Priority;
use crate::priority_semaphore::{Order, PrioritySemaphore, Ticket, TryAcquire};

/// The turn to sleep until there is room: one at a time has it, first come first served within each priority.
#[derive(Debug)]
pub(super) struct QueueHead(PrioritySemaphore);

/// Has the turn, or waits for it; dropped, it goes on to the next.
pub(super) struct QueueHeadGuard<'a> {
    head: &'a QueueHead,
    /// The place in the line, until the turn has come.
    ticket: Option<Ticket>,
}

impl QueueHead {
    /// At most `max` of each priority wait.
    pub(super) fn new(max: usize) -> Self {
        Self(PrioritySemaphore::new(1, max, Order::Fifo))
    }

    /// Waits for the turn; nothing, if as many wait as may.
    pub(super) async fn acquire(&self, priority: Priority) -> Option<QueueHeadGuard<'_>> {
        let mut guard = match self.0.try_acquire_or_enqueue(priority) {
            TryAcquire::Acquired => return Some(QueueHeadGuard { head: self, ticket: None }),
            TryAcquire::Queued(ticket) => QueueHeadGuard { head: self, ticket: Some(ticket) },
            TryAcquire::QueueFull => return None,
        };
        poll_fn(|cx| match &guard.ticket {
            Some(ticket) => self.0.poll_granted(ticket, cx.waker()),
            None => std::task::Poll::Ready(()),
        })
        .await;
        if let Some(ticket) = guard.ticket.take() {
            self.0.accept(ticket);
        }
        Some(guard)
    }
}

impl Drop for QueueHeadGuard<'_> {
    fn drop(&mut self) {
        match self.ticket.take() {
            Some(ticket) => self.head.0.cancel(ticket),
            None => self.head.0.release(),
        }
    }
}
