use std::future::poll_fn;

use crate::Priority;
use crate::priority_semaphore::{Order, PrioritySemaphore, Ticket, TryAcquire};

/// The head of the queue: one call at a time holds it and sleeps until there is room. It is granted first
/// come, first served within each priority.
#[derive(Debug)]
pub(super) struct QueueHead(PrioritySemaphore);

/// Holds the head of the queue or waits for it. Dropping it passes the head to the next call.
pub(super) struct QueueHeadGuard<'a> {
    head: &'a QueueHead,
    /// The ticket in the semaphore's queue, until the head is granted.
    ticket: Option<Ticket>,
}

impl QueueHead {
    /// Creates a queue in which at most `max` calls of each priority wait.
    pub(super) fn new(max: usize) -> Self {
        Self(PrioritySemaphore::new(1, max, Order::Fifo))
    }

    /// Waits for the head of the queue. Returns `None` if the queue is full.
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
