use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed};

/// Cancels a target that does not enforce the deadline of the call by itself.
///
/// It fires one timer tick after the deadline: the error of a target that does enforce it is more
/// informative, and its gates record the outcome.
#[derive(Debug)]
pub(super) struct DeadlineGuard {
    deadline: Option<Deadline>,
    /// When the target was called.
    started: Option<Instant>,
    // Boxed: one allocation for a call that has to wait, and nothing to pin for the others.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The resolution of the timer.
pub(super) const TICK: Duration = Duration::from_millis(1);

impl DeadlineGuard {
    pub(super) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, started: None, sleep: None }
    }

    /// Starts the attempt at `now`.
    pub(super) fn start_attempt(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The same guard with another deadline: that of the response body.
    pub(super) fn with_deadline(self, deadline: Option<Deadline>) -> Self {
        Self { deadline, ..self }
    }

    /// Completes once the deadline has passed; to be polled when nothing else is ready.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let at = Deadline::after(TICK, deadline.instant()).instant().into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        ready!(sleep.as_mut().poll(cx));
        let limit = self.started.map(|started| deadline.remaining(started)).unwrap_or_default();
        Poll::Ready(Elapsed::new(Clock::Deadline, limit))
    }
}
