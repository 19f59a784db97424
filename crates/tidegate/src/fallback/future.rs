use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tidegate_core::Collect;
use tokio::time::Sleep;
use tower_service::Service;

use super::body::Source;
use super::chain::{Chain, Step, Whom};
use super::layer::Settings;
use super::target::{TargetFuture, TargetService};
use super::{Handle, ResponseBody};
use crate::{BoxError, ErrorCode, Gate, HttpService, Payload, Rejection};

/// Asks the first target, judges what came back, and goes down the chain.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Payload>>, B> {
    #[pin]
    state: State<S, S::Future, B>,
    /// None if there is nobody else to ask. Boxed: it holds a copy of the request, and one allocation costs less than
    /// to hand that on with every move of the future.
    call: Option<Box<Call<S>>>,
}

/// One call that somebody else may answer.
struct Call<S> {
    chain: Chain,
    /// The first target, if it may be asked once more.
    again: Option<S>,
    /// The first target, as it is asked once more. One that fails as it is made ready is not to be used again.
    readied: Option<S>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    /// The body is read, so that it can be sent to others. Boxed: seldom, and large.
    Collecting(Box<Collecting<S, B>>),
    /// The first target is asked.
    First(#[pin] F),
    /// There is no time to ask anybody.
    TooLate,
    /// The first target is asked whether it can take the call once more.
    ReadyingFirst,
    /// The next target is asked whether it can take the call.
    Readying(TargetService),
    /// The next target is asked.
    Next(TargetFuture),
    /// Somebody has answered.
    Answered,
    /// All rest, and the one who is back first is waited for.
    Waiting(Pin<Box<Sleep>>, Option<Whom>),
}

/// A request whose body is being read.
struct Collecting<S, B> {
    head: Option<http::request::Parts>,
    body: Collect<B>,
    first: S,
}

impl<S> Call<S>
where
    S: Service<Request<Payload>> + Clone,
{
    /// Asks the first target, which is ready.
    fn first<B>(&mut self, service: &mut S, request: Request<Payload>) -> State<S, S::Future, B> {
        if self.chain.is_too_late() {
            return State::TooLate;
        }
        self.chain.begin();
        State::First(service.call(request))
    }

    /// Asks somebody: as soon as they are ready.
    fn ask<B>(&mut self, whom: Whom) -> State<S, S::Future, B> {
        match whom {
            Whom::First => {
                self.readied.clone_from(&self.again);
                State::ReadyingFirst
            }
            Whom::Other(service) => State::Readying(service),
        }
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<Payload>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// The body is here: the first target is asked at once.
    pub(super) fn calling(
        first: &mut S,
        mut request: Request<Payload>,
        handle: &Handle,
        settings: &Arc<Settings>,
    ) -> Self {
        if handle.is_empty() {
            return Self { state: State::First(first.call(request)), call: None };
        }
        let mut chain = Chain::new(request.extensions_mut(), handle.clone(), Arc::clone(settings));
        chain.keep(&request);
        let again = chain.may_return_to_first().then(|| first.clone());
        let mut call = Box::new(Call { chain, again, readied: None });
        Self { state: call.first(first, request), call: Some(call) }
    }

    /// The body is yet to be read: the first target is asked when that has been done.
    pub(super) fn collecting(
        first: S,
        mut request: Request<B>,
        handle: Handle,
        settings: &Arc<Settings>,
    ) -> Self {
        // Alone there is nothing to keep the body for.
        let body_cap = if handle.is_empty() { 0 } else { settings.body_cap };
        let chain = Chain::new(request.extensions_mut(), handle, Arc::clone(settings));
        let (head, body) = request.into_parts();
        let collecting = Collecting { head: Some(head), body: Payload::collect(body, body_cap), first };
        let call = Box::new(Call { chain, again: None, readied: None });
        Self { state: State::Collecting(Box::new(collecting)), call: Some(call) }
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<S::Body>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let answer = loop {
            let Some(call) = this.call.as_deref_mut() else {
                let StateProj::First(future) = this.state.project() else {
                    unreachable!("polled after completion")
                };
                let result = ready!(future.poll(cx)).map_err(Into::into);
                return Poll::Ready(
                    result.map(|response| response.map(|body| ResponseBody::new(Source::First(body)))),
                );
            };
            let Call { chain, again, readied } = call;
            let answer = match this.state.as_mut().project() {
                StateProj::Answered => unreachable!("polled after completion"),
                // The first target is the instance that the caller made ready.
                StateProj::Collecting(collecting) => {
                    let Collecting { head, body, first } = &mut **collecting;
                    let Poll::Ready(body) = Pin::new(body).poll(cx) else {
                        return Poll::Ready(Err(ready!(chain.alarm.poll_past(cx)).into()));
                    };
                    let body = body?;
                    let head = head.take().expect("polled after completion");
                    let request = Request::from_parts(head, body);
                    if chain.is_alone() {
                        let future = first.call(request);
                        this.state.set(State::First(future));
                        *this.call = None;
                        continue;
                    }
                    chain.keep(&request);
                    *again = chain.may_return_to_first().then(|| first.clone());
                    let state = call.first(first, request);
                    this.state.set(state);
                    continue;
                }
                StateProj::TooLate => Err(Rejection::new(Gate::Deadline, ErrorCode::Timeout).into()),
                // A target may know nothing of deadlines.
                StateProj::First(future) => match future.poll(cx) {
                    Poll::Ready(Ok(response)) => Ok(response.map(Source::First)),
                    Poll::Ready(Err(error)) => Err(error.into()),
                    Poll::Pending => Err(ready!(chain.cutoff.poll(cx)).into()),
                },
                StateProj::ReadyingFirst => {
                    let first = readied.as_mut().expect("kept to be asked again");
                    Err(match first.poll_ready(cx) {
                        Poll::Ready(Ok(())) if !chain.is_too_late() => {
                            chain.begin();
                            let future = first.call(chain.request());
                            this.state.set(State::First(future));
                            continue;
                        }
                        Poll::Ready(Err(error)) => error.into(),
                        Poll::Ready(Ok(())) | Poll::Pending => ready!(chain.alarm.poll_past(cx)).into(),
                    })
                }
                StateProj::Readying(service) => Err(match service.poll_ready(cx) {
                    Poll::Ready(Ok(())) if !chain.is_too_late() => {
                        chain.begin();
                        let future = service.call(chain.request());
                        this.state.set(State::Next(future));
                        continue;
                    }
                    Poll::Ready(Err(error)) => error,
                    Poll::Ready(Ok(())) | Poll::Pending => ready!(chain.alarm.poll_past(cx)).into(),
                }),
                StateProj::Next(future) => match future.as_mut().poll(cx) {
                    Poll::Ready(answer) => answer.map(|response| response.map(Source::Other)),
                    Poll::Pending => Err(ready!(chain.cutoff.poll(cx)).into()),
                },
                StateProj::Waiting(sleep, whom) => {
                    ready!(sleep.as_mut().poll(cx));
                    let whom = whom.take().expect("waited for");
                    let state = call.ask(whom);
                    this.state.set(state);
                    continue;
                }
            };
            match chain.step(answer) {
                ControlFlow::Break(answer) => break answer,
                ControlFlow::Continue(Step::Ask(whom)) => {
                    let state = call.ask(whom);
                    this.state.set(state);
                }
                ControlFlow::Continue(Step::Wait(wait, whom)) => {
                    this.state.set(State::Waiting(Box::pin(tokio::time::sleep(wait)), Some(whom)));
                }
                ControlFlow::Continue(Step::Instead(answer)) => {
                    *this.call = None;
                    this.state.set(State::Answered);
                    return Poll::Ready(answer.map(|response| response.map(ResponseBody::composed)));
                }
            }
        };
        // From here on it is the body's.
        let call = this.call.take().expect("there is an answer once");
        this.state.set(State::Answered);
        Poll::Ready(answer.map(|response| call.chain.hand_over(response)))
    }
}
