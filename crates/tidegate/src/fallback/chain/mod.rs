mod answer;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Extensions, Request, Response};
use tidegate_core::{Lack, Rewritten};

use crate::alarm::Alarm;
use crate::fallback::Handle;
use crate::fallback::cooling::Cooling;
use crate::fallback::fit::Fit;
use crate::fallback::layer::Settings;
use crate::fallback::resort::{Composable, Kind, Resort};
use crate::fallback::target::{Target, TargetService};
use crate::replay::{LastTarget, copy};
use crate::{
    AttemptBudget, BoxError, Deadline, ErrorCode, Outcome, Payload, Rejection, Trail, Verdict, clock,
};

/// One call, on its way down the chain: the targets in their order, then whoever is the first to have rested if all
/// of them only rest, then the last resorts.
pub(in crate::fallback) struct Chain {
    handle: Handle,
    settings: Arc<Settings>,
    /// The target that was asked last: 0 is the first.
    place: usize,
    /// How many targets after the first have had their turn.
    asked: usize,
    /// Known once somebody has failed.
    troubles: Option<Box<Troubles>>,
    /// What the caller asked, as long as anybody may have to be asked again.
    template: Option<Request<Payload>>,
    pub(in crate::fallback) alarm: Alarm,
    /// There is one as soon as there is a chain to go down.
    trail: Option<Trail>,
}

/// What is of interest only to a call that is not answered at once.
#[derive(Default)]
struct Troubles {
    cooling: Cooling,
    fit: Fit,
    /// The last resort that is to be tried next.
    resort: usize,
    /// The body of the simplified request, and the place of the target that is to be asked next with it.
    simplified: Option<(Bytes, usize)>,
}

/// What to do about a result.
pub(in crate::fallback) enum Step {
    /// Hand it to the caller.
    Return,
    Ask(Whom),
    Wait(Duration, Whom),
    /// Hand this to the caller instead.
    Answer(Response<Bytes>),
}

pub(in crate::fallback) enum Whom {
    First,
    Other(TargetService),
}

impl Chain {
    pub(in crate::fallback) fn new(
        extensions: &mut Extensions,
        handle: Handle,
        settings: Arc<Settings>,
    ) -> Self {
        let mut trail = Trail::of(extensions).cloned();
        if trail.is_none() && !handle.is_empty() {
            extensions.insert(trail.insert(Trail::new()).clone());
        }
        let alarm = Alarm::new(Deadline::of(extensions));
        Self { handle, settings, place: 0, asked: 0, troubles: None, template: None, alarm, trail }
    }

    /// Keeps a copy of what the caller asked, unless nobody else will be asked.
    pub(in crate::fallback) fn keep(&mut self, request: &Request<Payload>) {
        self.template = if self.handle.is_empty() { None } else { copy(request) };
    }

    /// Whether the first target may be asked more than once.
    pub(in crate::fallback) fn may_return_to_first(&self) -> bool {
        self.template.is_some() && (self.alarm.deadline().is_some() || self.simplifies())
    }

    /// Whether all may be asked again with a simplified prompt.
    fn simplifies(&self) -> bool {
        self.handle.resorts().iter().any(|resort| matches!(resort.kind, Kind::Simplified))
    }

    /// The request for the target that is to be asked now. Copied, unless nobody can follow.
    pub(in crate::fallback) fn request(&mut self) -> Request<Payload> {
        let is_last = self.asked == self.handle.targets().len()
            && self.handle.resorts().is_empty()
            && self.alarm.deadline().is_none();
        let template = if is_last { self.template.take() } else { self.template.as_ref().and_then(copy) };
        let mut request = template.expect("kept for this target");
        // Nobody needs time after it, but for those who will be asked with less.
        if self.asked == self.handle.targets().len() && !self.simplifies() {
            request.extensions_mut().insert(LastTarget);
        }
        match self.simplified() {
            Some((body, _)) => rewritten(request, body.clone()),
            None => request,
        }
    }

    /// What to do about a target that could not even be asked, or was not waited for any longer.
    pub(in crate::fallback) fn failed<R>(
        &mut self,
        error: BoxError,
    ) -> (Step, Result<Response<R>, BoxError>) {
        let result = Err(error);
        (self.step(&result), result)
    }

