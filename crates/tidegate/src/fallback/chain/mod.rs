//! One call on its way down the chain.

mod answer;
mod following;
mod request;
mod resorts;
mod rest;
mod said;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;

use self::said::Said;
use crate::alarm::Alarm;
use crate::fallback::Handle;
use crate::fallback::body::Source;
use crate::fallback::cooling::Cooling;
use crate::fallback::fit::Fit;
use crate::fallback::layer::Settings;
use crate::fallback::target::{Target, TargetService};
use crate::turn::Turn;
use crate::{BoxError, Deadline, ErrorCode, Gate, Outcome, Payload, Rejection, Trail, clock};

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
    /// The deadline of an answer that has begun.
    ends: Option<Deadline>,
    /// There is one as soon as there is a chain to go down.
    trail: Option<Trail>,
    /// Of the first target, from which those of the others are made.
    turn: Turn,
}

/// What is of interest only to a call that is not answered at once.
#[derive(Default)]
struct Troubles {
    /// The name of the first target, if it has one.
    first: Option<Arc<str>>,
    cooling: Cooling,
    fit: Fit,
    /// What the last one said who was asked what the caller asked.
    said: Option<Said>,
    /// The last resort that is to be tried next.
    resort: usize,
    /// The body of the simplified request, and the place of the target that is to be asked next with it.
    simplified: Option<(Bytes, usize)>,
}

/// What a target came to.
pub(in crate::fallback) type Answer<B> = Result<Response<Source<B>>, BoxError>;

/// What to do about it.
pub(in crate::fallback) enum Step<B> {
    /// Hand it to the caller.
    Return(Answer<B>),
    /// Hand this to the caller instead.
    Instead(Result<Response<Bytes>, BoxError>),
    Ask(Whom),
    Wait(Duration, Whom),
}

/// What comes after a failure, if anything does.
enum Next {
    Ask(Whom),
    Wait(Duration, Whom),
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
        let turn = Turn::first(extensions);
        let (alarm, ends) = (Alarm::new(Deadline::of(extensions)), Deadline::of_body(extensions));
        let is_alone = handle.is_empty();
        if trail.is_none() && !is_alone {
            extensions.insert(trail.insert(Trail::new()).clone());
        }
        let mut chain = Self {
            handle,
            settings,
            place: 0,
            asked: 0,
            troubles: None,
            template: None,
            alarm,
            ends,
            trail,
            turn,
        };
        if !is_alone {
            extensions.insert(chain.turn());
        }
        chain
    }

    /// What to do about the answer of the target that was asked last.
    pub(in crate::fallback) fn step<B>(&mut self, answer: Answer<B>) -> Step<B>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let error = answer.as_ref().err();
        let outcome = match &answer {
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
        let is_own = self.simplified().is_none();
        let goes_on = falls_back || (!is_own && outcome != Outcome::Success);
        if !goes_on {
            return Step::Return(answer);
        }
        // Nor does it say anything if the target could not even be told the request.
        let is_telling = is_own && !is_untold(error);
        let answered = self.answered();
        let target = self.name();
        match self.next(&outcome, error) {
            None if is_telling => Step::Return(answer),
            None => match self.take_said() {
                Some(said) => Step::Instead(said),
                None => Step::Return(answer),
            },
            Some(next) => {
                // A failed answer goes before anybody else is asked: it may hold a connection, or a permit.
                if is_telling && !matches!(next, Next::Answer(_)) {
                    let said = Said::of(answer, answered, target);
                    self.troubles.get_or_insert_default().said = Some(said);
                }
                match next {
                    Next::Ask(whom) => Step::Ask(whom),
                    Next::Wait(wait, whom) => Step::Wait(wait, whom),
                    Next::Answer(response) => Step::Instead(Ok(response)),
                }
            }
        }
    }

    /// What comes after a failure.
    fn next(&mut self, outcome: &Outcome, error: Option<&BoxError>) -> Option<Next> {
        self.template.as_ref()?;
        let because = code(outcome, error);
        if self.simplified().is_none() {
            self.note(outcome, error);
            if let Some(target) = self.following() {
                self.place = self.asked;
                target.counts.asked();
                self.tell(&target.name, because);
                return Some(Next::Ask(Whom::Other(target.service)));
            }
            if let Some((wait, whom)) = self.back_first() {
                return Some(Next::Wait(wait, whom));
            }
        }
        self.last_resort(because)
    }

    /// Takes note of what the target that was asked last came to.
    fn note(&mut self, outcome: &Outcome, error: Option<&BoxError>) {
        let name = self.name();
        let troubles = self.troubles.get_or_insert_default();
        if !is_untold(error) {
            troubles.cooling.note(self.place, outcome, error, clock::now());
        }
        if let Some(name) = &name {
            troubles.fit.note(self.settings.models.as_deref(), name, outcome);
        }
        if self.place == 0 {
            troubles.first = name;
        }
    }

    /// What was said by the last one who could tell, in place of what says less.
    fn take_said(&mut self) -> Option<Result<Response<Bytes>, BoxError>> {
        let said = self.troubles.as_mut()?.said.take()?;
        if let Some(target) = &said.target {
            self.enter(target);
        }
        let mut answer = said.answer;
        if let Ok(response) = &mut answer {
            self.leave_trail(response.extensions_mut());
        }
        Some(answer)
    }

    /// The target that was asked last, if it is not the first.
    pub(in crate::fallback) fn current(&self) -> Option<&Target> {
        self.handle.targets().get(self.place.checked_sub(1)?)
    }

    /// The name of the target that was asked last.
    fn name(&self) -> Option<Arc<str>> {
        match (self.current(), &self.troubles) {
            (Some(target), _) => Some(Arc::clone(&target.name)),
            (None, Some(troubles)) if troubles.first.is_some() => troubles.first.clone(),
            // Nobody else has entered the trail yet.
            (None, _) => self.trail.as_ref().filter(|_| self.asked == 0).and_then(Trail::target),
        }
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
}

/// Whether a target could not be asked, since the request cannot be said in its dialect.
fn is_untold(error: Option<&BoxError>) -> bool {
    let refusal = error.and_then(|error| Rejection::find(&**error));
    refusal.is_some_and(|refusal| refusal.gate() == Gate::Translate)
}

fn code(outcome: &Outcome, error: Option<&BoxError>) -> Option<ErrorCode> {
    let refused = error.and_then(|error| Rejection::find(&**error)).map(Rejection::code);
    refused.or(outcome.failure().map(|failure| failure.code))
}
