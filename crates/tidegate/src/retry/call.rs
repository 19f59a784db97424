//! One call with all its attempts: its state, and the decision about each result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Extensions, Request, Response};
use http_body::Body;

use super::backoff::AttemptHistory;
use super::policy::{RetryContext, RetryDecision, RetryPolicy};
use super::retry_override::OverriddenPolicy;
use super::saved_request::SavedRequest;
use super::shared::RetryShared;
use super::trail_source::TrailSource;
use super::{LoadSignals, RetryOverride, Strategy, errors};
use crate::body::has_ended;
use crate::chain_position::{AttemptNumber, ChainPosition};
use crate::events::Decision;
use crate::group::OtherMembers;
use crate::rejected::trace_rejection;
use crate::timer::DeadlineTimer;
use crate::{AttemptBudget, Deadline, Error, Outcome, Payload, Rejection, Trail, clock};

pub(super) struct RetryCall<S> {
    pub(super) shared: Arc<RetryShared<S>>,
    /// The copy of the request for the next attempt, if one may follow.
    saved: Option<SavedRequest>,
    /// The request of the next attempt, once it was [rebuilt](Self::rebuild_next) from its copy.
    next: Option<Box<Request<Payload>>>,
    /// The number of the attempt in progress.
    attempt: u32,
    /// The attempts that a gate rejected.
    unsent: u32,
    /// At least one attempt was sent to a provider.
    was_sent: bool,
    /// The result of the call is recorded.
    has_ended: bool,
    /// The call has made its deposit into the retry budget.
    has_deposited: bool,
    /// The wait before this attempt.
    previous: Duration,
    /// When this attempt began; only set where response times are measured.
    began: Option<Instant>,
    pub(super) deadline_timer: DeadlineTimer,
    attempt_budget: Option<AttemptBudget>,
    /// The fallback chain re-sent this request: exactly one attempt, no retries.
    is_resend: bool,
    /// The other members of the group of this target: the call goes on with one of them, if it can take it.
    others: Option<OtherMembers>,
    /// Boxed, since few calls have an override.
    override_policy: Option<Box<OverriddenPolicy>>,
    trail_source: TrailSource,
}

impl<S> RetryCall<S> {
    pub(super) fn new(extensions: &mut Extensions, shared: Arc<RetryShared<S>>) -> Self {
        let handle = &shared.handle;
        handle.reserve_for_fallback(extensions);
        let position = ChainPosition::of(extensions);
        let is_resend = position.is_some_and(|position| position.is_resend);
        let others = position.and_then(|position| position.others.clone());
        let trail_source = TrailSource::of(extensions);
        let deadline_timer = DeadlineTimer::new(Deadline::of(extensions));
        let attempt_budget = AttemptBudget::of(extensions).cloned();
        let override_policy = RetryOverride::of(extensions)
            .map(|retry_override| Box::new(retry_override.apply(handle.0.policy)));
        Self {
            override_policy,
            attempt: 0,
            unsent: 0,
            was_sent: false,
            has_ended: false,
            has_deposited: false,
            previous: Duration::ZERO,
            began: None,
            deadline_timer,
            attempt_budget,
            is_resend,
            others,
            trail_source,
            saved: None,
            next: None,
            shared,
        }
    }

    fn policy(&self) -> &RetryPolicy {
        self.override_policy.as_ref().map_or(&self.shared.handle.0.policy, |own| &own.policy)
    }

    /// The signals that an adaptive wait scales with; empty for the other strategies.
    /// The load is that of the limit which the next attempt meets, without the attempt that has ended.
    fn load_signals(&mut self, holds_permit: bool) -> LoadSignals {
        if self.policy().backoff.strategy != Strategy::Adaptive {
            return LoadSignals::default();
        }
        self.rebuild_next();
        let own = self.override_policy.as_ref().and_then(|own| own.load_signals);
        let gates = self.shared.gates_below.as_ref();
        let load_below = || gates.and_then(|gates| gates.load(self.next.as_deref(), holds_permit.into()));
        own.unwrap_or_else(|| self.shared.handle.load_signals(load_below))
    }

