use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use sync_wrapper::SyncWrapper;
use tokio::time::Sleep;
use tower_service::Service;

use super::body_source::BodySource;
use super::call::FallbackCall;
use super::chain::{ChainState, ChainStep, NextTarget};
use super::hedge_future::HedgeFuture;
use super::settings::FallbackSettings;
use super::target::{TargetFuture, TargetService};
use super::{FallbackOverride, Handle, ResponseBody};
use crate::body::CollectRequest;
use crate::rejected::{deadline_passed, record_rejection};
use crate::{BoxError, Error, HttpService, Payload, Rejection};

/// Calls the first target, and falls back along the chain when it fails.
#[pin_project]
pub struct ResponseFuture<S, F, B> {
    #[pin]
    state: State<S, F, B>,
    /// `None` without further targets and last resorts. Boxed: it holds a copy of the request, and one
    /// allocation costs less than moving the copy with every move of the future.
    call: Option<Box<FallbackCall<S, F>>>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    /// The request body is read, so that it can be sent to several targets. Boxed: rare and large.
    Collecting(Box<Collecting<S, B>>),
    /// The first target is called.
    CallingFirst(#[pin] F),
    /// The deadline passed before any target was called.
    PastDeadline(Option<Rejection>),
    /// The first target is made ready for another call.
    ReadyingFirst,
    /// The next target is made ready.
    Readying(TargetService),
    /// The next target is called.
    CallingNext(TargetFuture),
    /// The target of the hedge is called, and no other.
    CallingHedge(HedgeFuture<F>),
    /// The response was returned.
    Done,
    /// All targets are cooling down, and the call waits until one of them is available.
    Waiting(Pin<Box<Sleep>>),
}

/// A request while its body is being read.
struct Collecting<S, B> {
    request: CollectRequest<B>,
    /// The first target: the instance that the caller made ready.
    first: S,
}

impl<S> FallbackCall<S, S::Future>
where
    S: Service<Request<Payload>> + Clone,
{
    /// Calls the first target, which is ready.
    fn call_first<B>(&mut self, service: &mut S, request: Request<Payload>) -> State<S, S::Future, B> {
        if self.chain.is_past_deadline() {
            let rejection = self.chain.reject_at_deadline(deadline_passed(), Some(request.extensions()));
            return State::PastDeadline(Some(rejection));
        }
        self.chain.start_attempt();
        State::CallingFirst(service.call(request))
    }

    /// Starts to make `target` ready; it is called as soon as it is.
    fn make_ready<B>(&mut self, target: NextTarget) -> State<S, S::Future, B> {
        match target {
            NextTarget::First => {
                self.first_retry.clone_from(&self.first_clone);
                State::ReadyingFirst
            }
            NextTarget::Other(service) => State::Readying(service),
        }
    }
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
        let mut chain = ChainState::new(request.extensions_mut(), handle, Arc::clone(settings));
        chain.keep_request(&request);
        let mut call = Box::new(FallbackCall::new(chain));
        call.first_clone = call.chain.may_resend_to_first().then(|| first.clone());
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
        let result = loop {
            let Some(call) = this.call.as_deref_mut() else {
                let StateProj::CallingFirst(future) = this.state.project() else {
                    unreachable!("polled after completion")
                };
                return match future.poll(cx) {
                    Poll::Ready(Ok(response)) => Poll::Ready(Ok(response.map(ResponseBody::of_target))),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(Error::new(error))),
                    Poll::Pending => Poll::Pending,
                };
            };
            let FallbackCall { chain, first_clone, first_retry, .. } = call;
            let polled = match this.state.as_mut().project() {
                StateProj::Done => unreachable!("polled after completion"),
                StateProj::Collecting(collecting) => {
                    let Collecting { request, first } = &mut **collecting;
                    let record = |rejection, extensions: &Extensions| {
                        record_rejection(rejection, &chain.name_at(0), None, extensions)
                    };
                    let request = ready!(request.poll(cx, record))?;
                    if chain.is_idle() {
                        let future = first.call(request);
                        this.state.set(State::CallingFirst(future));
                        *this.call = None;
                        continue;
                    }
                    chain.keep_request(&request);
                    *first_clone = chain.may_resend_to_first().then(|| first.clone());
                    let state = call.call_first(first, request);
                    this.state.set(state);
                    continue;
                }
                StateProj::PastDeadline(rejection) => {
                    Poll::Ready(Err(rejection.take().expect("polled after completion").into()))
                }
                StateProj::CallingFirst(future) => {
                    chain.poll_response(future, cx).map_ok(|response| response.map(BodySource::first))
                }
                StateProj::ReadyingFirst => {
                    let first = first_retry.as_mut().expect("set in `ReadyingFirst`");
                    match ready!(chain.poll_ready(first, cx)) {
                        Ok(()) => {
                            let future = first.call(chain.request());
                            this.state.set(State::CallingFirst(future));
                            continue;
                        }
                        Err(error) => Poll::Ready(Err(error)),
                    }
                }
                StateProj::Readying(service) => match ready!(chain.poll_ready(service, cx)) {
                    Ok(()) => {
                        let future = service.call(chain.request());
                        this.state.set(State::CallingNext(SyncWrapper::new(future)));
                        continue;
                    }
                    Err(error) => Poll::Ready(Err(error)),
                },
                StateProj::CallingNext(future) => chain
                    .poll_response(future.get_mut().as_mut(), cx)
                    .map_ok(|response| response.map(BodySource::Other)),
                StateProj::CallingHedge(future) => chain.poll_response(Pin::new(future), cx),
                StateProj::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    let target = chain.target_after_wait();
                    let state = call.make_ready(target);
                    this.state.set(state);
                    continue;
                }
            };
            let result = match polled {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    let result = ready!(call.poll_hedge(cx));
                    if !call.chain.on_hedge_result(&result) {
                        continue;
                    }
                    // The attempt that was in progress is cancelled before the response is returned.
                    this.state.set(State::Done);
                    result
                }
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

partial_debug!([S, F, B] ResponseFuture<S, F, B>, "ResponseFuture");
