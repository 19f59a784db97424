use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::ResponseBody;
use super::service::StackAttempt;
use crate::attempt::{self, AttemptGates};
use crate::classify::ClassifyWire;
use crate::metrics::CallMetrics;
use crate::rejected::RejectedCall;
use crate::retry::{self, Retry};
use crate::{BoxError, Error, HttpService, Payload, Rejection, fallback};

// The futures are written out, so that they are complete without a look at the bounds of any service.
type AttemptFuture<S, F, R> = attempt::ResponseFuture<S, F, R, AttemptGates, ClassifyWire, Payload>;
type RetryFuture<S, F, R> = retry::ResponseFuture<StackAttempt<S>, AttemptFuture<S, F, R>, Payload>;
type FallbackFuture<S, F, R, B> = fallback::ResponseFuture<Retry<StackAttempt<S>>, RetryFuture<S, F, R>, B>;

/// Waits for the response of the stack. `F` is the future of the wrapped service, `R` its response body.
#[pin_project]
pub struct ResponseFuture<S, F, R: Body<Data = Bytes>, B> {
    #[pin]
    state: State<S, F, R, B>,
    metrics: CallMetrics,
}

/// The outermost layer that has something to do.
#[pin_project(project = StateProj)]
enum State<S, F, R: Body<Data = Bytes>, B> {
    Attempt(#[pin] AttemptFuture<S, F, R>),
    Retry(#[pin] RetryFuture<S, F, R>),
    // Boxed, so that a call without fallbacks does not move its size.
    Fallback(Pin<Box<FallbackFuture<S, F, R, B>>>),
    Rejected(RejectedCall),
}

impl<S, F, R: Body<Data = Bytes>, B> ResponseFuture<S, F, R, B> {
    #[inline]
    pub(super) fn of_attempt(future: AttemptFuture<S, F, R>, metrics: CallMetrics) -> Self {
        Self { state: State::Attempt(future), metrics }
    }

    #[inline]
    pub(super) fn of_retry(future: RetryFuture<S, F, R>, metrics: CallMetrics) -> Self {
        Self { state: State::Retry(future), metrics }
    }

    pub(super) fn of_fallback(future: FallbackFuture<S, F, R, B>, metrics: CallMetrics) -> Self {
        Self { state: State::Fallback(Box::pin(future)), metrics }
    }

    pub(super) fn rejected(rejection: Rejection, metrics: CallMetrics) -> Self {
        Self { state: State::Rejected(RejectedCall::new(rejection)), metrics }
    }
}

impl<S, F, R, B> Future for ResponseFuture<S, F, R, B>
where
    S: HttpService<Payload, Body = R> + Service<http::Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<R>, S::Error>>,
    R: Body<Data = Bytes, Error: Into<BoxError>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Attempt(future) => {
                ready!(future.poll(cx)).map(|response| response.map(ResponseBody::of_attempt))
            }
            StateProj::Retry(future) => {
                ready!(future.poll(cx)).map(|response| response.map(ResponseBody::of_attempt))
            }
            StateProj::Fallback(future) => {
                ready!(future.as_mut().poll(cx)).map(|response| response.map(ResponseBody::new))
            }
            StateProj::Rejected(call) => Err(ready!(call.poll(cx))),
        };
        this.metrics.on_result(&result);
        Poll::Ready(result)
    }
}

partial_debug!([S, F, R: Body<Data = Bytes>, B] ResponseFuture<S, F, R, B>, "ResponseFuture");
