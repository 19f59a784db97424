use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::timer::LazySleep;
use crate::{Deadline, Elapsed, clock};

/// Cancels a target that does not enforce the deadline of the call by itself.
///
/// It fires one timer tick after the deadline: the error of a target that does enforce it is more
/// informative, and its gates record the outcome.
#[derive(Debug)]
pub(super) struct DeadlineGuard {
    pub(super) deadline: Option<Deadline>,
    /// When the target was called.
    started: Option<Instant>,
    sleep: LazySleep,
}

/// The resolution of the timer.
pub(super) const TICK: Duration = Duration::from_millis(1);

impl DeadlineGuard {
    pub(super) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, started: None, sleep: LazySleep::default() }
    }

    /// Starts the attempt at `now`.
    pub(super) fn start_attempt(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The same guard with another deadline: that of the response body.
    pub(super) fn with_deadline(self, deadline: Option<Deadline>) -> Self {
        Self { deadline, ..self }
    }

    /// Completes once the deadline has passed. Starts the timer, so it is only polled when nothing else is
    /// ready.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        ready!(self.sleep.poll_until(clock::after(TICK, deadline.instant()), cx));
        Poll::Ready(Elapsed::of_deadline(deadline, self.started.unwrap_or(deadline.instant())))
    }
}
