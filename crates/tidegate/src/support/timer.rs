use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use crate::rejected::deadline_passed;
use crate::{Deadline, Rejection};

/// A timer that is created when it is first polled.
// Boxed: one allocation for a call that has to wait, and nothing to pin for the others.
#[derive(Debug, Default)]
pub(crate) struct LazySleep(Option<Pin<Box<Sleep>>>);

impl LazySleep {
    /// Completes once `instant` has passed. To be polled only when nothing else is ready, because it creates
    /// the timer; another instant than before moves the timer.
    pub(crate) fn poll_until(&mut self, instant: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let instant = instant.into();
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(instant)));
        if sleep.deadline() != instant {
            sleep.as_mut().reset(instant);
        }
        sleep.as_mut().poll(cx)
    }
}

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

    /// The rejection, if the deadline has passed at `now`.
    pub(crate) fn passed(&self, now: Instant) -> Option<Rejection> {
        self.deadline.filter(|deadline| deadline.is_past(now)).map(|_| deadline_passed())
    }

    /// Ready with a rejection once the deadline has passed. To be polled only when nothing else is ready.
    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        self.sleep.poll_until(deadline.instant(), cx).map(|()| deadline_passed())
    }
}
