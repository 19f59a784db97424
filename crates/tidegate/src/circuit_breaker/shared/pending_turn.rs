use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http_body::Body;
use tokio::sync::oneshot;
use tokio::time::{Timeout, timeout};

use crate::attempt::{Admission, QueuedAttempt};
use crate::circuit_breaker::{CallGuard, Handle};
use crate::clock::Now;
use crate::thread_shard::ByThread;
use crate::{Deadline, Rejection, clock};

/// A call that waits for the reply to the request of the turn to probe.
#[derive(Debug)]
pub struct PendingTurn {
    /// Boxed, since calls that do not wait move its size as well.
    replied: Pin<Box<Timeout<oneshot::Receiver<()>>>>,
    circuit: ByThread<Handle>,
}

impl PendingTurn {
    /// Waits until `replied`, which is after a few timeouts of the store at the latest, or until the deadline.
    pub(crate) fn new(
        replied: oneshot::Receiver<()>,
        circuit: ByThread<Handle>,
        deadline: Option<Deadline>,
    ) -> Self {
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.remaining(clock::now()));
        Self { replied: Box::pin(timeout(left, replied)), circuit }
    }
}

impl QueuedAttempt for PendingTurn {
    type Guard = CallGuard;

    fn poll_admitted<B: Body + 'static>(
        &mut self,
        request: &mut Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CallGuard, Rejection>> {
        let _ = ready!(self.replied.as_mut().poll(cx));
        Poll::Ready(match self.circuit.admit_at(request, &mut Now::default(), false) {
            Admission::Admitted(guard) => Ok(guard),
            Admission::Rejected(rejection) => Err(rejection),
            Admission::Queued(_) => unreachable!("the call does not await its turn again"),
        })
    }
}
