use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use http_body_util::Either;
use pin_project::pin_project;
use tidegate_core::Collect;
use tower_service::Service;

use super::layer::Settings;
use super::target::{Answered, Strategy, Target, TargetBody, TargetService};
use super::{Handle, ResponseBody};
use crate::alarm::Alarm;
use crate::replay::copy;
use crate::{BoxError, Deadline, ErrorCode, HttpService, Outcome, Payload, Rejection, Trail, Verdict, clock};

/// Asks the first target, judges what came back, and goes down the chain.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Payload>>, B> {
    #[pin]
    state: State<S, S::Future, B>,
    chain: Chain,
}

type TargetFuture = <TargetService as Service<Request<Payload>>>::Future;

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

/// One call, on its way down the chain.
struct Chain {
    handle: Handle,
    settings: Settings,
    /// How many targets after the first have been asked, the one under way included.
    asked: usize,
    /// The request for the next target, if there can be one.
    next: Option<Request<Payload>>,
    alarm: Alarm,
    /// There is one as soon as there is a chain to go down.
    trail: Option<Trail>,
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
        Self { state: State::First(first.call(request)), chain }
    }

    /// The body is yet to be read: the first target is asked when that has been done.
    pub(super) fn collecting(first: S, mut request: Request<B>, handle: Handle, settings: Settings) -> Self {
        let chain = Chain::new(request.extensions_mut(), handle, settings);
        let (head, body) = request.into_parts();
        let body = Payload::collect(body, chain.body_cap());
        Self { state: State::Collecting { head: Some(head), body, first }, chain }
    }
}

impl Chain {
    fn new(extensions: &mut Extensions, handle: Handle, settings: Settings) -> Self {
        let mut trail = Trail::of(extensions).cloned();
        if trail.is_none() && !handle.0.is_empty() {
            extensions.insert(trail.insert(Trail::new()).clone());
        }
        let alarm = Alarm::new(Deadline::of(extensions));
        Self { handle, settings, asked: 0, next: None, alarm, trail }
    }

    /// Alone there is nothing to keep the body for.
    fn body_cap(&self) -> usize {
        if self.handle.0.is_empty() { 0 } else { self.settings.body_cap }
    }

    /// Keeps a copy for the next target, unless there is none.
    fn keep(&mut self, request: &Request<Payload>) {
        let may_follow = self.asked < self.handle.0.len();
        self.next = if may_follow { copy(request) } else { None };
    }

    /// The target to ask instead of this result, if there is one that may do better.
    fn instead_of<R>(&mut self, result: &Result<Response<R>, BoxError>) -> Option<Target> {
        let outcome = match result {
            Ok(response) => Outcome::of(response),
            Err(error) => Outcome::of_error(&**error),
        };
        if outcome == Outcome::Success {
            if let Some(target) = self.current() {
                target.counts.answered();
            }
            return None;
        }
        let policy = self.settings.policy;
        let falls_back = match result {
            Ok(_) => policy.falls_back(&outcome),
            Err(error) => policy.falls_back_from(error),
        };
        if !falls_back || self.next.is_none() || self.is_too_late() {
            return None;
        }
        let target = self.handle.0.get(self.asked)?.clone();
        self.asked += 1;
        let refused = result.as_ref().err().and_then(|error| Rejection::find(&**error)).map(Rejection::code);
        self.tell(refused.or(outcome.failure().map(|failure| failure.code)), &target);
        Some(target)
    }

    fn is_too_late(&self) -> bool {
        self.alarm.deadline().is_some_and(|deadline| deadline.is_past(clock::now()))
    }

    fn current(&self) -> Option<&Target> {
        self.handle.0.get(self.asked.checked_sub(1)?)
    }

    /// Writes down why the chain goes on.
    fn tell(&self, code: Option<ErrorCode>, target: &Target) {
        target.counts.asked();
        if let Some(trail) = &self.trail {
            trail.push(Verdict::FellBack { to: target.name.clone(), because: code });
            trail.enter(&target.name);
        }
        tracing::info!(
            layer = "fallback",
            target = &*target.name,
            code = code.map(ErrorCode::code),
            "asking another target",
        );
    }

    /// Marks an answer that is not the first target's.
    fn mark(&self, response: &mut Response<TargetBody>) {
        if let Some(target) = self.current() {
            let strategy = Strategy::AlternativeModel;
            response.extensions_mut().insert(Answered { target: target.name.clone(), strategy });
        }
        if let Some(trail) = &self.trail {
            response.extensions_mut().insert(trail.clone());
        }
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
        loop {
            match this.state.as_mut().project() {
                // The first target is the instance that the caller made ready.
                StateProj::Collecting { head, body, first } => {
                    let Poll::Ready(body) = Pin::new(body).poll(cx) else {
                        return Poll::Ready(Err(ready!(this.chain.alarm.poll_past(cx)).into()));
                    };
                    let body = body?;
                    let head = head.take().expect("polled after completion");
                    let request = Request::from_parts(head, body);
                    this.chain.keep(&request);
                    let future = first.call(request);
                    this.state.set(State::First(future));
                }
                StateProj::First(future) => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    match this.chain.instead_of(&result) {
                        None => return Poll::Ready(result.map(|response| response.map(Either::Left))),
                        // The failed answer goes before the next is asked: it may hold a connection, or a permit.
                        Some(target) => this.state.set(State::Readying(target.service)),
                    }
                }
                StateProj::Readying(service) => {
                    let Poll::Ready(ready) = service.poll_ready(cx) else {
                        return Poll::Ready(Err(ready!(this.chain.alarm.poll_past(cx)).into()));
                    };
                    ready?;
                    let request = this.chain.next.take().expect("kept for this target");
                    this.chain.keep(&request);
                    let future = service.call(request);
                    this.state.set(State::Next(future));
                }
                StateProj::Next(future) => {
                    let mut result = ready!(future.as_mut().poll(cx));
                    match this.chain.instead_of(&result) {
                        None => {
                            if let Ok(response) = &mut result {
                                this.chain.mark(response);
                            }
                            return Poll::Ready(result.map(|response| response.map(Either::Right)));
                        }
                        Some(target) => this.state.set(State::Readying(target.service)),
                    }
                }
            }
        }
    }
}