    /// Rebuilds the request of the next attempt, for a look at its keys or to send it.
    fn rebuild_next(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.next = Some(Box::new(saved.into_request()));
        }
    }

    /// The request of the next attempt, which begins.
    pub(super) fn take_next(&mut self) -> Request<Payload> {
        self.rebuild_next();
        *self.next.take().expect("kept for this attempt")
    }

    /// The size up to which a request body is buffered: 0 if it will not be sent again.
    pub(super) fn body_cap(&self) -> usize {
        let settings = self.shared.handle.0.settings();
        if self.policy().max_retries == 0 || self.is_resend { 0 } else { settings.body_cap }
    }

    /// Starts an attempt. Returns whether another may follow it, so that its request has to be kept.
    pub(super) fn begin_attempt(&mut self) -> bool {
        self.attempt += 1;
        self.began = self.shared.handle.0.recent.is_some().then(clock::now);
        let is_last = self.attempt_budget.as_ref().is_some_and(|budget| budget.remaining() == 0);
        // A gate that rejects it gives its attempt back.
        let is_last = is_last && !self.policy().retry_rejections;
        self.attempt <= self.policy().max_retries && !is_last && !self.is_resend
    }

    /// Marks the request of the current attempt with its number, and sets the headers that are enabled.
    fn mark_attempt(&self, head: &mut Parts) {
        if self.attempt > 1 {
            let (number, sent) = (self.attempt, self.attempt - self.unsent);
            head.extensions.insert(AttemptNumber { number, sent });
        }
        self.shared.handle.set_headers(head, self.attempt);
    }

    /// Records whether the call was sent to a provider. A rejection after an earlier attempt was sent is
    /// marked so.
    fn note_error(&mut self, error: &mut Error) {
        let Some(rejection) = error.rejection() else {
            self.was_sent = true;
            return;
        };
        if !self.was_sent {
            self.was_sent = rejection.follows_attempt();
        } else if let Some(rejection) = error.rejection_mut() {
            *rejection = rejection.clone().after_attempt();
        }
    }

    /// Records that the deadline has passed before a service became ready for the next attempt.
    pub(super) fn reject_at_deadline(&mut self, rejection: Rejection) -> Rejection {
        self.rebuild_next();
        let (number, target) = (self.attempt + 1, self.shared.handle.0.target());
        let Some(next) = &mut self.next else { return rejection };
        next.extensions_mut().insert(AttemptNumber { number, sent: number - self.unsent });
        trace_rejection(rejection, target, None, next.extensions())
    }

    /// No service became ready for the next attempt, which is returned to the attempt budget.
    pub(super) fn fail_readiness(&mut self, mut error: Error) -> Error {
        self.note_error(&mut error);
        if let Some(attempt_budget) = &self.attempt_budget {
            attempt_budget.give_back();
        }
        self.finish(&Outcome::Neutral);
        error
    }

    /// Decides about the result of the attempt. `may_follow`: another attempt may follow. `holds_permit`: the
    /// attempt still counts as in flight.
    pub(super) fn decide(
        &mut self,
        outcome: &Outcome,
        rejection: Option<&Rejection>,
        may_follow: bool,
        holds_permit: bool,
    ) -> RetryDecision {
        // A rejected attempt caused no load.
        if rejection.is_some_and(|rejection| !rejection.follows_attempt()) {
            self.unsent += 1;
        } else if rejection.is_none() && (!self.shared.handle.is_off() || self.override_policy.is_some()) {
            let is_first = !std::mem::replace(&mut self.has_deposited, true);
            self.shared.handle.record_sent_attempt(is_first);
        }
        if let Some(began) = self.began {
            self.shared.handle.record(outcome, began);
        }
        if *outcome == Outcome::Success || !may_follow || self.is_taken_over(outcome, rejection) {
            return self.finish(outcome);
        }
        let context = RetryContext {
            history: AttemptHistory {
                number: self.attempt,
                previous: self.previous,
                load_signals: self.load_signals(holds_permit),
            },
            deadline: self.deadline_timer.deadline(),
            now: clock::now(),
            random: self.shared.handle.random(),
        };
        let decision = match rejection {
            Some(rejection) => self.policy().decide_on_rejection(rejection, context),
            None => self.policy().decide(outcome, context),
        };
        match decision {
            RetryDecision::RetryAfter(wait)
                if !self.stays_open(wait) && self.can_afford_another(rejection) =>
            {
                self.previous = wait;
                self.record_retry(outcome, rejection, wait);
                decision
            }
            RetryDecision::RetryAfter(_) | RetryDecision::Return => self.finish(outcome),
        }
    }

    /// Whether another member of the group takes the call now.
    fn is_taken_over(&mut self, outcome: &Outcome, rejection: Option<&Rejection>) -> bool {
        let Some(others) = self.others.take() else { return false };
        self.rebuild_next();
        let takes_over = self.next.as_deref().is_some_and(|next| others.take_over(outcome, rejection, next));
        self.others = Some(others);
        takes_over
    }

    /// Whether the circuit is certain to reject an attempt after this wait: the response at hand is worth
    /// more than a later rejection.
    fn stays_open(&mut self, wait: Duration) -> bool {
        self.rebuild_next();
        let gates = self.shared.gates_below.as_ref();
        gates.is_some_and(|gates| gates.stays_open(wait, self.next.as_deref()))
    }

    /// Takes one attempt of this call's budget and one retry of the budget of all calls; or neither. After a
    /// rejection the next attempt is no further one for the provider, and takes no retry.
    fn can_afford_another(&self, rejection: Option<&Rejection>) -> bool {
        let was_unsent = rejection.is_some_and(|rejection| !rejection.follows_attempt());
        let withdraw = || was_unsent || self.shared.handle.withdraw();
        let Some(attempt_budget) = &self.attempt_budget else { return withdraw() };
        if !attempt_budget.take() {
            return false;
        }
        let is_affordable = withdraw();
        if !is_affordable {
            attempt_budget.give_back();
        }
        is_affordable
    }

    fn finish(&mut self, outcome: &Outcome) -> RetryDecision {
        self.has_ended = true;
        if self.attempt > 1 {
            self.record_retried_call(*outcome == Outcome::Success);
            self.trail_source.record_last(outcome);
        }
        RetryDecision::Return
    }

    #[cold]
    fn record_retried_call(&self, is_success: bool) {
        self.shared.handle.0.counters.record_retried_call(is_success, self.attempt);
        self.shared.handle.0.metrics().record_retried_call(is_success);
    }

    fn record_retry(&mut self, outcome: &Outcome, rejection: Option<&Rejection>, wait: Duration) {
        self.trail_source.record_retry(outcome, rejection, wait);
        let code = rejection.map(Rejection::code).or_else(|| outcome.failure().map(|failure| failure.code));
        let retried = Decision::Retried { attempt: self.attempt, code, wait };
        retried.emit(self.shared.handle.0.target(), None);
    }

    /// The trail of a call that needed more than one attempt, for the extensions of the response.
    fn trail(&self) -> Option<Trail> {
        self.trail_source.trail().filter(|_| self.attempt > 1).cloned()
    }
}