    /// What to do about the result of the target that was asked last.
    pub(in crate::fallback) fn step<R>(&mut self, result: &Result<Response<R>, BoxError>) -> Step {
        let error = result.as_ref().err();
        let outcome = match result {
            Ok(response) => Outcome::of(response),
            Err(error) => Outcome::of_error(&**error),
        };
        self.ended(outcome == Outcome::Success);
        let policy = &self.settings.policy;
        let falls_back = match error {
            None => policy.falls_back(&outcome),
            Some(error) => policy.falls_back_from(error),
        };
        // What is said of a simplified request is about a request of ours, not the caller's.
        let goes_on = falls_back || (self.simplified().is_some() && outcome != Outcome::Success);
        if !goes_on || self.template.is_none() {
            return Step::Return;
        }
        let because = code(&outcome, error);
        if self.simplified().is_none() {
            let (place, deadline) = (self.place, self.alarm.deadline());
            let cooling = &mut self.troubles.get_or_insert_default().cooling;
            cooling.note(place, &outcome, error, clock::now());
            self.note_size(&outcome);
            if let Some(target) = self.following() {
                self.place = self.asked;
                target.counts.asked();
                self.tell(&target.name, because);
                return Step::Ask(Whom::Other(target.service));
            }
            let cooling = &mut self.troubles.get_or_insert_default().cooling;
            if let Some((place, wait)) = cooling.soonest(deadline, clock::now())
                && self.may_ask()
            {
                self.push(Verdict::Waiting(wait));
                return Step::Wait(wait, self.whom(place));
            }
        }
        self.last_resort(because).unwrap_or(Step::Return)
    }

    /// The next last resort that has something to say.
    fn last_resort(&mut self, because: Option<ErrorCode>) -> Option<Step> {
        let composable = Composable::of(self.template.as_ref()?, &self.settings)?;
        while let Some(resort) = self.resort().cloned() {
            let is_first = self.simplified().is_none();
            let step = match resort.kind {
                Kind::Simplified => self.simpler(&composable).map(Step::Ask),
                _ => composable.answer(&resort).map(Step::Answer),
            };
            if is_first && step.is_some() {
                resort.counts.asked();
                self.tell(&resort.name, because);
            }
            match step {
                Some(Step::Answer(mut response)) => {
                    resort.counts.ended(true);
                    self.leave_trail(response.extensions_mut());
                    return Some(Step::Answer(response));
                }
                Some(step) => return Some(step),
                None => {
                    let troubles = self.troubles.get_or_insert_default();
                    troubles.resort += 1;
                    // Nobody had an answer to the simpler prompt either.
                    if troubles.simplified.take().is_some() {
                        resort.counts.ended(false);
                    }
                }
            }
        }
        None
    }

    /// The last resort that is to be tried next, or is being tried.
    fn resort(&self) -> Option<&Resort> {
        self.handle.resorts().get(self.troubles.as_ref().map_or(0, |troubles| troubles.resort))
    }

    fn simplified(&self) -> Option<&(Bytes, usize)> {
        self.troubles.as_ref()?.simplified.as_ref()
    }

    /// Whom to ask next with a simplified prompt: the first target, and then the others in their order.
    fn simpler(&mut self, composable: &Composable) -> Option<Whom> {
        let (body, place) = match self.simplified() {
            Some((body, place)) => (body.clone(), *place),
            None => (composable.simplified(self.template.as_ref()?.body().bytes()?)?, 0),
        };
        let models = self.settings.models.as_deref();
        // It is another prompt, with needs of its own.
        let mut fit = Fit::default();
        let mut is_fit = |place: usize| {
            let target = place.checked_sub(1).and_then(|place| self.handle.targets().get(place));
            target.is_none_or(|target| fit.lack(models, &target.name, Some(&body)).is_none())
        };
        let place = (place..=self.handle.targets().len()).find(|place| is_fit(*place))?;
        if !self.may_ask() {
            return None;
        }
        self.troubles.get_or_insert_default().simplified = Some((body, place + 1));
        Some(self.whom(place))
    }

