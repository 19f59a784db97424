use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Uri};
use tidegate_core::BoxError;
use tokio::time::Instant;

use super::Answer;
use super::state::Shared;

/// Scripts a strict service and tells what it saw. Clones share one service.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// A request that reached the strict service.
#[derive(Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its address.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its extensions.
    pub extensions: Extensions,
    /// Its bytes, if the body was a [`Payload`](tidegate_core::Payload) that is kept.
    pub body: Option<Bytes>,
    /// When it came, by tokio's clock.
    pub at: Instant,
}

/// What the next calls are answered.
impl Handle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Puts an answer at the end of the script, for one call.
    pub fn then(&self, answer: Answer) -> Answer {
        self.0.lock().script.push_back(answer.clone());
        answer
    }

    /// The answer to every call for which the script has none left.
    pub fn otherwise(&self, answer: Answer) -> Answer {
        self.0.lock().otherwise = answer.clone();
        answer
    }

    /// Throws away what is left of the script.
    pub fn clear(&self) {
        let left = std::mem::take(&mut self.0.lock().script);
        drop(left);
    }

    /// The next call is answered with this status.
    ///
    /// # Panics
    ///
    /// If `status` is no HTTP status.
    pub fn answer(&self, status: u16) -> Answer {
        self.then(Answer::status(status))
    }

    /// The next call fails with a [`Fault`](crate::Fault) of these words.
    pub fn fail(&self, message: impl Into<String>) -> Answer {
        self.then(Answer::error(message))
    }

    /// The next call fails with the error that `make` makes.
    pub fn fail_with(&self, make: impl Fn() -> BoxError + Send + Sync + 'static) -> Answer {
        self.then(Answer::error_with(make))
    }

    /// The next call is not answered, until the returned answer is [released](Answer::release).
    pub fn hang(&self) -> Answer {
        self.then(Answer::hang())
    }
}

/// What `poll_ready` says.
impl Handle {
    /// The next `polls` times it is pending, and wakes at once.
    pub fn pending(&self, polls: usize) {
        self.0.lock().readiness.pending_polls = polls;
    }

    /// It is pending until [`unblock`](Self::unblock). An instance that is ready stays ready.
    pub fn block(&self) {
        self.0.lock().readiness.blocked = true;
    }

    /// It is ready again, and whoever waits is woken.
    pub fn unblock(&self) {
        let wakers = {
            let mut state = self.0.lock();
            state.readiness.blocked = false;
            std::mem::take(&mut state.readiness.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The next time it fails with a [`Fault`](crate::Fault) of these words.
    pub fn fail_ready(&self, message: impl Into<String>) {
        self.0.lock().readiness.failure = Some(message.into());
    }
}

/// What happened.
impl Handle {
    /// How often `call` was called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.lock().requests.len()
    }

    /// The requests, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.0.lock().requests.clone()
    }

    /// How often `poll_ready` was called.
    #[must_use]
    pub fn ready_polls(&self) -> usize {
        self.0.lock().tally.ready_polls
    }

    /// How many instances are ready and not yet called.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.0.lock().tally.reserved
    }

    /// How many instances were dropped ready, without a call.
    #[must_use]
    pub fn wasted(&self) -> usize {
        self.0.lock().tally.wasted
    }

    /// How many response futures have not answered and are not dropped.
    #[must_use]
    pub fn live_futures(&self) -> usize {
        self.0.lock().tally.live_futures
    }

    /// How many response futures were dropped before they answered.
    #[must_use]
    pub fn dropped_futures(&self) -> usize {
        self.0.lock().tally.dropped_futures
    }

    /// How many response bodies have something left to say and are not dropped.
    #[must_use]
    pub fn live_bodies(&self) -> usize {
        self.0.lock().tally.live_bodies
    }

    /// How many response bodies came to their end, or to their error.
    #[must_use]
    pub fn finished_bodies(&self) -> usize {
        self.0.lock().tally.finished_bodies
    }

    /// How many response bodies were dropped before their end.
    #[must_use]
    pub fn dropped_bodies(&self) -> usize {
        self.0.lock().tally.dropped_bodies
    }

    /// How Tower's contract was broken, in order; each of these was a panic too.
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

/// Shows no headers and no body: they hold keys and prompts.
impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seen({} {})", self.method, self.uri)
    }
}
