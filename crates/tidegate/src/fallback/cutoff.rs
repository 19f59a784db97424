use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed};

/// Cuts off a target that does not keep the deadline of the call by itself.
///
/// A tick of the timer later than the target should have done so: it has more to say, and its gates more to learn from it.
#[derive(Debug)]
pub(super) struct Cutoff {
    deadline: Option<Deadline>,
    /// When the target was asked.
    began: Option<Instant>,
    // Boxed: one allocation for a call that has to wait, and nothing to pin for the others.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The finest that a timer tells apart.
pub(super) const TICK: Duration = Duration::from_millis(1);

impl Cutoff {
    pub(super) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, began: None, sleep: None }
    }

    /// A target is asked.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// The same for the body of its answer.
    pub(super) fn until(self, deadline: Option<Deadline>) -> Self {
        Self { deadline, ..self }
    }

    /// Asks whether it is time; to be called when there is nothing else to do.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let at = Deadline::after(TICK, deadline.instant()).instant().into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        ready!(sleep.as_mut().poll(cx));
        let limit = self.began.map(|began| deadline.remaining(began)).unwrap_or_default();
        Poll::Ready(Elapsed::new(Clock::Deadline, limit))
    }
}