    /// The target at `place` is the one that is asked now.
    fn whom(&mut self, place: usize) -> Whom {
        self.place = place;
        match self.current() {
            Some(target) => Whom::Other(target.service.clone()),
            None => Whom::First,
        }
    }

    /// The next target that can take the request, if it may be asked: it has had its turn then.
    fn following(&mut self) -> Option<Target> {
        let target = self.next_fit()?;
        if !self.may_ask() {
            return None;
        }
        self.asked += 1;
        Some(target)
    }

    /// The next target that can take the request; those before it are passed over.
    fn next_fit(&mut self) -> Option<Target> {
        let handle = self.handle.clone();
        loop {
            let target = handle.targets().get(self.asked)?;
            let Some(lack) = self.lack(target) else { return Some(target.clone()) };
            self.pass_over(target, lack);
            self.asked += 1;
        }
    }

    fn lack(&mut self, target: &Target) -> Option<Lack> {
        let body = self.template.as_ref()?.body().bytes();
        let fit = &mut self.troubles.get_or_insert_default().fit;
        fit.lack(self.settings.models.as_deref(), &target.name, body.map(|body| &**body))
    }

    fn pass_over(&self, target: &Target, lack: Lack) {
        target.counts.passed_over();
        self.push(Verdict::PassedOver { target: Arc::clone(&target.name), lack });
        tracing::info!(layer = "fallback", target = &*target.name, %lack, "passing over a target");
    }

    /// Takes note if the prompt is too long for the target that was asked last.
    fn note_size(&mut self, outcome: &Outcome) {
        let name = match self.current() {
            Some(target) => Some(Arc::clone(&target.name)),
            // Nobody else has entered the trail yet.
            None if self.asked == 0 => self.trail.as_ref().and_then(Trail::target),
            None => None,
        };
        if let (Some(name), Some(troubles)) = (name, &mut self.troubles) {
            troubles.fit.note(self.settings.models.as_deref(), &name, outcome);
        }
    }

    /// Whether there is time for another target, and the call may make another attempt: which is then spent.
    fn may_ask(&self) -> bool {
        let template = self.template.as_ref().filter(|_| !self.is_too_late());
        template.is_some_and(|request| AttemptBudget::spend(request.extensions()))
    }

    fn is_too_late(&self) -> bool {
        self.alarm.deadline().is_some_and(|deadline| deadline.is_past(clock::now()))
    }

    /// The target that was asked last, if it is not the first.
    pub(in crate::fallback) fn current(&self) -> Option<&Target> {
        self.handle.targets().get(self.place.checked_sub(1)?)
    }

    /// Counts how it went with the one who was asked.
    fn ended(&self, has_answered: bool) {
        let counts = match self.simplified() {
            None => self.current().map(|target| &target.counts),
            // It ends when all have been asked, or with an answer.
            Some(_) => self.resort().map(|resort| &resort.counts).filter(|_| has_answered),
        };
        if let Some(counts) = counts {
            counts.ended(has_answered);
        }
    }

    /// Writes down that the chain goes on to `target`.
    fn tell(&self, target: &Arc<str>, because: Option<ErrorCode>) {
        self.push(Verdict::FellBack { to: Arc::clone(target), because });
        self.enter(target);
        let (target, code) = (&**target, because.map(ErrorCode::code));
        tracing::info!(layer = "fallback", target, code, "asking another target");
    }

    fn push(&self, verdict: Verdict) {
        if let Some(trail) = &self.trail {
            trail.push(verdict);
        }
    }

    fn enter(&self, target: &Arc<str>) {
        if let Some(trail) = &self.trail {
            trail.enter(target);
        }
    }

    fn leave_trail(&self, extensions: &mut Extensions) {
        if let Some(trail) = &self.trail {
            extensions.insert(trail.clone());
        }
    }
}

/// The request with another body.
fn rewritten(mut request: Request<Payload>, body: Bytes) -> Request<Payload> {
    if request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    }
    *request.body_mut() = body.into();
    request.extensions_mut().insert(Rewritten);
    request
}

fn code(outcome: &Outcome, error: Option<&BoxError>) -> Option<ErrorCode> {
    let refused = error.and_then(|error| Rejection::find(&**error)).map(Rejection::code);
    refused.or(outcome.failure().map(|failure| failure.code))
}
