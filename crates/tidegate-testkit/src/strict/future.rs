use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use tidegate_core::BoxError;
use tokio::time::{Sleep, sleep};

use super::answer::ScriptedResult;
use super::state::StrictShared;
use super::{Answer, StrictBody};

/// The response future of a [`Strict`](super::Strict) service. It counts in
/// [`Handle::live_futures`](super::Handle::live_futures) until it has completed or is dropped.
pub struct ResponseFuture {
    answer: Answer,
    delay: Option<Pin<Box<Sleep>>>,
    shared: Arc<StrictShared>,
    is_done: bool,
}

impl ResponseFuture {
    pub(super) fn new(answer: Answer, shared: Arc<StrictShared>) -> Self {
        shared.lock().counters.live_futures += 1;
        let delay = answer.delay().map(|delay| Box::pin(sleep(delay)));
        Self { answer, delay, shared, is_done: false }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<StrictBody>, BoxError>;

    /// # Panics
    ///
    /// If polled after completion.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_done {
            self.shared.violated("a response future was polled after it had completed");
        }
        if let Some(delay) = &mut self.delay {
            ready!(delay.as_mut().poll(cx));
            self.delay = None;
        }
        ready!(self.answer.poll_released(cx));
        self.is_done = true;
        self.shared.lock().counters.live_futures -= 1;
        Poll::Ready(match self.answer.produce() {
            ScriptedResult::Error(error) => Err(error),
            ScriptedResult::Response { head, steps, sized } => {
                Ok(head.map(|()| StrictBody::new(steps, sized, Arc::clone(&self.shared))))
            }
        })
    }
}

impl Drop for ResponseFuture {
    fn drop(&mut self) {
        if !self.is_done {
            let mut state = self.shared.lock();
            state.counters.live_futures -= 1;
            state.counters.dropped_futures += 1;
        }
    }
}
