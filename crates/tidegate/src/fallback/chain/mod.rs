//! The state of one call in a fallback chain.

mod attempt;
mod continuation;
mod disposition;
mod hedging;
mod kept_failure;
mod last_resorts;
mod request;
mod response;
mod select;
mod targets;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;

use self::disposition::{AttemptFacts, Disposition, PolicyVerdict, Reach, SentRequest};
use self::hedging::CallHedge;
use self::kept_failure::{FailureRank, KeptFailure};
use crate::chain_position::{ChainPosition, Hedging};
use crate::fallback::Handle;
use crate::fallback::body_source::BodySource;
use crate::fallback::deadline_guard::DeadlineGuard;
use crate::fallback::info::FallbackKind;
use crate::fallback::is_refusal;
use crate::fallback::last_resort::ParsedRequest;
use crate::fallback::settings::FallbackSettings;
use crate::fallback::target::{CapabilityFilter, TargetCooldowns, TargetService};
use crate::timer::DeadlineTimer;
use crate::{AttemptBudget, Deadline, Error, ErrorCode, Outcome, Payload, Rejection, Trail, clock};

/// One call in a fallback chain: the targets in their order, then the target that is available first if all
/// of them are only cooling down, then the last resorts.
pub(crate) struct ChainState {
    handle: Handle,
    settings: Arc<FallbackSettings>,
    /// The target that was called last; 0 is the first.
    target_index: usize,
    /// How many targets after the first were called or skipped.
    visited: usize,
    /// A call to a target is in progress.
    is_in_flight: bool,
    /// At least one attempt was sent to a provider.
    has_reached_provider: bool,
    /// Present once a target has failed.
    failures: Option<Box<FailureState>>,
    /// The attempts that are left to the call.
    attempt_budget: Option<AttemptBudget>,
    /// The caller's request, as long as another target may be called.
    template: Option<Request<Payload>>,
    pub(crate) deadline_timer: DeadlineTimer,
    pub(crate) deadline_guard: DeadlineGuard,
    /// The deadline of the response body.
    body_deadline: Option<Deadline>,
    /// Present as soon as there is a chain.
    trail: Option<Trail>,
    /// The position of the first target; those of the others are derived from it.
    first_position: ChainPosition,
    /// Late calls are hedged by this chain.
    is_hedging: bool,
    /// Present once the request is known, if the call may be hedged or is measured.
    hedge: Option<Box<CallHedge>>,
}

/// State of a call after its first target has failed. Boxed, so that a call without failures stays small.
#[derive(Default)]
struct FailureState {
    /// The name of the first target, if it has one.
    first_name: Option<Arc<str>>,
    cooldowns: TargetCooldowns,
    filter: CapabilityFilter,
    /// The failure of a target that received the caller's own request: of those with the highest rank the last.
    kept: Option<KeptFailure>,
    /// The index of the last resort that is tried next, or is being tried.
    last_resort: usize,
    /// The caller's request, parsed when the first last resort was tried.
    parsed: Option<Box<ParsedRequest>>,
    /// Present while a last resort sends a simplified request.
    simplified: Option<SimplifiedRequest>,
}

/// A request with a simplified prompt, which is sent to one target after the other.
struct SimplifiedRequest {
    body: Bytes,
    /// The index of the target that it is sent to next.
    next_target: usize,
}

/// The response or error of a target.
pub(crate) type TargetResult<B> = Result<Response<BodySource<B>>, Error>;

/// The step that follows a failure.
pub(crate) enum ChainStep {
    Call(NextTarget),
    /// All targets are cooling down.
    Wait(Duration),
    /// The hedge is the attempt in progress.
    AwaitHedge,
    /// Return this to the caller.
    Respond(Result<Response<Bytes>, Error>),
}

pub(crate) enum NextTarget {
    First,
    Other(TargetService),
}

