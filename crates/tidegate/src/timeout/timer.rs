use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Extensions;
use pin_project::pin_project;
use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed, clock};

/// The timer of one attempt. It is started by the first poll that is pending; until then the clock is not
/// read.
#[derive(Debug, Default)]
pub(crate) struct AttemptTimer {
    limit: Option<Duration>,
    // Boxed, so that it can move from the future to the body: one allocation for an attempt with a deadline,
    // or one that is pending.
    state: Option<Pin<Box<TimerState>>>,
}

#[pin_project]
#[derive(Debug, Default)]
struct TimerState {
    deadline: Option<Deadline>,
    /// The deadline of the response body, if it differs.
    body_deadline: Option<Deadline>,
    since: Option<Instant>,
    #[pin]
    sleep: Option<Sleep>,
}

impl AttemptTimer {
    /// The timer of an attempt of at most `limit`, with the deadlines of its request.
    pub(crate) fn new(limit: Option<Duration>, extensions: &Extensions) -> Self {
        let with_deadline = |deadline| {
            let body_deadline = Deadline::of_body(extensions).filter(|of_body| *of_body != deadline);
            Box::pin(TimerState { deadline: Some(deadline), body_deadline, ..TimerState::default() })
        };
        Self { limit, state: Deadline::of(extensions).map(with_deadline) }
    }

    /// The timer for the body. The head has arrived, so no other target will be tried, and no time has to be
    /// reserved.
    pub(crate) fn for_body(mut self) -> Self {
        if let Some(state) = &mut self.state {
            let state = state.as_mut().project();
            *state.deadline = state.body_deadline.take().or(*state.deadline);
        }
        self
    }

    /// Whether the attempt was pending before, so that polling the timer is cheap.
    pub(crate) fn is_running(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.sleep.is_some())
    }

    /// The end of the attempt and the error that it then fails with, if it has a limit or a deadline. Starts
    /// the timer.
    pub(crate) fn end(&mut self, now: impl FnOnce() -> Instant) -> Option<(Instant, Elapsed)> {
        if self.limit.is_none() && self.state.is_none() {
            return None;
        }
        let limit = self.limit;
        let state = self.state().project();
        let since = *state.since.get_or_insert_with(now);
        let attempt = Deadline::after(limit.unwrap_or(Duration::MAX), since);
        Some(match *state.deadline {
            Some(deadline) if deadline < attempt => {
                (deadline.instant(), Elapsed::of_deadline(deadline, since))
            }
            _ => (attempt.instant(), Elapsed::new(Clock::Attempt, limit.unwrap_or_default())),
        })
    }

    /// Whether the time has elapsed. Starts the timer, so it is only polled when the inner service or body is
    /// pending.
    pub(crate) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let Some((end, elapsed)) = self.end(clock::now) else { return Poll::Pending };
        let end = end.into();
        let mut sleep = self.state().project().sleep;
        if sleep.as_ref().as_pin_ref().is_none_or(|sleep| sleep.deadline() != end) {
            sleep.set(Some(tokio::time::sleep_until(end)));
        }
        sleep.as_pin_mut().map_or(Poll::Pending, |sleep| sleep.poll(cx)).map(|()| elapsed)
    }

    fn state(&mut self) -> Pin<&mut TimerState> {
        self.state.get_or_insert_with(|| Box::pin(TimerState::default())).as_mut()
    }
}
