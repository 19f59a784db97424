use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use pin_project::pin_project;
use tower_service::Service;

use super::{CallLimits, Signals};
use crate::attempt::{self, AttemptBodyGuards, AttemptGates, GuardedBody};
use crate::classify::{Classification, ClassifiedBody};
use crate::fallback::{self, Fallback};
use crate::rejected::record_rejection;
use crate::retry::{self, Retry};
use crate::send::{SendFuture, send};
use crate::{BoxError, Error, HttpService, Payload, Rejection};

/// All layers in protocol order around `S`; see the [module page](crate::stack).
///
/// `Clone`, `Send` and `Sync` if `S` is; clones share their state.
#[derive(Clone, Debug)]
pub struct Resilience<S> {
    stack: Stack<S>,
    signals: Signals,
    call_limits: CallLimits,
}

pub(super) type Stack<S> = Fallback<Retry<Attempt<S>>>;
type Attempt<S> = attempt::Attempt<S, AttemptGates, Classification>;

// The futures are written out, so that they are complete without a look at the bounds of any service.
type CallFuture<S, F, R, B> = fallback::ResponseFuture<Retry<Attempt<S>>, RetryFuture<S, F, R>, B>;
type RetryFuture<S, F, R> = retry::ResponseFuture<Attempt<S>, AttemptFuture<S, F, R>, Payload>;
type AttemptFuture<S, F, R> = attempt::ResponseFuture<S, F, R, AttemptGates, Classification, Payload>;

type CallBody<R> = fallback::ResponseBody<GuardedBody<ClassifiedBody<R>, AttemptBodyGuards>>;

/// Waits for the response of the stack. `F` is the future of the wrapped service, `R` its response body.
#[pin_project]
pub struct ResponseFuture<S, F, R: Body<Data = Bytes>, B>(#[pin] ResponseState<S, F, R, B>);

#[pin_project(project = ResponseStateProj)]
enum ResponseState<S, F, R: Body<Data = Bytes>, B> {
    Calling(#[pin] CallFuture<S, F, R, B>),
    Rejected(Option<Rejection>),
}

/// The body of a response. It holds permits, reservations and the admission of the circuit until it ends.
#[pin_project]
pub struct ResponseBody<R: Body<Data = Bytes>>(#[pin] CallBody<R>);

impl<S> Resilience<S> {
    pub(super) fn new(stack: Stack<S>, signals: Signals, call_limits: CallLimits) -> Self {
        Self { stack, signals, call_limits }
    }

    /// Sends one request through a clone of the stack, which is made ready first.
    ///
    /// The same as `tower::ServiceExt::oneshot` on a clone. The future is `Send` also where the wrapped service is an
    /// `async` closure that returns a [`BoxError`], which `oneshot` is not, neither here nor for tower's own layers.
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> SendFuture<Self, Request<B>, <Self as Service<Request<B>>>::Future>
    where
        Self: Service<Request<B>> + Clone,
    {
        send(self, request)
    }

    /// The wrapped service.
    pub fn get_ref(&self) -> &S {
        self.stack.get_ref().get_ref().get_ref()
    }

    /// The wrapped service, to be changed.
    pub fn get_mut(&mut self) -> &mut S {
        self.stack.get_mut().get_mut().get_mut()
    }

    /// The wrapped service, without the stack.
    pub fn into_inner(self) -> S {
        self.stack.into_inner().into_inner().into_inner()
    }

    // Never inlined, since the request is borrowed here.
    #[inline(never)]
    fn call_limited<B>(&mut self, mut request: Request<B>) -> <Self as Service<Request<B>>>::Future
    where
        S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        match self.call_limits.apply_to(&mut request) {
            Ok(()) => ResponseFuture(ResponseState::Calling(self.stack.call(request))),
            Err(rejection) => {
                let rejection = record_rejection(rejection, self.signals.target(), request.extensions());
                ResponseFuture(ResponseState::Rejected(Some(rejection)))
            }
        }
    }

    /// The state of the stack, for reading.
    #[must_use]
    pub fn signals(&self) -> Signals {
        self.signals.clone()
    }
}

impl<S, B> Service<Request<B>> for Resilience<S>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, S::Body, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<B>>::poll_ready(&mut self.stack, cx)
    }

    // A request that is borrowed is copied once more when it is passed on, so a call without limits is only passed on.
    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.call_limits.is_unlimited() {
            return ResponseFuture(ResponseState::Calling(self.stack.call(request)));
        }
        self.call_limited(request)
    }
}

impl<S, F, R, B> Future for ResponseFuture<S, F, R, B>
where
    S: HttpService<Payload, Body = R> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<R>, S::Error>>,
    R: Body<Data = Bytes, Error: Into<BoxError>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            ResponseStateProj::Calling(future) => {
                future.poll(cx).map_ok(|response| response.map(ResponseBody))
            }
            ResponseStateProj::Rejected(rejection) => {
                Poll::Ready(Err(rejection.take().expect("polled after completion").into()))
            }
        }
    }
}

impl<R: Body<Data = Bytes>> ResponseBody<R> {
    /// The body without its type parameter, in a box.
    pub fn boxed(self) -> BoxBody<Bytes, Error>
    where
        R: Send + Sync + 'static,
    {
        BodyExt::boxed(self)
    }
}

impl<R: Body<Data = Bytes>> Body for ResponseBody<R> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.project().0.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<R: Body<Data = Bytes>> fmt::Debug for ResponseBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseBody").field(&self.0).finish()
    }
}

impl<S, F, R: Body<Data = Bytes>, B> fmt::Debug for ResponseFuture<S, F, R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ResponseState::Calling(future) => f.debug_tuple("ResponseFuture").field(future).finish(),
            ResponseState::Rejected(rejection) => f.debug_tuple("ResponseFuture").field(rejection).finish(),
        }
    }
}