impl ChainState {
    pub(crate) fn new(extensions: &mut Extensions, handle: Handle, settings: Arc<FallbackSettings>) -> Self {
        let mut trail = Trail::of(extensions).cloned();
        let mut first_position = ChainPosition::first(extensions);
        let is_hedging = first_position.hedging == Hedging::None && handle.hedge().is_some();
        if is_hedging {
            first_position.hedging = Hedging::Watched;
        }
        let deadline = Deadline::of(extensions);
        let body_deadline = Deadline::of_body(extensions);
        let is_idle = handle.is_idle();
        if trail.is_none() && !is_idle {
            extensions.insert(trail.insert(Trail::new()).clone());
        }
        let mut chain = Self {
            handle,
            settings,
            target_index: 0,
            visited: 0,
            is_in_flight: false,
            has_reached_provider: false,
            failures: None,
            attempt_budget: AttemptBudget::of(extensions).cloned(),
            template: None,
            deadline_timer: DeadlineTimer::new(deadline),
            deadline_guard: DeadlineGuard::new(deadline),
            body_deadline,
            trail,
            first_position,
            is_hedging,
            hedge: None,
        };
        if !is_idle {
            extensions.insert(chain.chain_position());
        }
        chain
    }

    /// Whether the chain has neither further targets nor last resorts, and does not hedge.
    pub(crate) fn is_idle(&self) -> bool {
        self.handle.is_idle()
    }

    /// Decides what follows the result of the current target: return it to the caller, or another step.
    pub(crate) fn step<B>(&mut self, mut result: TargetResult<B>) -> ControlFlow<TargetResult<B>, ChainStep>
    where
        B: Body<Data = Bytes>,
    {
        let outcome = outcome(&result);
        self.end_measuring(&outcome);
        let follows_sent_attempt = self.has_reached_provider;
        let reach = self.finish_attempt(result.as_ref().err());
        let verdict = self.policy_verdict(&outcome, result.as_ref().err());
        let request = self.sent_request();
        let rank = FailureRank::of(&outcome);
        let is_outranked = self.kept_rank().is_some_and(|kept| kept > rank);
        let is_first = self.target_index == 0;
        let facts = AttemptFacts { is_first, verdict, request, reach, follows_sent_attempt, is_outranked };
        let disposition = facts.disposition();
        self.record_outcome(outcome == Outcome::Success);
        if disposition == Disposition::ReturnKept
            && let Some(kept) = self.take_kept_failure()
        {
            return ControlFlow::Continue(ChainStep::Respond(kept));
        }
        if matches!(disposition, Disposition::Return | Disposition::ReturnKept) {
            return ControlFlow::Break(self.mark_after_attempt(result));
        }
        let target = self.called_name();
        if disposition == Disposition::Keep
            && let Ok(response) = &mut result
        {
            self.mark_response(response);
        }
        match (self.next(&outcome, result.as_ref().err(), reach), disposition) {
            (
                Some(step @ (ChainStep::Call(_) | ChainStep::Wait(_) | ChainStep::AwaitHedge)),
                Disposition::Keep,
            ) => {
                // The body of the failed response is dropped before the next target is called: it may hold a
                // connection or a permit.
                let kept = KeptFailure::new(result, target, rank);
                self.failures.get_or_insert_default().kept = Some(kept);
                ControlFlow::Continue(step)
            }
            (Some(step), _) => ControlFlow::Continue(step),
            (None, Disposition::Discard) => match self.take_kept_failure() {
                Some(kept) => ControlFlow::Continue(ChainStep::Respond(kept)),
                None => ControlFlow::Break(self.mark_after_attempt(result)),
            },
            (None, _) => ControlFlow::Break(self.mark_after_attempt(result)),
        }
    }

    fn policy_verdict(&self, outcome: &Outcome, error: Option<&Error>) -> PolicyVerdict {
        let falls_back = match error {
            None => self.settings.policy().falls_back(outcome),
            Some(error) => self.settings.policy().falls_back_from(error),
        };
        match outcome {
            _ if falls_back => PolicyVerdict::FallBack,
            Outcome::Success => PolicyVerdict::Success,
            _ if is_refusal(outcome) => PolicyVerdict::Refused,
            Outcome::Failure(_) | Outcome::Neutral => PolicyVerdict::Final,
        }
    }

