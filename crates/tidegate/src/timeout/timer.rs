use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed, clock};

/// The time of one attempt. Costs nothing until the first wait: only then the clock is read and a timer set.
#[derive(Debug, Default)]
pub(super) struct Timer {
    limit: Option<Duration>,
    deadline: Option<Deadline>,
    end: Option<End>,
    // Boxed, so that head and body can hand it on: one allocation for an attempt that has to wait.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Which clock will run out first, and when.
#[derive(Clone, Copy, Debug)]
struct End {
    at: Instant,
    elapsed: Elapsed,
}

impl Timer {
    pub(super) fn new(limit: Option<Duration>, deadline: Option<Deadline>) -> Self {
        Self { limit, deadline, ..Self::default() }
    }

    /// Whether there is a clock at all.
    fn is_set(&self) -> bool {
        self.limit.is_some() || self.deadline.is_some()
    }

    /// Asks whether the time has run out; to be called when there is nothing else to do.
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        if !self.is_set() {
            return Poll::Pending;
        }
        let end = *self.end.get_or_insert_with(|| End::first(self.limit, self.deadline, clock::now()));
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end.at.into())));
        sleep.as_mut().poll(cx).map(|()| end.elapsed)
    }
}

impl End {
    fn first(limit: Option<Duration>, deadline: Option<Deadline>, now: Instant) -> Self {
        let attempt = Deadline::after(limit.unwrap_or(Duration::MAX), now);
        match (deadline, limit) {
            (Some(deadline), _) if deadline < attempt => {
                let left = deadline.remaining(now);
                Self { at: deadline.instant(), elapsed: Elapsed::new(Clock::Deadline, left) }
            }
            (_, limit) => {
                let elapsed = Elapsed::new(Clock::Attempt, limit.unwrap_or_default());
                Self { at: attempt.instant(), elapsed }
            }
        }
    }
}
