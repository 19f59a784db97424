use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::{Deadline, ErrorCode, Gate, Rejection};

/// The deadline of a call, for waits of ours: a wait that reaches it ends in a refusal.
#[derive(Debug)]
pub(crate) struct Alarm {
    deadline: Option<Deadline>,
    /// How long after the deadline it rings.
    grace: Duration,
    // Boxed: one allocation for a call that has to wait, and nothing to pin for the others.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The finest that a timer tells apart.
#[cfg(feature = "fallback")]
pub(crate) const TICK: Duration = Duration::from_millis(1);

impl Alarm {
    pub(crate) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, grace: Duration::ZERO, sleep: None }
    }

    /// For waits for somebody who should keep the deadline as well, and has more to say about it: rings a tick later.
    #[cfg(feature = "fallback")]
    pub(crate) fn behind(deadline: Option<Deadline>) -> Self {
        Self { grace: TICK, ..Self::new(deadline) }
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Asks whether the deadline has passed; to be called when there is nothing else to do.
    pub(crate) fn poll_past(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let rings = Deadline::after(self.grace, deadline.instant()).instant();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(rings.into())));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Rejection::new(Gate::Deadline, ErrorCode::Timeout))
    }
}
