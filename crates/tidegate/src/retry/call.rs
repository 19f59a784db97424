//! One call of the user, with all its attempts: what has happened so far, and what is to be done about a result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Extensions, Request};

use super::backoff::AttemptHistory;
use super::shared::RetryShared;
use super::policy::{RetryContext, RetryPolicy, RetryDecision};
use super::override_policy::OverriddenPolicy;
use super::{LoadSignals, RetryOverride, Strategy, headers};
use crate::deadline_timer::DeadlineTimer;
use crate::chain_position::ChainPosition;
use crate::{AttemptBudget, BoxError, Deadline, Outcome, Payload, Rejection, Trail, clock};

pub(super) struct RetryCall<S> {
    pub(super) shared: Arc<RetryShared<S>>,
    /// The number of the attempt under way.
    attempt: u32,
    /// An attempt has reached somebody who is not one of us.
    pub(super) was_sent: bool,
    /// It has paid for the retries of others.
    has_deposited: bool,
    /// The wait before it.
    previous: Duration,
    /// When it began, where that is of interest.
    began: Option<Instant>,
    pub(super) deadline_timer: DeadlineTimer,
    attempts: Option<AttemptBudget>,
    /// A chain asks once more, and means once.
    is_resend: bool,
    /// Boxed, as few calls bring one.
    override_policy: Option<Box<OverriddenPolicy>>,
    trail_source: TrailSource,
}

/// Who writes down what happened: the wire, if the caller gave a trail; else we, from the first failure on.
enum TrailSource {
    Caller(Trail),
    Own(Option<Trail>),
}

impl<S> RetryCall<S> {
    pub(super) fn new(extensions: &mut Extensions, shared: Arc<RetryShared<S>>) -> Self {
        let handle = &shared.handle;
        let position = ChainPosition::of(extensions);
        let is_resend = position.is_some_and(|position| position.is_resend);
        let reserve = handle.0.settings().reserve;
        if !reserve.is_zero() && position.is_none_or(|position| !position.is_last) {
            Deadline::reserve(reserve, extensions, clock::now());
        }
        let trail_source = Trail::of(extensions).cloned().map_or(TrailSource::Own(None), TrailSource::Caller);
        let deadline_timer = DeadlineTimer::new(Deadline::of(extensions));
        let attempts = AttemptBudget::of(extensions).cloned();
        let override_policy = RetryOverride::of(extensions)
            .map(|retry_override| Box::new(retry_override.apply(handle.0.settings().policy)));
        Self {
            override_policy,
            attempt: 0,
            was_sent: false,
            has_deposited: false,
            previous: Duration::ZERO,
            began: None,
            deadline_timer,
            attempts,
            is_resend,
            trail_source,
            shared,
        }
    }

    fn policy(&self) -> &RetryPolicy {
        self.override_policy.as_ref().map_or(&self.shared.handle.0.settings().policy, |own| &own.policy)
    }

    /// What the wait is to adapt to, if it does.
    fn load_signals(&self) -> LoadSignals {
        if self.policy().backoff.strategy != Strategy::Adaptive {
            return LoadSignals::default();
        }
        let own = self.override_policy.as_ref().and_then(|own| own.load_signals);
        own.unwrap_or_else(|| self.shared.handle.load_signals(&self.shared.gates_below))
    }

    /// Up to how many bytes a body is kept: nothing, if it will not be sent again.
    pub(super) fn body_cap(&self) -> usize {
        let settings = self.shared.handle.0.settings();
        if self.policy().max_retries == 0 || self.is_resend { 0 } else { settings.body_cap }
    }

    /// An attempt begins. Whether another may follow it, so that its request has to be kept.
    pub(super) fn begin_attempt(&mut self) -> bool {
        self.attempt += 1;
        self.began = self.shared.handle.0.recent.is_some().then(clock::now);
        let is_last = self.attempts.as_ref().is_some_and(|attempts| attempts.remaining() == 0);
        self.attempt <= self.policy().max_retries && !is_last && !self.is_resend
    }

