use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::judge::{Attempt, Verdict};
use super::{Ahead, Handle};
use crate::alarm::Alarm;
use crate::replay::copy;
use crate::{BoxError, Deadline, HttpService, Outcome, Payload, Rejection, Trail, clock};
use tidegate_core::Collect;

/// Asks, judges what came back, waits, and asks again.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Payload>>, B> {
    #[pin]
    state: State<S::Future, B>,
    /// Takes the next attempt; there is none if no attempt can follow.
    service: Option<S>,
    call: Call,
}

#[pin_project(project = StateProj)]
enum State<F, B> {
    /// The body is read, so that it can be sent again.
    Collecting { head: Option<http::request::Parts>, body: Collect<B> },
    /// An attempt is under way.
    Calling(#[pin] F),
    /// The back-off.
    Waiting(#[pin] Sleep),
    /// The service is asked whether it can take another attempt.
    Readying,
}

/// One call of the user, with all its attempts.
struct Call {
    handle: Handle,
    ahead: Ahead,
    /// The number of the attempt under way.
    attempt: u32,
    /// An attempt has reached somebody who is not one of us.
    has_reached: bool,
    /// The request of the next attempt, if there can be one.
    next: Option<Request<Payload>>,
    alarm: Alarm,
    log: Log,
}

/// Who writes down what happened: the wire, if the caller gave a trail; else we, from the first failure on.
enum Log {
    Given(Trail),
    Own(Option<Trail>),
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<Payload>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// The body is here: `ready` is called at once, and copied only if another attempt can follow.
    pub(super) fn calling(ready: &mut S, request: Request<Payload>, handle: Handle, ahead: Ahead) -> Self {
        let mut call = Call::new(request.extensions(), handle, ahead);
        call.keep(&request);
        let service = call.next.is_some().then(|| ready.clone());
        Self { state: State::Calling(ready.call(request)), service, call }
    }

    /// The body is yet to be read: `ready` is called when that has been done.
    pub(super) fn collecting(ready: S, request: Request<B>, handle: Handle, ahead: Ahead) -> Self {
        let call = Call::new(request.extensions(), handle, ahead);
        let (head, body) = request.into_parts();
        let body = Payload::collect(body, call.body_cap());
        Self { state: State::Collecting { head: Some(head), body }, service: Some(ready), call }
    }
}

impl Call {
    fn new(extensions: &Extensions, handle: Handle, ahead: Ahead) -> Self {
        let log = Trail::of(extensions).cloned().map_or(Log::Own(None), Log::Given);
        let alarm = Alarm::new(Deadline::of(extensions));
        Self { attempt: 1, has_reached: false, next: None, alarm, log, handle, ahead }
    }

    fn body_cap(&self) -> usize {
        let settings = self.handle.0.settings();
        if settings.max_retries == 0 { 0 } else { settings.body_cap }
    }

    /// Keeps a copy for the next attempt, unless none can follow.
    fn keep(&mut self, request: &Request<Payload>) {
        let may_follow = self.attempt <= self.handle.0.settings().max_retries;
        self.next = if may_follow { copy(request) } else { None };
    }

    /// A refusal of ours is not the whole story of a call that had reached somebody before.
    fn mark(&mut self, error: &mut BoxError) {
        match error.downcast_mut::<Rejection>() {
            Some(rejection) if self.has_reached => *rejection = rejection.clone().after_attempt(),
            Some(_) => {}
            None => self.has_reached = true,
        }
    }

    /// What to do about a result; the waiting and the counting are done by the caller.
    fn judge<R>(&mut self, result: &Result<Response<R>, BoxError>) -> Verdict {
        let outcome = match result {
            Ok(response) => Outcome::of(response),
            Err(error) => Outcome::of_error(&**error),
        };
        let rejection = result.as_ref().err().and_then(|error| Rejection::find(&**error));
        // A call pays for retries once it has reached somebody; one that we refused has cost nobody anything.
        if self.attempt == 1 && rejection.is_none() {
            self.handle.deposit();
        }
        if outcome == Outcome::Success || self.next.is_none() {
            return self.end(&outcome);
        }
        let attempt = Attempt {
            number: self.attempt,
            deadline: self.alarm.deadline(),
            now: clock::now(),
            random: self.handle.random(),
        };
        let verdict = match rejection {
            Some(rejection) => self.handle.0.settings().judge_rejection(rejection, attempt),
            None => self.handle.0.settings().judge(&outcome, attempt),
        };
        match verdict {
            Verdict::Again(wait) if !self.ahead.refuses(wait) && self.handle.withdraw() => {
                self.tell(&outcome, rejection, wait);
                verdict
            }
            Verdict::Again(_) | Verdict::Return => self.end(&outcome),
        }
    }

    fn end(&mut self, outcome: &Outcome) -> Verdict {
        if self.attempt > 1 {
            self.handle.ended(*outcome == Outcome::Success);
            if let Log::Own(Some(trail)) = &self.log {
                trail.attempt(outcome);
            }
        }
        Verdict::Return
    }

    fn tell(&mut self, outcome: &Outcome, rejection: Option<&Rejection>, wait: Duration) {
        let trail = match &mut self.log {
            Log::Given(trail) => trail,
            Log::Own(trail) => {
                let trail = trail.get_or_insert_default();
                trail.attempt(outcome);
                if let Some(rejection) = rejection {
                    trail.refused(rejection);
                }
                trail
            }
        };
        trail.push(crate::Verdict::Waiting(wait));
        tracing::debug!(
            layer = "retry",
            target = self.handle.0.target(),
            attempt = self.attempt,
            code = outcome.failure().map(|failure| failure.code.code()),
            wait_ms = wait.as_millis() as u64,
            "asking again",
        );
    }

    /// The trail of a call that needed more than one attempt, for the response.
    fn trail(&self) -> Option<Trail> {
        match &self.log {
            Log::Given(trail) | Log::Own(Some(trail)) if self.attempt > 1 => Some(trail.clone()),
            Log::Given(_) | Log::Own(_) => None,
        }
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: HttpService<Payload>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<S::Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // The first attempt goes to the instance that the caller made ready.
                StateProj::Collecting { head, body } => {
                    let Poll::Ready(body) = Pin::new(body).poll(cx) else {
                        return Poll::Ready(Err(ready!(this.call.alarm.poll_past(cx)).into()));
                    };
                    let body = body?;
                    let head = head.take().expect("polled after completion");
                    let request = Request::from_parts(head, body);
                    this.call.keep(&request);
                    let service = this.service.as_mut().expect("kept for this attempt");
                    this.state.set(State::Calling(service.call(request)));
                }
                StateProj::Calling(future) => {
                    let mut result = ready!(future.poll(cx)).map_err(Into::into);
                    match &mut result {
                        Ok(_) => this.call.has_reached = true,
                        Err(error) => this.call.mark(error),
                    }
                    match this.call.judge(&result) {
                        Verdict::Return => {
                            if let (Ok(response), Some(trail)) = (&mut result, this.call.trail()) {
                                response.extensions_mut().insert(trail);
                            }
                            return Poll::Ready(result);
                        }
                        Verdict::Again(wait) => {
                            // Now, and not after the wait: it may hold a connection, or a permit.
                            drop(result);
                            this.state.set(State::Waiting(tokio::time::sleep(wait)));
                        }
                    }
                }
                StateProj::Waiting(sleep) => {
                    ready!(sleep.poll(cx));
                    this.state.set(State::Readying);
                }
                StateProj::Readying => {
                    let service = this.service.as_mut().expect("kept for this attempt");
                    let Poll::Ready(ready) = service.poll_ready(cx) else {
                        let mut error = ready!(this.call.alarm.poll_past(cx)).into();
                        this.call.mark(&mut error);
                        return Poll::Ready(Err(error));
                    };
                    ready.map_err(Into::into)?;
                    let request = this.call.next.take().expect("kept for this attempt");
                    this.call.attempt += 1;
                    this.call.keep(&request);
                    this.state.set(State::Calling(service.call(request)));
                }
            }
        }
    }
}
