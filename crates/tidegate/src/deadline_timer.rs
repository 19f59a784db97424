use std::task::{Context, Poll};

use crate::lazy_sleep::LazySleep;
use crate::rejected::deadline_passed;
use crate::{Deadline, Rejection};

/// A timer for the deadline of a call, for waits inside of a layer: when it expires, the wait ends in a
/// rejection.
#[derive(Debug)]
pub(crate) struct DeadlineTimer {
    deadline: Option<Deadline>,
    sleep: LazySleep,
}

impl DeadlineTimer {
    pub(crate) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, sleep: LazySleep::default() }
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Whether the deadline has passed. Starts the timer, so it is only polled when nothing else is ready.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let expired = self.sleep.poll_until(deadline.instant(), cx);
        expired.map(|()| deadline_passed())
    }
}
