//! One attempt at a target: made ready, called and ended, within the deadline of the call.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Extensions, Request, Response};
use tower_service::Service;

use super::ChainState;
use super::disposition::Reach;
use crate::rejected::trace_rejection;
use crate::{BoxError, Error, Payload, Rejection, clock};

impl ChainState {
    /// Completes as soon as `service`, the current target, is ready and has to be called. It fails if the
    /// service does, or if the deadline passes before.
    pub(crate) fn poll_ready<S>(&mut self, service: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), Error>>
    where
        S: Service<Request<Payload>, Error: Into<BoxError> + 'static>,
    {
        match service.poll_ready(cx) {
            Poll::Ready(Ok(())) if !self.is_past_deadline() => {
                self.start_attempt();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(Error::new(error))),
            Poll::Ready(Ok(())) | Poll::Pending => {
                let rejection = ready!(self.deadline_timer.poll_passed(cx));
                let extensions = self.template.as_ref().map(Request::extensions);
                Poll::Ready(Err(self.reject_at_deadline(rejection, extensions).into()))
            }
        }
    }

    /// Records that the deadline has passed before the current target was called.
    pub(crate) fn reject_at_deadline(
        &self,
        rejection: Rejection,
        extensions: Option<&Extensions>,
    ) -> Rejection {
        let name = self.name_at(self.target_index);
        trace_rejection(rejection, &name, None, extensions.unwrap_or(&Extensions::new()))
    }

    /// The current target is called now.
    pub(crate) fn start_attempt(&mut self) {
        self.is_in_flight = true;
        self.start_measuring();
        if self.deadline_timer.deadline().is_some() {
            self.deadline_guard.start_attempt(clock::now());
        }
    }

    /// The result of the call to the current target. It fails once the deadline has passed, since a target
    /// may not enforce the deadline by itself.
    pub(crate) fn poll_response<F, B, E>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<B>, Error>>
    where
        F: Future<Output = Result<Response<B>, E>> + ?Sized,
        E: Into<BoxError> + 'static,
    {
        match future.poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(Error::new)),
            Poll::Pending => self.deadline_guard.poll_expired(cx).map(|elapsed| Err(elapsed.into())),
        }
    }

    /// Ends the attempt at the current target. If the target was not called, the attempt is returned to the
    /// budget.
    pub(super) fn finish_attempt(&mut self, error: Option<&Error>) -> Reach {
        let rejection = error.and_then(Error::rejection);
        let was_called = mem::take(&mut self.is_in_flight);
        self.has_reached_provider |= was_called && rejection.is_none_or(Rejection::follows_attempt);
        if !was_called {
            self.give_back_attempt();
        }
        Reach::of(rejection, was_called)
    }
}