/// A call that is dropped after a retry was sent has failed.
impl<S> Drop for RetryCall<S> {
    fn drop(&mut self) {
        if self.attempt > 1 && !self.has_ended {
            self.record_retried_call(false);
        }
    }
}

impl<S: Clone> RetryCall<S> {
    /// The decision about a response. One that is returned carries the trail of its call, if there was more
    /// than one attempt.
    #[inline]
    pub(super) fn on_response<R: Body>(&mut self, response: &mut Response<R>) -> RetryDecision {
        self.was_sent = true;
        let outcome = Outcome::borrow(response);
        let holds_permit = *outcome != Outcome::Success && !has_ended(response.body());
        let decision = self.decide(&outcome, None, self.saved.is_some(), holds_permit);
        if let (RetryDecision::Return, Some(trail)) = (&decision, self.trail()) {
            response.extensions_mut().insert(trail);
        }
        decision
    }

    #[cold]
    pub(super) fn on_error(&mut self, error: &mut Error) -> RetryDecision {
        self.note_error(error);
        self.decide(&errors::outcome_of(&**error), error.rejection(), self.saved.is_some(), false)
    }

    /// Prepares the request of the attempt that begins. Keeps a copy for the next attempt, unless none may
    /// follow.
    pub(super) fn prepare(&mut self, mut head: Parts, body: Payload, service: &S) -> Request<Payload> {
        let may_follow = self.begin_attempt();
        self.mark_attempt(&mut head);
        if may_follow && let Some(body) = body.replay() {
            self.saved = Some(SavedRequest::new(&head, body));
            self.shared.keep_service(service);
        }
        Request::from_parts(head, body)
    }
}
