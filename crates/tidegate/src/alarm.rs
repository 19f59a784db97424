use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::{Deadline, ErrorCode, Gate, Rejection};

/// The deadline of a call, for waits of ours: a wait that reaches it ends in a refusal.
#[derive(Debug)]
pub(crate) struct Alarm {
    deadline: Option<Deadline>,
    // Boxed: one allocation for a call that has to wait, and nothing to pin for the others.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The finest that a timer tells apart.
#[cfg(feature = "fallback")]
pub(crate) const TICK: Duration = Duration::from_millis(1);

impl Alarm {
    pub(crate) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, sleep: None }
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Asks whether the deadline has passed; to be called when there is nothing else to do.
    pub(crate) fn poll_past(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        self.poll_after(Duration::ZERO, cx)
    }

    /// The same where somebody is waited for who should keep the deadline as well, and has more to say about it: a tick
    /// of the timer later.
    #[cfg(feature = "fallback")]
    pub(crate) fn poll_well_past(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        self.poll_after(TICK, cx)
    }

    fn poll_after(&mut self, grace: Duration, cx: &mut Context<'_>) -> Poll<Rejection> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let rings = Instant::from_std(Deadline::after(grace, deadline.instant()).instant());
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(rings)));
        if sleep.deadline() != rings {
            sleep.as_mut().reset(rings);
        }
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Rejection::new(Gate::Deadline, ErrorCode::Timeout))
    }
}
