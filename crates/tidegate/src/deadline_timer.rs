use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use crate::{Deadline, ErrorCode, Gate, Rejection};

/// A timer for the deadline of a call, for waits inside of a layer: when it expires, the wait ends in a
/// rejection.
#[derive(Debug)]
pub(crate) struct DeadlineTimer {
    deadline: Option<Deadline>,
    // Boxed: one allocation for a call that has to wait, and no pinning for the others.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl DeadlineTimer {
    pub(crate) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, sleep: None }
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Whether the deadline has passed. Starts the timer, so it is only polled when nothing else is ready.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let at = deadline.instant().into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Rejection::new(Gate::Deadline, ErrorCode::Timeout))
    }
}