    /// The request that the current target was sent.
    fn sent_request(&self) -> SentRequest {
        match self.simplified() {
            None => SentRequest::Original,
            Some(_) => SentRequest::Simplified,
        }
    }

    /// The step that follows a failure, if there is one.
    fn next(&mut self, outcome: &Outcome, error: Option<&Error>, reach: Reach) -> Option<ChainStep> {
        self.template.as_ref()?;
        // A hedge is one attempt, and a last resort would overtake the attempt that it runs beside.
        let is_hedge = self.first_position.hedging == Hedging::Hedge;
        if is_hedge && self.has_reached_provider {
            return None;
        }
        let because = code(outcome, error);
        if self.simplified().is_none() {
            self.record_failure(outcome, error, reach);
            if self.select_hedge() {
                return Some(ChainStep::AwaitHedge);
            }
            if !self.handle.has_fallbacks() {
                return None;
            }
            if let Some(target) = self.take_next_target().or_else(|| self.next_target_after_wait()) {
                target.counters.record_use();
                self.trace_fallback(&target.name, FallbackKind::AlternativeModel, because);
                return Some(ChainStep::Call(NextTarget::Other(target.service)));
            }
            if let Some(wait) = self.begin_wait() {
                return Some(ChainStep::Wait(wait));
            }
        }
        if is_hedge { None } else { self.next_last_resort(because) }
    }

    /// Marks a rejection of a call that has reached a provider before.
    fn mark_after_attempt<T>(&self, mut result: Result<T, Error>) -> Result<T, Error> {
        if self.has_reached_provider
            && let Err(error) = &mut result
            && let Some(rejection) = error.rejection_mut()
        {
            *rejection = rejection.clone().after_attempt();
        }
        result
    }

    /// Records the failure of the current target.
    fn record_failure(&mut self, outcome: &Outcome, error: Option<&Error>, reach: Reach) {
        let (name, called) = (self.target_name(), self.called_name());
        let failures = self.failures.get_or_insert_default();
        if reach != Reach::Untranslatable {
            failures.cooldowns.record_failure(self.target_index, outcome, error, clock::now());
        }
        if let Some(name) = &called {
            failures.filter.record_failure(self.settings.hooks.models.as_deref(), name, outcome);
        }
        if self.target_index == 0 {
            failures.first_name = name;
        }
    }

    fn kept_rank(&self) -> Option<FailureRank> {
        Some(self.failures.as_ref()?.kept.as_ref()?.rank)
    }

    /// The kept failure, in place of a less informative one.
    fn take_kept_failure(&mut self) -> Option<Result<Response<Bytes>, Error>> {
        let kept = self.failures.as_mut()?.kept.take()?;
        if let Some(target) = &kept.target {
            self.enter_target(target);
        }
        let mut result = self.mark_after_attempt(kept.result);
        if let Ok(response) = &mut result {
            self.mark_call(response);
        }
        Some(result)
    }

    /// The name of the current target, or of the member that was called last, if the target is a group.
    fn called_name(&self) -> Option<Arc<str>> {
        let is_group = self.current_target().is_none_or(|target| target.is_group);
        let member = self.trail.as_ref().filter(|_| is_group).and_then(Trail::target);
        member.or_else(|| self.target_name())
    }

    /// Counts the outcome of the current target or last resort.
    fn record_outcome(&self, is_success: bool) {
        let counters = match self.simplified() {
            None => self.current_target().map(|target| &target.counters),
            // The failure of a simplified prompt is counted once all targets have failed.
            Some(_) => {
                self.current_last_resort().map(|last_resort| &last_resort.counters).filter(|_| is_success)
            }
        };
        if let Some(counters) = counters {
            counters.record_outcome(is_success);
        }
    }
}

fn outcome<B>(result: &Result<Response<B>, Error>) -> Outcome {
    match result {
        Ok(response) => Outcome::of(response),
        Err(error) => Outcome::of_error(&**error),
    }
}

fn code(outcome: &Outcome, error: Option<&Error>) -> Option<ErrorCode> {
    let rejected = error.and_then(Error::rejection).map(Rejection::code);
    rejected.or(outcome.failure().map(|failure| failure.code))
}
