use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

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
