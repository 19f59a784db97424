//! One call of the user, with all its attempts: what has happened so far, and what is to be done about a result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Extensions, Request};

use super::backoff::Past;
use super::common::Common;
use super::judge::{Attempt, Policy, Verdict};
use super::overriding::Overridden;
use super::{LoadSignals, RetryOverride, Strategy, headers};
use crate::alarm::Alarm;
use crate::turn::Turn;
use crate::{AttemptBudget, BoxError, Deadline, Outcome, Payload, Rejection, Trail, clock};

pub(super) struct Call<S> {
    pub(super) common: Arc<Common<S>>,
    /// The number of the attempt under way.
    attempt: u32,
    /// An attempt has reached somebody who is not one of us.
    pub(super) has_reached: bool,
    /// It has paid for the retries of others.
    has_paid: bool,
    /// The wait before it.
    previous: Duration,
    /// When it began, where that is of interest.
    began: Option<Instant>,
    pub(super) alarm: Alarm,
    attempts: Option<AttemptBudget>,
    /// A chain asks once more, and means once.
    is_again: bool,
    /// Boxed, as few calls bring one.
    overridden: Option<Box<Overridden>>,
    log: Log,
}

/// Who writes down what happened: the wire, if the caller gave a trail; else we, from the first failure on.
enum Log {
    Given(Trail),
    Own(Option<Trail>),
}

impl<S> Call<S> {
    pub(super) fn new(extensions: &mut Extensions, common: Arc<Common<S>>) -> Self {
        let handle = &common.handle;
        let turn = Turn::of(extensions);
        let is_again = turn.is_some_and(|turn| turn.is_again);
        let reserve = handle.0.settings().reserve;
        if !reserve.is_zero() && turn.is_none_or(|turn| !turn.is_last) {
            Deadline::reserve(reserve, extensions, clock::now());
        }
        let log = Trail::of(extensions).cloned().map_or(Log::Own(None), Log::Given);
        let alarm = Alarm::new(Deadline::of(extensions));
        let attempts = AttemptBudget::of(extensions).cloned();
        let overridden = RetryOverride::of(extensions)
            .map(|overriding| Box::new(overriding.apply(handle.0.settings().policy)));
        Self {
            overridden,
            attempt: 0,
            has_reached: false,
            has_paid: false,
            previous: Duration::ZERO,
            began: None,
            alarm,
            attempts,
            is_again,
            log,
            common,
        }
    }

    fn policy(&self) -> &Policy {
        self.overridden.as_ref().map_or(&self.common.handle.0.settings().policy, |own| &own.policy)
    }

    /// What the wait is to adapt to, if it does.
    fn conditions(&self) -> LoadSignals {
        if self.policy().backoff.strategy != Strategy::Adaptive {
            return LoadSignals::default();
        }
        let own = self.overridden.as_ref().and_then(|own| own.conditions);
        own.unwrap_or_else(|| self.common.handle.conditions(&self.common.ahead))
    }

    /// Up to how many bytes a body is kept: nothing, if it will not be sent again.
    pub(super) fn body_cap(&self) -> usize {
        let settings = self.common.handle.0.settings();
        if self.policy().max_retries == 0 || self.is_again { 0 } else { settings.body_cap }
    }

    /// An attempt begins. Whether another may follow it, so that its request has to be kept.
    pub(super) fn count(&mut self) -> bool {
        self.attempt += 1;
        self.began = self.common.handle.0.recent.is_some().then(clock::now);
        let is_last = self.attempts.as_ref().is_some_and(|attempts| attempts.remaining() == 0);
        self.attempt <= self.policy().max_retries && !is_last && !self.is_again
    }

    /// Writes into the request of the attempt that has begun what it is to say about its call.
    pub(super) fn mark<B>(&self, request: &mut Request<B>) {
        let settings = self.common.handle.0.settings();
        if settings.attempt_header {
            headers::number(request.headers_mut(), self.attempt);
        }
        if settings.idempotency_key {
            headers::give_key(request);
        }
    }

    /// A refusal of ours is not the whole story of a call that had reached somebody before.
    pub(super) fn qualify(&mut self, error: &mut BoxError) {
        match error.downcast_mut::<Rejection>() {
            Some(rejection) if self.has_reached => *rejection = rejection.clone().after_attempt(),
            Some(rejection) => self.has_reached = rejection.follows_attempt(),
            None => self.has_reached = true,
        }
    }

    /// No service could be made ready for the next attempt, which is given back.
    pub(super) fn unready(&mut self, mut error: BoxError) -> BoxError {
        self.qualify(&mut error);
        if let Some(attempts) = &self.attempts {
            attempts.give_back();
        }
        self.end(&Outcome::Neutral);
        error
    }

    /// What to do about the result of the attempt. `can_follow` tells whether another may follow, and `next` is its
    /// request, if it has one.
    pub(super) fn judge(
        &mut self,
        outcome: &Outcome,
        rejection: Option<&Rejection>,
        can_follow: bool,
        next: Option<&Request<Payload>>,
    ) -> Verdict {
        // A call pays for retries once it has reached somebody; one that we refused has cost nobody anything.
        if rejection.is_none() {
            self.common.handle.0.counters.attempted();
            if !std::mem::replace(&mut self.has_paid, true) {
                self.common.handle.deposit();
            }
        }
        if let Some(began) = self.began {
            self.common.handle.record(outcome, began);
        }
        if *outcome == Outcome::Success || !can_follow {
            return self.end(outcome);
        }
        let attempt = Attempt {
            past: Past { number: self.attempt, previous: self.previous, conditions: self.conditions() },
            deadline: self.alarm.deadline(),
            now: clock::now(),
            random: self.common.handle.random(),
        };
        let verdict = match rejection {
            Some(rejection) => self.policy().judge_rejection(rejection, attempt),
            None => self.policy().judge(outcome, attempt),
        };
        match verdict {
            Verdict::Again(wait) if !self.common.ahead.refuses(wait, next) && self.can_afford_another() => {
                self.previous = wait;
                self.tell(outcome, rejection, wait);
                verdict
            }
            Verdict::Again(_) | Verdict::Return => self.end(outcome),
        }
    }

    /// Takes one attempt of this call's budget, and one retry of the budget of all calls; or neither.
    fn can_afford_another(&self) -> bool {
        let Some(attempts) = &self.attempts else { return self.common.handle.withdraw() };
        if !attempts.take() {
            return false;
        }
        let is_affordable = self.common.handle.withdraw();
        if !is_affordable {
            attempts.give_back();
        }
        is_affordable
    }

    fn end(&mut self, outcome: &Outcome) -> Verdict {
        if self.attempt > 1 {
            self.common.handle.0.counters.ended(*outcome == Outcome::Success, self.attempt);
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
            target = self.common.handle.0.target(),
            attempt = self.attempt,
            code = outcome.failure().map(|failure| failure.code.code()),
            wait_ms = wait.as_millis() as u64,
            "asking again",
        );
    }

    /// The trail of a call that needed more than one attempt, for the response.
    pub(super) fn trail(&self) -> Option<Trail> {
        match &self.log {
            Log::Given(trail) | Log::Own(Some(trail)) if self.attempt > 1 => Some(trail.clone()),
            Log::Given(_) | Log::Own(_) => None,
        }
    }
}
