//! One call on its way down the chain.

mod answer;
mod continuing;
mod following;
mod request;
mod resorts;
mod said;
mod telling;

use std::ops::ControlFlow;
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
use crate::fallback::cutoff::Cutoff;
use crate::fallback::fit::Fit;
use crate::fallback::layer::Settings;
use crate::fallback::resort::Composable;
use crate::fallback::target::{Target, TargetService};
use crate::turn::Turn;
use crate::{AttemptBudget, BoxError, Deadline, ErrorCode, Gate, Outcome, Payload, Rejection, Trail, clock};

/// One call, on its way down the chain: the targets in their order, then whoever is the first to have rested if all
/// of them only rest, then the last resorts.
pub(in crate::fallback) struct Chain {
    handle: Handle,
    settings: Arc<Settings>,
    /// The target that was asked last: 0 is the first.
    place: usize,
    /// How many targets after the first have had their turn, or were passed over.
    passed: usize,
    /// A target is being asked.
    is_under_way: bool,
    /// Somebody was asked who is not one of us.
    has_reached: bool,
    /// Known once somebody has failed.
    troubles: Option<Box<Troubles>>,
    /// What it may still spend.
    attempts: Option<AttemptBudget>,
    /// What the caller asked, as long as anybody may have to be asked again.
    template: Option<Request<Payload>>,
    pub(in crate::fallback) alarm: Alarm,
    pub(in crate::fallback) cutoff: Cutoff,
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
    /// What the caller asked, once the first of them was tried.
    composable: Option<Box<Composable>>,
    /// The body of the simplified request, and the place of the target that is to be asked next with it.
    simplified: Option<(Bytes, usize)>,
}

/// What a target came to.
pub(in crate::fallback) type Answer<B> = Result<Response<Source<B>>, BoxError>;

