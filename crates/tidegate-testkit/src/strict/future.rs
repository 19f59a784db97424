use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use tidegate_core::BoxError;
use tokio::time::{Sleep, sleep};

use super::answer::Given;
use super::state::Shared;
use super::{Answer, StrictBody};

/// The response of a [`Strict`](super::Strict) service. Alive, for
/// [`Handle::live_futures`](super::Handle::live_futures), until it has answered or is dropped.
pub struct ResponseFuture {
    answer: Answer,
    delay: Option<Pin<Box<Sleep>>>,
    shared: Arc<Shared>,
    is_done: bool,
}

impl ResponseFuture {
    pub(super) fn new(answer: Answer, shared: Arc<Shared>) -> Self {
        shared.lock().tally.live_futures += 1;
        let delay = answer.delay().map(|delay| Box::pin(sleep(delay)));
        Self { answer, delay, shared, is_done: false }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<StrictBody>, BoxError>;

    /// # Panics
    ///
    /// If polled again after it has completed.
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
        self.shared.lock().tally.live_futures -= 1;
        Poll::Ready(match self.answer.give() {
            Given::Error(error) => Err(error),
            Given::Response { head, steps, sized } => {
                Ok(head.map(|()| StrictBody::new(steps, sized, Arc::clone(&self.shared))))
            }
        })
    }
}

impl Drop for ResponseFuture {
    fn drop(&mut self) {
        if !self.is_done {
            let mut state = self.shared.lock();
            state.tally.live_futures -= 1;
            state.tally.dropped_futures += 1;
        }
    }
}
