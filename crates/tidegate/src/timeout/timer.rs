use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project::pin_project;
use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed, clock};

/// The timer of one attempt. It is started by the first poll that is pending; until then the clock is not
/// read.
#[derive(Debug, Default)]
pub(super) struct AttemptTimer {
    limit: Option<Duration>,
    deadline: Option<Deadline>,
    /// The deadline of the response body, if it differs.
    body_deadline: Option<Deadline>,
    // Boxed, so that it can move from the future to the body: one allocation for an attempt that is pending.
    running: Option<Pin<Box<RunningTimer>>>,
}

/// A timer for the earlier of the attempt limit and the deadline.
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

    /// The timer for the body. The head has arrived, so no other target will be tried, and no time has to be
    /// reserved.
    pub(super) fn for_body(mut self) -> Self {
        let Some(deadline) = self.body_deadline.take() else { return self };
        self.deadline = Some(deadline);
        if let Some(running) = &mut self.running {
            let since = running.since;
            running.set(RunningTimer::earliest(self.limit, self.deadline, since));
        }
        self
    }

    /// Whether the attempt has a limit or a deadline.
    fn is_set(&self) -> bool {
        self.limit.is_some() || self.deadline.is_some()
    }

    /// Whether the attempt was pending before, so that polling the timer is cheap.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the time has elapsed. Starts the timer, so it is only polled when the inner service or body is
    /// pending.
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        if !self.is_set() {
            return Poll::Pending;
        }
        let (limit, deadline) = (self.limit, self.deadline);
        let running = self
            .running
            .get_or_insert_with(|| Box::pin(RunningTimer::earliest(limit, deadline, clock::now())));
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
