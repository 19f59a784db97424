use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::call::{Collecting, FallbackCall, State, StateProj};
use super::chain::{ChainState, ChainStep};
use super::settings::FallbackSettings;
use super::{FallbackOverride, Handle, ResponseBody};
use crate::body::CollectRequest;
use crate::rejected::record_rejection;
use crate::{BoxError, Error, HttpService, Payload};

/// Calls the first target, and falls back along the chain when it fails.
#[pin_project(project = ResponseFutureProj)]
pub struct ResponseFuture<S, F, B> {
    #[pin]
    state: State<S, F, B>,
    /// `None` without further targets and last resorts. Boxed: it holds a copy of the request, and one
    /// allocation costs less than moving the copy with every move of the future.
    call: Option<Box<FallbackCall<S, F>>>,
}

impl<S, F, B> ResponseFuture<S, F, B>
where
    S: Service<Request<Payload>, Future = F> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// Creates the future of a call to the only target.
    pub(super) const fn without_fallback(future: F) -> Self {
        Self { state: State::CallingFirst(future), call: None }
    }

    /// Creates the future for a request with a complete body: the first target is called at once.
    pub(super) fn calling(
        first: &mut S,
        mut request: Request<Payload>,
        handle: Handle,
        settings: &Arc<FallbackSettings>,
    ) -> Self {
        let handle = handle.for_call(FallbackOverride::take_from(request.extensions_mut()));
        let chain = ChainState::new(request.extensions_mut(), handle, Arc::clone(settings));
        let mut call = Box::new(FallbackCall::new(chain));
        Self { state: call.call_first(first, request), call: Some(call) }
    }

    /// Creates the future for a request with a body that has to be read before the first target is called.
    pub(super) fn collecting(
        first: S,
        mut request: Request<B>,
        handle: Handle,
        settings: &Arc<FallbackSettings>,
    ) -> Self {
        let handle = handle.for_call(FallbackOverride::take_from(request.extensions_mut()));
        // Without further targets the body need not be kept.
        let body_cap = if handle.is_idle() { 0 } else { settings.body_cap };
        let chain = ChainState::new(request.extensions_mut(), handle, Arc::clone(settings));
        let (head, body) = request.into_parts();
        let collecting = Collecting { request: CollectRequest::new(head, body, body_cap), first };
        let call = Box::new(FallbackCall::new(chain));
        Self { state: State::Collecting(Box::new(collecting)), call: Some(call) }
    }
}

impl<S, F, B> Future for ResponseFuture<S, F, B>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<S::Body>, S::Error>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<S::Body>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        ready!(this.poll_collected(cx))?;
        let Some(call) = this.call.as_deref_mut() else { return poll_only_target(this.state, cx) };
        let result = loop {
            let result = match ready!(call.poll_callable(this.state.as_mut(), cx)) {
                Ok(()) => ready!(call.poll_attempt(this.state.as_mut(), cx)),
                Err(error) => Err(error),
            };
            match call.chain.step(result) {
                ControlFlow::Break(result) => break result,
                ControlFlow::Continue(ChainStep::Call(target)) => {
                    let state = call.make_ready(target);
                    this.state.set(state);
                }
                ControlFlow::Continue(ChainStep::AwaitHedge) => {
                    let hedge = call.hedge.take().expect("the hedge is running");
                    this.state.set(State::CallingHedge(hedge));
                }
                ControlFlow::Continue(ChainStep::Wait(wait)) => {
                    this.state.set(State::Waiting(Box::pin(tokio::time::sleep(wait))));
                }
                ControlFlow::Continue(ChainStep::Respond(result)) => {
                    *this.call = None;
                    this.state.set(State::Done);
                    return Poll::Ready(result.map(|response| response.map(ResponseBody::from_bytes)));
                }
            }
        };
        // The body takes over the state of the call.
        let mut call = this.call.take().expect("the state is set until the response is returned");
        this.state.set(State::Done);
        call.hedge = None;
        call.chain.cancel_hedge();
        Poll::Ready(result.map(|response| call.chain.into_response(response)))
    }
}

impl<S, F, B> ResponseFutureProj<'_, S, F, B>
where
    S: Service<Request<Payload>, Future = F> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// Ready once the request body has been read and the first target is called.
    #[inline]
    fn poll_collected(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let (StateProj::Collecting(collecting), Some(call)) =
            (self.state.as_mut().project(), self.call.as_deref_mut())
        else {
            return Poll::Ready(Ok(()));
        };
        let Collecting { request, first } = &mut **collecting;
        let record = |rejection, extensions: &Extensions| {
            record_rejection(rejection, &call.chain.name_at(0), None, extensions)
        };
        let request = ready!(request.poll(cx, record))?;
        if call.chain.is_idle() {
            let future = first.call(request);
            self.state.set(State::CallingFirst(future));
            *self.call = None;
        } else {
            let state = call.call_first(first, request);
            self.state.set(state);
        }
        Poll::Ready(Ok(()))
    }
}

/// Polls the call to the only target.
#[inline]
fn poll_only_target<S, F, B, R, E>(
    state: Pin<&mut State<S, F, B>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<ResponseBody<R>>, Error>>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes, Error: Into<BoxError>>,
    E: Into<BoxError> + 'static,
{
    let StateProj::CallingFirst(future) = state.project() else { unreachable!("polled after completion") };
    match future.poll(cx) {
        Poll::Ready(Ok(response)) => Poll::Ready(Ok(response.map(ResponseBody::of_target))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(Error::new(error))),
        Poll::Pending => Poll::Pending,
    }
}

partial_debug!([S, F, B] ResponseFuture<S, F, B>, "ResponseFuture");
