use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Extensions;
use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed, clock};

/// The timer of one attempt. It is started by the first poll that is pending; until then the clock is not read.
#[derive(Debug, Default)]
pub(crate) struct AttemptTimer {
    limit: Option<Duration>,
    deadline: Option<Deadline>,
    /// The deadline of the response body, if it differs.
    body_deadline: Option<Deadline>,
    since: Option<Instant>,
    // Boxed, so that it can move from the future to the body: one allocation for an attempt that is pending.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl AttemptTimer {
    /// The timer of an attempt of at most `limit`, with the deadlines of its request.
    pub(crate) fn new(limit: Option<Duration>, extensions: &Extensions) -> Self {
        let deadline = Deadline::of(extensions);
        let of_body = |earlier| Deadline::of_body(extensions).filter(|of_body| *of_body != earlier);
        Self { limit, deadline, body_deadline: deadline.and_then(of_body), since: None, sleep: None }
    }

    /// The timer for the body. The head has arrived, so no other target will be tried, and no time has to be reserved.
    pub(crate) fn for_body(mut self) -> Self {
        if let Some(deadline) = self.body_deadline.take() {
            self.deadline = Some(deadline);
        }
        self
    }

    /// Whether the attempt was pending before, so that polling the timer is cheap.
    pub(crate) fn is_running(&self) -> bool {
        self.sleep.is_some()
    }

    /// The end of the attempt and the error that it then fails with, if it has a limit or a deadline. Starts the timer.
    pub(crate) fn end(&mut self, now: Instant) -> Option<(Instant, Elapsed)> {
        if self.limit.is_none() && self.deadline.is_none() {
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let attempt = Deadline::after(self.limit.unwrap_or(Duration::MAX), since);
        Some(match self.deadline {
            Some(deadline) if deadline < attempt => {
                (deadline.instant(), Elapsed::new(Clock::Deadline, deadline.remaining(since)))
            }
            _ => (attempt.instant(), Elapsed::new(Clock::Attempt, self.limit.unwrap_or_default())),
        })
    }

    /// Whether the time has elapsed. Starts the timer, so it is only polled when the inner service or body is pending.
    pub(crate) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let now = self.since.unwrap_or_else(clock::now);
        let Some((end, elapsed)) = self.end(now) else { return Poll::Pending };
        let end = end.into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if sleep.deadline() != end {
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().poll(cx).map(|()| elapsed)
    }
}
