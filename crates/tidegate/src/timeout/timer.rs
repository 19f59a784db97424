use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project::pin_project;
use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed, clock};

/// The time of one attempt. Costs nothing until the first wait: only then the clock is read and a timer set.
#[derive(Debug, Default)]
pub(super) struct AttemptTimer {
    limit: Option<Duration>,
    deadline: Option<Deadline>,
    /// The one of the body of the answer, where that is another.
    body_deadline: Option<Deadline>,
    // Boxed, so that head and body can hand it on: one allocation for an attempt that has to wait.
    running: Option<Pin<Box<RunningTimer>>>,
}

/// The clock that will run out first.
#[pin_project]
#[derive(Debug)]
struct RunningTimer {
    since: Instant,
    #[pin]
    sleep: Sleep,
    elapsed: Elapsed,
}

impl AttemptTimer {
    pub(super) fn new(
        limit: Option<Duration>,
        deadline: Option<Deadline>,
        body_deadline: Option<Deadline>,
    ) -> Self {
        Self { limit, deadline, body_deadline, running: None }
    }

    /// The head of the answer is there: nobody else is asked, so that nothing has to be kept for that.
    pub(super) fn for_body(mut self) -> Self {
        let Some(deadline) = self.body_deadline.take() else { return self };
        self.deadline = Some(deadline);
        if let Some(running) = &mut self.running {
            let since = running.since;
            running.set(RunningTimer::earliest(self.limit, self.deadline, since));
        }
        self
    }

    /// Whether there is a clock at all.
    fn is_set(&self) -> bool {
        self.limit.is_some() || self.deadline.is_some()
    }

    /// Whether the attempt has had to wait before, so that asking is cheap.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Asks whether the time has run out; to be called when there is nothing else to do.
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        if !self.is_set() {
            return Poll::Pending;
        }
        let (limit, deadline) = (self.limit, self.deadline);
        let running =
            self.running.get_or_insert_with(|| Box::pin(RunningTimer::earliest(limit, deadline, clock::now())));
        let running = running.as_mut().project();
        running.sleep.poll(cx).map(|()| *running.elapsed)
    }
}

impl RunningTimer {
    fn earliest(limit: Option<Duration>, deadline: Option<Deadline>, now: Instant) -> Self {
        let attempt = Deadline::after(limit.unwrap_or(Duration::MAX), now);
        let (end, elapsed) = match deadline {
            Some(deadline) if deadline < attempt => {
                (deadline, Elapsed::new(Clock::Deadline, deadline.remaining(now)))
            }
            _ => (attempt, Elapsed::new(Clock::Attempt, limit.unwrap_or_default())),
        };
        Self { since: now, sleep: tokio::time::sleep_until(end.instant().into()), elapsed }
    }
}
