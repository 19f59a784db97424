use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{CallLimits, ResponseBody, ResponseFuture, Signals};
use crate::attempt::{self, AttemptGates};
use crate::body::buffered;
use crate::classify::ClassifyWire;
use crate::fallback::Fallback;
use crate::metrics::{CallMetrics, TargetMetrics};
use crate::rejected::record_rejection;
use crate::retry::Retry;
use crate::{BoxError, Error, HttpService, Payload};

/// All layers in their order around `S`; see the [module page](crate::stack).
///
/// `Clone`, `Send` and `Sync` if `S` is; clones share their state.
#[derive(Clone, Debug)]
#[doc(alias = "ResilientLLMClient")]
pub struct Resilience<S> {
    stack: Stack<S>,
    signals: Signals,
    call_limits: CallLimits,
    metrics: TargetMetrics,
}

pub(super) type Stack<S> = Fallback<Retry<StackAttempt<S>>>;
pub(super) type StackAttempt<S> = attempt::Attempt<S, AttemptGates, ClassifyWire>;

impl<S> Resilience<S> {
    pub(super) fn new(
        stack: Stack<S>,
        signals: Signals,
        call_limits: CallLimits,
        metrics: TargetMetrics,
    ) -> Self {
        Self { stack, signals, call_limits, metrics }
    }

    send_method! {
        ///
        /// The same as `tower::ServiceExt::oneshot` on a clone. The future is `Send` also where the wrapped
        /// service is an `async` closure that returns a [`BoxError`], which `oneshot` is not, neither here
        /// nor for tower's own layers.
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
            Ok(()) => self.call_layers(request),
            Err(rejection) => {
                let rejection =
                    record_rejection(rejection, self.signals.target(), None, request.extensions());
                ResponseFuture::rejected(rejection, CallMetrics::start(self.metrics, request.extensions()))
            }
        }
    }

    /// Calls the outermost layer that has something to do: Fallback, Retry, or the attempt itself.
    #[inline]
    fn call_layers<B>(&mut self, request: Request<B>) -> <Self as Service<Request<B>>>::Future
    where
        S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let metrics = CallMetrics::start(self.metrics, request.extensions());
        if !self.stack.is_idle(request.extensions()) {
            return ResponseFuture::of_fallback(self.stack.call(request), metrics);
        }
        let (head, body) = request.into_parts();
        match buffered(body) {
            Ok(body) => {
                let retry = self.stack.get_mut();
                if retry.is_idle(&head.extensions) {
                    let attempt = retry.inner_mut().call(Request::from_parts(head, body));
                    ResponseFuture::of_attempt(attempt, metrics)
                } else {
                    ResponseFuture::of_retry(retry.call_buffered(head, body), metrics)
                }
            }
            Err(body) => {
                ResponseFuture::of_fallback(self.stack.call(Request::from_parts(head, body)), metrics)
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

    // A request that is borrowed is copied once more when it is passed on, so a call without limits is only
    // passed on.
    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.call_limits.is_unlimited() { self.call_layers(request) } else { self.call_limited(request) }
    }
}