/// What comes after a failure.
pub(in crate::fallback) enum Step {
    Ask(Whom),
    Wait(Duration, Whom),
    /// Hand this to the caller instead.
    Instead(Result<Response<Bytes>, BoxError>),
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
        let deadline = Deadline::of(extensions);
        let ends = Deadline::of_body(extensions);
        let is_alone = handle.is_empty();
        if trail.is_none() && !is_alone {
            extensions.insert(trail.insert(Trail::new()).clone());
        }
        let mut chain = Self {
            handle,
            settings,
            place: 0,
            passed: 0,
            is_under_way: false,
            has_reached: false,
            troubles: None,
            attempts: AttemptBudget::of(extensions).cloned(),
            template: None,
            alarm: Alarm::new(deadline),
            cutoff: Cutoff::new(deadline),
            ends,
            trail,
            turn,
        };
        if !is_alone {
            extensions.insert(chain.turn());
        }
        chain
    }

    /// Whether there is nobody to go on to, and nobody who has.
    pub(in crate::fallback) fn is_alone(&self) -> bool {
        self.handle.is_empty()
    }

    /// The target whose turn it is, is asked.
    pub(in crate::fallback) fn begin(&mut self) {
        self.is_under_way = true;
        if self.alarm.deadline().is_some() {
            self.cutoff.begin(clock::now());
        }
    }

    /// What to do about the answer of the target whose turn it was: hand it to the caller, or something else.
    pub(in crate::fallback) fn step<B>(&mut self, mut answer: Answer<B>) -> ControlFlow<Answer<B>, Step>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let outcome = outcome(&answer);
        let refusal = refusal(&answer);
        let is_untold = refusal.is_some_and(|refusal| refusal.gate() == Gate::Translate);
        let is_refused = refusal.is_some_and(|refusal| !refusal.follows_attempt());
        let had_reached = self.has_reached;
        let was_asked = self.come_back(is_refused);
        self.ended(outcome == Outcome::Success);
        // What is said of a simplified request is about a request of ours, not the caller's.
        let is_own = self.simplified().is_none();
        let falls_back = match &answer {
            Ok(_) => self.settings.policy.falls_back(&outcome),
            Err(error) => self.settings.policy.falls_back_from(error),
        };
        if !falls_back && (is_own || outcome == Outcome::Success) {
            return ControlFlow::Break(self.qualified(answer));
        }
        // Nor does it say anything if the target could not even be told the request, or if it was not asked at all and
        // somebody has answered.
        let is_telling = is_own && !is_untold && (!had_reached || (was_asked && !is_refused));
        let target = self.name();
        if is_telling && let Ok(response) = &mut answer {
            self.mark(response.extensions_mut());
        }
        match self.next(&outcome, answer.as_ref().err(), is_untold) {
            Some(Step::Instead(composed)) => ControlFlow::Continue(Step::Instead(composed)),
            Some(step) => {
                // A failed answer goes before anybody else is asked: it may hold a connection, or a permit.
                if is_telling {
                    let said = Said::of(answer, target);
                    self.troubles.get_or_insert_default().said = Some(said);
                }
                ControlFlow::Continue(step)
            }
            None if is_telling => ControlFlow::Break(self.qualified(answer)),
            None => match self.take_said() {
                Some(said) => ControlFlow::Continue(Step::Instead(said)),
                None => ControlFlow::Break(self.qualified(answer)),
            },
        }
    }

    /// What comes after a failure, if anything does.
    fn next(&mut self, outcome: &Outcome, error: Option<&BoxError>, is_untold: bool) -> Option<Step> {
        self.template.as_ref()?;
        let because = code(outcome, error);
        if self.simplified().is_none() {
            self.note(outcome, error, is_untold);
            if let Some(target) = self.following() {
                self.place = self.passed;
                target.counts.asked();
                self.tell(&target.name, because);
                return Some(Step::Ask(Whom::Other(target.service)));
            }
            if let Some((wait, whom)) = self.back_first() {
                return Some(Step::Wait(wait, whom));
            }
        }
        self.last_resort(because)
    }

    /// The target whose turn it was has come to something, or could not be asked: the attempt is given back then.
    /// Tells which.
    fn come_back(&mut self, is_refused: bool) -> bool {
        let was_asked = std::mem::take(&mut self.is_under_way);
        self.has_reached |= was_asked && !is_refused;
        if !was_asked && let Some(attempts) = &self.attempts {
            attempts.give_back();
        }
        was_asked
    }

    /// A refusal of ours is not the whole story of a call that has reached somebody.
    fn qualified<T>(&self, mut answer: Result<T, BoxError>) -> Result<T, BoxError> {
        if self.has_reached
            && let Err(error) = &mut answer
            && let Some(refusal) = error.downcast_mut::<Rejection>()
        {
            *refusal = refusal.clone().after_attempt();
        }
        answer
    }

    /// Takes note of what the target that was asked last came to.
    fn note(&mut self, outcome: &Outcome, error: Option<&BoxError>, is_untold: bool) {
        let name = self.name();
        let troubles = self.troubles.get_or_insert_default();
        if !is_untold {
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
        let mut answer = self.qualified(said.answer);
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
            (None, _) => self.trail.as_ref().filter(|_| self.passed == 0).and_then(Trail::target),
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

fn outcome<B>(answer: &Answer<B>) -> Outcome {
    match answer {
        Ok(response) => Outcome::of(response),
        Err(error) => Outcome::of_error(&**error),
    }
}

/// The refusal of one of us, if it is one.
fn refusal<B>(answer: &Answer<B>) -> Option<&Rejection> {
    answer.as_ref().err().and_then(|error| Rejection::find(&**error))
}

fn code(outcome: &Outcome, error: Option<&BoxError>) -> Option<ErrorCode> {
    let refused = error.and_then(|error| Rejection::find(&**error)).map(Rejection::code);
    refused.or(outcome.failure().map(|failure| failure.code))
}
