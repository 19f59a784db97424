use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::ResponseBody;
use super::timer::AttemptTimer;
use crate::{BoxError, Error, Outcome, Trail};

/// Waits for the head of the response, until the time of the attempt has elapsed.
#[pin_project]
pub struct ResponseFuture<F> {
    #[pin]
    inner: F,
    timer: AttemptTimer,
    trail: Option<Trail>,
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, timer: AttemptTimer, trail: Option<Trail>) -> Self {
        Self { inner, timer, trail }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Error: Into<BoxError>>,
    E: Into<BoxError> + 'static,
{
    type Output = Result<Response<ResponseBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.inner.poll(cx) {
            Poll::Ready(Ok(response)) => {
                let timer = mem::take(this.timer).for_body();
                let (head, body) = response.into_parts();
                return Poll::Ready(Ok(Response::from_parts(head, ResponseBody::new(body, timer))));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::new(error))),
            Poll::Pending => {}
        }
        let elapsed = ready!(this.timer.poll_elapsed(cx));
        // The classifier below has no result to record, so the attempt is recorded here.
        if let Some(trail) = this.trail.take() {
            trail.attempt(&Outcome::of_error(&elapsed));
        }
        Poll::Ready(Err(elapsed.into()))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("timer", &self.timer).finish_non_exhaustive()
    }
}
