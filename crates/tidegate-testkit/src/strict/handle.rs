use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Uri};
use tidegate_core::BoxError;
use tokio::time::Instant;

use super::Answer;
use super::state::StrictShared;

/// Scripts a strict service and reports what happened to it. Clones share one service.
#[derive(Clone)]
pub struct Handle(Arc<StrictShared>);

/// A request that reached the strict service.
#[derive(Clone)]
pub struct ReceivedRequest {
    /// Its method.
    pub method: Method,
    /// Its URI.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its extensions.
    pub extensions: Extensions,
    /// Its bytes, if the body was a [`Payload`](tidegate_core::Payload) that is buffered.
    pub body: Option<Bytes>,
    /// When it arrived, by tokio's clock.
    pub at: Instant,
}

/// The script of responses.
impl Handle {
    pub(super) const fn new(shared: Arc<StrictShared>) -> Self {
        Self(shared)
    }

    /// Adds an answer to the end of the script, for one call.
    pub fn then(&self, answer: Answer) -> Answer {
        self.0.lock().script.push_back(answer.clone());
        answer
    }

    /// The answer to every call after the script is used up.
    pub fn otherwise(&self, answer: Answer) -> Answer {
        self.0.lock().otherwise = answer.clone();
        answer
    }

    /// Removes the rest of the script.
    pub fn clear(&self) {
        let left = std::mem::take(&mut self.0.lock().script);
        drop(left);
    }

    /// The next call is answered with this status.
    ///
    /// # Panics
    ///
    /// If `status` is not an HTTP status.
    pub fn answer(&self, status: u16) -> Answer {
        self.then(Answer::status(status))
    }

    /// The next call fails with a [`Fault`](crate::Fault) of this message.
    pub fn fail(&self, message: impl Into<String>) -> Answer {
        self.then(Answer::error(message))
    }

    /// The next call fails with the error that `make` creates.
    pub fn fail_with(&self, make: impl Fn() -> BoxError + Send + Sync + 'static) -> Answer {
        self.then(Answer::error_with(make))
    }

    /// The next call gets no response until the returned answer is [released](Answer::release).
    pub fn hang(&self) -> Answer {
        self.then(Answer::hang())
    }
}

/// The readiness of the service.
impl Handle {
    /// `poll_ready` is pending for the next `polls` polls, and wakes at once.
    pub fn pending(&self, polls: usize) {
        self.0.lock().readiness.pending_polls = polls;
    }

    /// `poll_ready` is pending until [`unblock`](Self::unblock). An instance that is ready stays ready.
    pub fn block(&self) {
        self.0.lock().readiness.blocked = true;
    }

    /// `poll_ready` is ready again. Waiting tasks are woken.
    pub fn unblock(&self) {
        let wakers = {
            let mut state = self.0.lock();
            state.readiness.blocked = false;
            std::mem::take(&mut state.readiness.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The next `poll_ready` fails with a [`Fault`](crate::Fault) of this message.
    pub fn fail_ready(&self, message: impl Into<String>) {
        self.0.lock().readiness.failure = Some(message.into());
    }
}

/// Records of calls, futures and bodies.
impl Handle {
    /// The number of calls of `call`.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.lock().requests.len()
    }

    /// The requests, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.0.lock().requests.clone()
    }

    /// The number of calls of `poll_ready`.
    #[must_use]
    pub fn ready_polls(&self) -> usize {
        self.0.lock().counters.ready_polls
    }

    /// The number of instances that are ready and not yet called.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.0.lock().counters.reserved
    }

    /// The number of instances that were dropped ready, without a call.
    #[must_use]
    pub fn dropped_ready(&self) -> usize {
        self.0.lock().counters.dropped_ready
    }

    /// The number of response futures that have neither completed nor been dropped.
    #[must_use]
    pub fn live_futures(&self) -> usize {
        self.0.lock().counters.live_futures
    }

    /// The number of response futures that were dropped before completion.
    #[must_use]
    pub fn dropped_futures(&self) -> usize {
        self.0.lock().counters.dropped_futures
    }

    /// The number of response bodies that have frames left and are not dropped.
    #[must_use]
    pub fn live_bodies(&self) -> usize {
        self.0.lock().counters.live_bodies
    }

    /// The number of response bodies that ended or failed.
    #[must_use]
    pub fn finished_bodies(&self) -> usize {
        self.0.lock().counters.finished_bodies
    }

    /// The number of response bodies that were dropped before their end.
    #[must_use]
    pub fn dropped_bodies(&self) -> usize {
        self.0.lock().counters.dropped_bodies
    }

    /// The violations of Tower's contract, in order. Each of them also caused a panic.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.0.lock().violations.clone()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("calls", &self.calls())
            .field("live_futures", &self.live_futures())
            .field("live_bodies", &self.live_bodies())
            .finish_non_exhaustive()
    }
}

/// Shows no headers and no body, because they hold keys and prompts.
impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedRequest({} {})", self.method, self.uri)
    }
}
