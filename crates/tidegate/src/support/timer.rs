use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use crate::rejected::deadline_passed;
use crate::{Deadline, Error};

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

    /// The result of what was polled, or a rejection if it is pending and the deadline has passed.
    pub(crate) fn bound<T>(
        &mut self,
        polled: Poll<Result<T, Error>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Error>> {
        let (Poll::Pending, Some(deadline)) = (&polled, self.deadline) else { return polled };
        self.sleep.poll_until(deadline.instant(), cx).map(|()| Err(deadline_passed().into()))
    }
}
