use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tidegate_core::Collect;
use tower_service::Service;

use super::body::Source;
use super::chain::Chain;
use super::layer::Settings;
use super::target::{TargetFuture, TargetService};
use super::{Handle, ResponseBody};
use crate::{BoxError, HttpService, Payload};

/// Asks the first target, judges what came back, and goes down the chain.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Payload>>, B> {
    #[pin]
    state: State<S, S::Future, B>,
    chain: Option<Chain>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    /// The body is read, so that it can be sent to others.
    Collecting { head: Option<http::request::Parts>, body: Collect<B>, first: S },
    /// The first target is asked.
    First(#[pin] F),
    /// The next target is asked whether it can take the call.
    Readying(TargetService),
    /// The next target is asked.
    Next(TargetFuture),
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<Payload>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// The body is here: the first target is asked at once.
    pub(super) fn calling(
        first: &mut S,
        mut request: Request<Payload>,
        handle: Handle,
        settings: Settings,
    ) -> Self {
        let mut chain = Chain::new(request.extensions_mut(), handle, settings);
        chain.keep(&request);
        Self { state: State::First(first.call(request)), chain: Some(chain) }
    }

    /// The body is yet to be read: the first target is asked when that has been done.
    pub(super) fn collecting(first: S, mut request: Request<B>, handle: Handle, settings: Settings) -> Self {
        let chain = Chain::new(request.extensions_mut(), handle, settings);
        let (head, body) = request.into_parts();
        let body = Payload::collect(body, chain.body_cap());
        Self { state: State::Collecting { head: Some(head), body, first }, chain: Some(chain) }
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<S::Body>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let chain = this.chain.as_mut().expect("polled after completion");
        let answer = loop {
            match this.state.as_mut().project() {
                // The first target is the instance that the caller made ready.
                StateProj::Collecting { head, body, first } => {
                    let Poll::Ready(body) = Pin::new(body).poll(cx) else {
                        return Poll::Ready(Err(ready!(chain.alarm.poll_past(cx)).into()));
                    };
                    let body = body?;
                    let head = head.take().expect("polled after completion");
                    let request = Request::from_parts(head, body);
                    chain.keep(&request);
                    let future = first.call(request);
                    this.state.set(State::First(future));
                }
                StateProj::First(future) => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    match chain.instead_of(&result) {
                        None => break result.map(|response| response.map(Source::First)),
                        // The failed answer goes before the next is asked: it may hold a connection, or a permit.
                        Some(target) => this.state.set(State::Readying(target.service)),
                    }
                }
                StateProj::Readying(service) => {
                    let Poll::Ready(ready) = service.poll_ready(cx) else {
                        return Poll::Ready(Err(ready!(chain.alarm.poll_past(cx)).into()));
                    };
                    ready?;
                    let future = service.call(chain.take());
                    this.state.set(State::Next(future));
                }
                StateProj::Next(future) => {
                    let result = ready!(future.as_mut().poll(cx));
                    match chain.instead_of(&result) {
                        None => break result.map(|response| response.map(Source::Other)),
                        Some(target) => this.state.set(State::Readying(target.service)),
                    }
                }
            }
        };
        let chain = this.chain.take().expect("there is an answer once");
        Poll::Ready(answer.map(|response| chain.hand_over(response)))
    }
}
