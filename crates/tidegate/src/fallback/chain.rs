use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{Extensions, Request, Response};
use tidegate_core::{Continuation, Splice};

use super::body::{Continuing, Source};
use super::layer::Settings;
use super::target::{Answered, Strategy, Target, TargetBody};
use super::{Handle, ResponseBody};
use crate::alarm::Alarm;
use crate::replay::{LastTarget, copy};
use crate::{
    AttemptBudget, BoxError, Deadline, ErrorCode, Failure, Outcome, Payload, Rejection, Trail, Verdict, clock,
};

/// One call, on its way down the chain.
pub(super) struct Chain {
    handle: Handle,
    settings: Settings,
    /// How many targets after the first have been asked, the one under way included.
    asked: usize,
    /// The request for the next target, if there can be one.
    next: Option<Request<Payload>>,
    pub(super) alarm: Alarm,
    /// There is one as soon as there is a chain to go down.
    trail: Option<Trail>,
}

impl Chain {
    pub(super) fn new(extensions: &mut Extensions, handle: Handle, settings: Settings) -> Self {
        let mut trail = Trail::of(extensions).cloned();
        if trail.is_none() && !handle.0.is_empty() {
            extensions.insert(trail.insert(Trail::new()).clone());
        }
        let alarm = Alarm::new(Deadline::of(extensions));
        Self { handle, settings, asked: 0, next: None, alarm, trail }
    }

    /// Alone there is nothing to keep the body for.
    pub(super) fn body_cap(&self) -> usize {
        if self.handle.0.is_empty() { 0 } else { self.settings.body_cap }
    }

    /// Keeps a copy for the next target, unless there is none.
    pub(super) fn keep(&mut self, request: &Request<Payload>) {
        let may_follow = self.asked < self.handle.0.len();
        self.next = if may_follow { copy(request) } else { None };
    }

    /// The request for the target that is to be asked now.
    pub(super) fn take(&mut self) -> Request<Payload> {
        let mut request = self.next.take().expect("kept for this target");
        self.keep(&request);
        if self.next.is_none() {
            request.extensions_mut().insert(LastTarget);
        }
        request
    }

    /// The target to ask instead of this result, if there is one that may do better.
    pub(super) fn instead_of<R>(&mut self, result: &Result<Response<R>, BoxError>) -> Option<Target> {
        let outcome = match result {
            Ok(response) => Outcome::of(response),
            Err(error) => Outcome::of_error(&**error),
        };
        if outcome == Outcome::Success {
            self.has_answered();
            return None;
        }
        let policy = &self.settings.policy;
        let falls_back = match result {
            Ok(_) => policy.falls_back(&outcome),
            Err(error) => policy.falls_back_from(error),
        };
        if !falls_back {
            return None;
        }
        let target = self.following()?.clone();
        self.asked += 1;
        let because = code(&outcome, result.as_ref().err());
        self.tell(&target, because, Verdict::FellBack { to: Arc::clone(&target.name), because });
        Some(target)
    }

    /// The target to go on with a stream that broke, and the request that asks it to.
    pub(super) fn instead_of_rest(
        &mut self,
        error: &BoxError,
        splice: &dyn Splice,
    ) -> Option<(Target, Request<Payload>)> {
        if !self.settings.policy.falls_back_from(error) {
            return None;
        }
        let target = self.following()?.clone();
        let body = splice.ask(&target.name, self.next.as_ref()?.body().bytes()?)?;
        self.asked += 1;
        let mut request = self.take();
        if request.headers().contains_key(CONTENT_LENGTH) {
            request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
        }
        *request.body_mut() = body.into();
        request.extensions_mut().insert(Continuation);
        let because = code(&Outcome::of_error(&**error), Some(error));
        self.tell(&target, because, Verdict::Continued { by: Arc::clone(&target.name), because });
        Some((target, request))
    }

    /// The stream of the one who was asked for the rest, or why there is none.
    pub(super) fn rest_of(
        &self,
        result: Result<Response<TargetBody>, BoxError>,
    ) -> Result<TargetBody, BoxError> {
        let response = result?;
        if let Outcome::Failure(failure) = Outcome::of(&response) {
            return Err(failure.into());
        }
        let (head, body) = response.into_parts();
        let is_stream =
            self.settings.continues.as_ref().is_some_and(|continues| continues.follow(&head).is_some());
        if !is_stream {
            return Err(Failure::new(ErrorCode::ServerError).into());
        }
        self.has_answered();
        Ok(body)
    }

    /// The next target, if it is not too late and the call may make another attempt.
    fn following(&self) -> Option<&Target> {
        let is_too_late = self.alarm.deadline().is_some_and(|deadline| deadline.is_past(clock::now()));
        let may_ask = |next: &Request<Payload>| !is_too_late && AttemptBudget::spend(next.extensions());
        self.handle.0.get(self.asked).filter(|_| self.next.as_ref().is_some_and(may_ask))
    }

    /// The target that was asked last, if it is not the first.
    pub(super) fn current(&self) -> Option<&Target> {
        self.handle.0.get(self.asked.checked_sub(1)?)
    }

    pub(super) fn has_answered(&self) {
        if let Some(target) = self.current() {
            target.counts.answered();
        }
    }

    /// Writes down why the chain goes on.
    fn tell(&self, target: &Target, code: Option<ErrorCode>, verdict: Verdict) {
        target.counts.asked();
        let is_rest = matches!(verdict, Verdict::Continued { .. });
        if let Some(trail) = &self.trail {
            trail.push(verdict);
            trail.enter(&target.name);
        }
        let (target, code) = (&*target.name, code.map(ErrorCode::code));
        match is_rest {
            false => tracing::info!(layer = "fallback", target, code, "asking another target"),
            true => tracing::info!(layer = "fallback", target, code, "asking another target for the rest"),
        }
    }

    /// The answer for the caller: marked, if it is not the first target's, and followed, if it is a stream that
    /// another target could go on with.
    pub(super) fn hand_over<B>(self, mut response: Response<Source<B>>) -> Response<ResponseBody<B>> {
        if let Some(target) = self.current() {
            let answered =
                Answered { target: Arc::clone(&target.name), strategy: Strategy::AlternativeModel };
            response.extensions_mut().insert(answered);
            self.leave_trail(response.extensions_mut());
        }
        let may_go_on = self.settings.continues.is_some() && self.next.is_some();
        if !may_go_on || Outcome::of(&response) != Outcome::Success {
            return response.map(|body| ResponseBody::new(body, None));
        }
        let (mut head, body) = response.into_parts();
        let splice = self.settings.continues.as_ref().and_then(|continues| continues.follow(&head));
        let continuing = splice.map(|splice| {
            // What is added is not part of a length told before, and is told of in the trail.
            head.headers.remove(CONTENT_LENGTH);
            self.leave_trail(&mut head.extensions);
            Box::new(Continuing::new(self, splice))
        });
        Response::from_parts(head, ResponseBody::new(body, continuing))
    }

    fn leave_trail(&self, extensions: &mut Extensions) {
        if let Some(trail) = &self.trail {
            extensions.insert(trail.clone());
        }
    }
}

fn code(outcome: &Outcome, error: Option<&BoxError>) -> Option<ErrorCode> {
    let refused = error.and_then(|error| Rejection::find(&**error)).map(Rejection::code);
    refused.or(outcome.failure().map(|failure| failure.code))
}
