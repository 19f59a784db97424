use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Timeout, timeout};

use crate::{Deadline, clock};

/// A call that waits for the reply to the request of the turn to probe. Boxed, since calls that do not wait move
/// its size as well.
#[derive(Debug)]
pub(crate) struct PendingTurn(Pin<Box<Timeout<oneshot::Receiver<()>>>>);

impl PendingTurn {
    /// Waits until `replied`, which is after a few timeouts of the store at the latest, or until the deadline.
    pub(crate) fn new(replied: oneshot::Receiver<()>, deadline: Option<Deadline>) -> Self {
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.remaining(clock::now()));
        Self(Box::pin(timeout(left, replied)))
    }

    /// Ready when the call can be admitted, or rejected.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = ready!(self.0.as_mut().poll(cx));
        Poll::Ready(())
    }
}