    /// Writes into the request of the attempt that has begun what it is to say about its call.
    pub(super) fn set_headers<B>(&self, request: &mut Request<B>) {
        let settings = self.shared.handle.0.settings();
        if settings.attempt_header {
            headers::set_attempt_number(request.headers_mut(), self.attempt);
        }
        if settings.idempotency_key {
            headers::ensure_idempotency_key(request);
        }
    }

    /// A refusal of ours is not the whole story of a call that had reached somebody before.
    pub(super) fn note_error(&mut self, error: &mut BoxError) {
        match error.downcast_mut::<Rejection>() {
            Some(rejection) if self.was_sent => *rejection = rejection.clone().after_attempt(),
            Some(rejection) => self.was_sent = rejection.follows_attempt(),
            None => self.was_sent = true,
        }
    }

    /// No service could be made ready for the next attempt, which is given back.
    pub(super) fn fail_readiness(&mut self, mut error: BoxError) -> BoxError {
        self.note_error(&mut error);
        if let Some(attempts) = &self.attempts {
            attempts.give_back();
        }
        self.finish(&Outcome::Neutral);
        error
    }

    /// What to do about the result of the attempt. `can_follow` tells whether another may follow, and `next` is its
    /// request, if it has one.
    pub(super) fn decide(
        &mut self,
        outcome: &Outcome,
        rejection: Option<&Rejection>,
        can_follow: bool,
        next: Option<&Request<Payload>>,
    ) -> RetryDecision {
        // A call pays for retries once it has reached somebody; one that we refused has cost nobody anything.
        if rejection.is_none() {
            self.shared.handle.0.counters.record_attempt();
            if !std::mem::replace(&mut self.has_deposited, true) {
                self.shared.handle.deposit();
            }
        }
        if let Some(began) = self.began {
            self.shared.handle.record(outcome, began);
        }
        if *outcome == Outcome::Success || !can_follow {
            return self.finish(outcome);
        }
        let context = RetryContext {
            history: AttemptHistory { number: self.attempt, previous: self.previous, load_signals: self.load_signals() },
            deadline: self.deadline_timer.deadline(),
            now: clock::now(),
            random: self.shared.handle.random(),
        };
        let verdict = match rejection {
            Some(rejection) => self.policy().decide_on_rejection(rejection, context),
            None => self.policy().decide(outcome, context),
        };
        match verdict {
            RetryDecision::RetryAfter(wait) if !self.shared.gates_below.would_reject(wait, next) && self.can_afford_another() => {
                self.previous = wait;
                self.record_retry(outcome, rejection, wait);
                verdict
            }
            RetryDecision::RetryAfter(_) | RetryDecision::Return => self.finish(outcome),
        }
    }

    /// Takes one attempt of this call's budget, and one retry of the budget of all calls; or neither.
    fn can_afford_another(&self) -> bool {
        let Some(attempts) = &self.attempts else { return self.shared.handle.withdraw() };
        if !attempts.take() {
            return false;
        }
        let is_affordable = self.shared.handle.withdraw();
        if !is_affordable {
            attempts.give_back();
        }
        is_affordable
    }

    fn finish(&mut self, outcome: &Outcome) -> RetryDecision {
        if self.attempt > 1 {
            self.shared.handle.0.counters.record_retried_call(*outcome == Outcome::Success, self.attempt);
            if let TrailSource::Own(Some(trail)) = &self.trail_source {
                trail.attempt(outcome);
            }
        }
        RetryDecision::Return
    }

    fn record_retry(&mut self, outcome: &Outcome, rejection: Option<&Rejection>, wait: Duration) {
        let trail = match &mut self.trail_source {
            TrailSource::Caller(trail) => trail,
            TrailSource::Own(trail) => {
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
            target = self.shared.handle.0.target(),
            attempt = self.attempt,
            code = outcome.failure().map(|failure| failure.code.code()),
            wait_ms = wait.as_millis() as u64,
            "asking again",
        );
    }

    /// The trail of a call that needed more than one attempt, for the response.
    pub(super) fn trail(&self) -> Option<Trail> {
        match &self.trail_source {
            TrailSource::Caller(trail) | TrailSource::Own(Some(trail)) if self.attempt > 1 => Some(trail.clone()),
            TrailSource::Caller(_) | TrailSource::Own(_) => None,
        }
    }
}
