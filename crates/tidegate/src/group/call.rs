//! The state of one call to a group of several members.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Extensions, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::{CallAtMember, ResponseBody};
use super::choice::Standing;
use super::cooldown::is_of_account;
use super::disposition::MemberDisposition;
use super::info::{GroupMember, LateMember};
use super::member_set::MemberSet;
use super::member_state::{InFlight, MemberState};
use super::members::{MemberChoice, Members};
use super::rendezvous::AffinityKey;
use crate::body::clone_request;
use crate::chain_position::{ChainPosition, IDEMPOTENCY_KEY};
use crate::events::Decision;
use crate::key::has_credential;
use crate::rejected::{record_rejection_of, trace_rejection};
use crate::timer::DeadlineTimer;
use crate::{
    AttemptBudget, BoxError, Error, ErrorCode, Failure, Gate, Outcome, Payload, Rejection, StreamOutcome,
    Trail, UsageMeter, Verdict, clock,
};

/// One call: the member that has it, and what is left for the others.
pub(super) struct GroupCall<S> {
    members: Arc<Members<S>>,
    /// The request, as long as a member may be called with it.
    request: Option<Request<Payload>>,
    key: Option<AffinityKey>,
    /// The members that were not called.
    left: MemberSet,
    current: Option<Current>,
    /// The position of the group in its chain.
    position: ChainPosition,
    /// At least one attempt was sent to a provider.
    has_reached_provider: bool,
    /// The request carries a credential of its caller to the members.
    has_own_account: bool,
    /// The request is a hedge: one attempt, so that only one that was not sent is followed by another.
    is_hedge: bool,
    /// The shortest wait that a failed member reported, and until when it lasts.
    soonest: Option<Instant>,
    /// The refusals that count against their members if a later one takes the request.
    refusals: Vec<Refusal>,
    attempts: Option<AttemptBudget>,
    trail: Option<Trail>,
    deadline_timer: DeadlineTimer,
}

/// A member that refused the request.
struct Refusal {
    index: usize,
    failure: Failure,
    began: Instant,
}

/// The member that has the call.
struct Current {
    choice: MemberChoice,
    in_flight: Option<InFlight>,
    /// When it was called; `None` before it is ready.
    began: Option<Instant>,
    /// Counts the tokens of the attempt, if the group has an affinity: what is read from caches shows whether
    /// it pays.
    meter: Option<UsageMeter>,
    has_result: bool,
    /// The outcome of a stream that has no content so far.
    unproven: Option<StreamOutcome>,
}

impl<S: Clone> GroupCall<S> {
    /// Starts the call, and returns the service of the first member, which is to be made ready. A hedge that
    /// no member could take at once is rejected.
    pub(super) fn start(members: Arc<Members<S>>, request: Request<Payload>) -> Result<(Self, S), Rejection> {
        let extensions = request.extensions();
        let key = members.affinity.as_ref().and_then(|affinity| affinity.key(&request));
        let mut call = Self {
            key,
            left: members.all(),
            current: None,
            position: ChainPosition::first(extensions),
            has_reached_provider: false,
            has_own_account: !members.have_own_accounts && has_credential(request.headers()),
            is_hedge: ChainPosition::is_of_hedge(extensions),
            soonest: None,
            refusals: Vec::new(),
            attempts: AttemptBudget::of(extensions).cloned(),
            trail: Trail::of(extensions).cloned(),
            deadline_timer: DeadlineTimer::new(crate::Deadline::of(extensions)),
            request: Some(request),
            members,
        };
        call.skip_incapable_members();
        call.skip_late_member();
        let choice = call.choose(true).expect("a group has members");
        if let (true, Standing::Closed(wait)) = (call.is_hedge, choice.chosen.standing) {
            return Err(call.reject_hedge(wait));
        }
        let service = call.enter(choice);
        Ok((call, service))
    }

    /// Leaves out the members whose models are known not to support the request, unless that is all of them.
    fn skip_incapable_members(&mut self) {
        let Some(request) = &self.request else { return };
        let body = request.body().bytes().map(|body| &**body);
        let missing = self.members.capabilities.missing(request.uri(), body);
        if missing.len() == self.members.members.len() {
            return;
        }
        for (index, missing) in missing {
            let name = &self.members.members[index].name;
            self.left = self.left.without(index);
            if let Some(trail) = &self.trail {
                trail.push(Verdict::Skipped { target: Arc::clone(name), missing });
            }
            Decision::Skipped(missing).emit(name, None);
        }
    }

    /// Leaves out the member that this request is to overtake, unless no other one can take it.
    fn skip_late_member(&mut self) {
        let Some(request) = &self.request else { return };
        let Some(LateMember(late)) = request.extensions().get() else { return };
        let is_late = |index: &usize| self.members.members[*index].name == *late;
        let others = self.left.iter().find(is_late).map(|index| self.left.without(index));
        let can_take = |others: &MemberSet| self.members.others(*others).can_take(request);
        self.left = others.filter(can_take).unwrap_or(self.left);
    }

    /// The rejection of a hedge, which another target of its chain may take.
    #[cold]
    fn reject_hedge(&self, wait: Option<Duration>) -> Rejection {
        let rejection = Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded);
        let rejection = wait.into_iter().fold(rejection, Rejection::with_retry_after);
        let extensions = self.request.as_ref().map(Request::extensions);
        record_rejection_of(rejection, &self.members.group, extensions.unwrap_or(&Extensions::new()))
    }

    fn choose(&self, is_first: bool) -> Option<MemberChoice> {
        self.members.choose(self.left, self.request.as_ref()?, self.key, is_first)
    }

    /// Makes a member the current one.
    fn enter(&mut self, choice: MemberChoice) -> S {
        let member = &self.members.members[choice.chosen.index];
        self.left = self.left.without(choice.chosen.index);
        self.members.record_choice(choice);
        if let Some(trail) = &self.trail {
            trail.enter(&member.name);
            trail.push(Verdict::Chosen { group: Arc::clone(&self.members.group) });
        }
        // Counted from the choice on, so that calls that are made at once see each other.
        let in_flight = Some(InFlight::new(&member.state));
        let service = member.service.clone();
        self.current =
            Some(Current { choice, in_flight, began: None, meter: None, has_result: false, unproven: None });
        service
    }

    /// Completes as soon as the current member is ready. It fails if the member does, or if the deadline
    /// passes before.
    pub(super) fn poll_ready(&mut self, service: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), Error>>
    where
        S: Service<Request<Payload>, Error: Into<BoxError> + 'static>,
    {
        let mut rejection = match (service.poll_ready(cx), self.deadline_timer.passed(clock::now())) {
            (Poll::Ready(Err(error)), _) => return Poll::Ready(Err(Error::new(error))),
            (Poll::Ready(Ok(())), None) => return Poll::Ready(Ok(())),
            (_, Some(rejection)) => rejection,
            (Poll::Pending, None) => ready!(self.deadline_timer.poll_passed(cx)),
        };
        if let (Some(current), Some(request)) = (&self.current, &self.request) {
            let member = &self.members.members[current.choice.chosen.index];
            rejection = trace_rejection(rejection, &member.name, None, request.extensions());
        }
        Poll::Ready(Err(rejection.into()))
    }

    /// The request for the current member, which is called now.
    pub(super) fn take_request(&mut self) -> Request<Payload> {
        let current = self.current.as_mut().expect("a member was chosen");
        current.began = Some(clock::now());
        let index = current.choice.chosen.index;
        let is_closed = matches!(current.choice.chosen.standing, Standing::Closed(_));
        let request = self.request.take().expect("kept for this member");
        // A member that rejects is waited for by its own stack, or by the chain: it is the first that will be
        // back. The last attempt of the budget is given back if the member rejects it.
        let may_go_on = !is_closed && !self.left.is_empty();
        self.request = if may_go_on { clone_request(&request) } else { None };
        let mut request = request;
        let mut position = self.position.at(index);
        if self.request.is_some() {
            let others = self.members.others(self.left);
            let may_fail =
                !self.is_hedge && self.attempts.as_ref().is_none_or(|attempts| attempts.remaining() > 0);
            position.is_last &= !(may_fail && others.can_take(&request));
            position.others = Some(others);
        }
        if self.has_reached_provider
            && let Some(key) = request.headers_mut().get_mut(IDEMPOTENCY_KEY)
            && let Some(own) = position.idempotency_key_from(key)
        {
            *key = own;
        }
        request.extensions_mut().insert(position);
        if let Some(current) = self.current.as_mut().filter(|_| self.members.affinity.is_some()) {
            current.meter = Some(UsageMeter::nested(0, request.extensions_mut()));
        }
        request
    }

    /// Decides what follows the result of the current member: it is the result of the call, or another member
    /// is called.
    pub(super) fn step<B: Body<Error: Into<BoxError>>>(
        &mut self,
        result: Result<Response<B>, Error>,
    ) -> ControlFlow<Result<Response<ResponseBody<B>>, Error>, S> {
        let outcome = match &result {
            Ok(response) => Outcome::of(response),
            Err(error) => Outcome::of_error(&**error),
        };
        let rejection = result.as_ref().err().and_then(Error::rejection);
        let disposition = match &self.request {
            Some(request) => MemberDisposition::of(&outcome, rejection, request),
            None => MemberDisposition::Return,
        };
        let stream: Option<&StreamOutcome> = result.as_ref().ok().and_then(|it| it.extensions().get());
        let unproven = stream.filter(|stream| stream.is_unproven()).cloned();
        self.record(&outcome, rejection, disposition, unproven);
        if disposition.goes_on()
            && let Some(choice) = self.next_choice()
        {
            drop(result);
            return ControlFlow::Continue(self.enter(choice));
        }
        ControlFlow::Break(self.finish(result, outcome))
    }

    /// Records the result of the current member.
    fn record(
        &mut self,
        outcome: &Outcome,
        rejection: Option<&Rejection>,
        disposition: MemberDisposition,
        unproven: Option<StreamOutcome>,
    ) {
        let Some(current) = &mut self.current else { return };
        current.has_result = true;
        let is_unproven = unproven.is_some();
        current.unproven = unproven;
        let member = &self.members.members[current.choice.chosen.index];
        let now = clock::now();
        let wait = match (outcome, rejection) {
            (_, Some(rejection)) => rejection.retry_after(),
            (Outcome::Failure(failure), None) => failure.wait(),
            _ => None,
        };
        let until = wait.map(|wait| clock::after(wait, now));
        self.soonest = self.soonest.into_iter().chain(until).min();
        let Some(began) = current.began else {
            if let Some(attempts) = &self.attempts {
                attempts.give_back();
            }
            return member.state.record_no_result(None, now);
        };
        self.has_reached_provider |= rejection.is_none_or(Rejection::follows_attempt);
        match outcome {
            Outcome::Success if is_unproven => {}
            Outcome::Success => {
                let was_open = current.choice.chosen.standing == Standing::Open;
                let first_token = was_open.then(|| now.saturating_duration_since(began));
                if member.state.record_success(began, first_token, now) {
                    Decision::MemberReturned.emit(&member.name, None);
                }
            }
            Outcome::Failure(failure)
                if disposition == MemberDisposition::GoOnAfterRefusal && !self.has_own_account =>
            {
                let index = current.choice.chosen.index;
                self.refusals.push(Refusal { index, failure: failure.clone(), began });
            }
            Outcome::Failure(failure) => {
                record_failure(&member.state, &member.name, failure, self.has_own_account, began, now);
            }
            Outcome::Neutral => member.state.record_no_result(Some(began), now),
        }
    }

    /// The member that follows a failure, if there is one, and time and an attempt for it.
    fn next_choice(&mut self) -> Option<MemberChoice> {
        if self.is_hedge && self.has_reached_provider {
            return None;
        }
        let is_past = self.deadline_timer.deadline().is_some_and(|deadline| deadline.is_past(clock::now()));
        let choice = self.choose(false).filter(|_| !is_past)?;
        // A rejection would be less informative than the failure.
        if matches!(choice.chosen.standing, Standing::Closed(_)) {
            return None;
        }
        self.attempts.as_ref().is_none_or(AttemptBudget::take).then_some(choice)
    }

    /// The result of the call.
    fn finish<B: Body<Error: Into<BoxError>>>(
        &mut self,
        result: Result<Response<B>, Error>,
        outcome: Outcome,
    ) -> Result<Response<ResponseBody<B>>, Error> {
        let is_unproven = self.current.as_ref().is_some_and(|current| current.unproven.is_some());
        self.record_refusals(outcome == Outcome::Success && !is_unproven);
        let soonest = self.soonest.map(|soonest| soonest.saturating_duration_since(clock::now()));
        let mut response = match result {
            Ok(response) => response,
            Err(mut error) => {
                if let Some(rejection) = error.rejection_mut() {
                    let mut changed = rejection.clone();
                    if self.has_reached_provider {
                        changed = changed.after_attempt();
                    }
                    if let Some(wait) = shorter(soonest, changed.retry_after()) {
                        changed = changed.with_retry_after(wait);
                    }
                    *rejection = changed;
                }
                return Err(error);
            }
        };
        // The first member that is back ends the cooldown of the group.
        if let Outcome::Failure(mut failure) = outcome
            && let Some(wait) = shorter(soonest, failure.wait())
            && let Some(hint) = &mut failure.retry_hint
        {
            hint.wait = Some(wait);
            response.extensions_mut().insert(Outcome::Failure(failure));
        }
        let call = self.current.take().and_then(|current| self.mark(current, &mut response));
        Ok(response.map(|body| ResponseBody::new(body, call)))
    }

    /// Adds the member to the extensions of its response. The call is in flight until the body ends.
    fn mark<B>(&self, current: Current, response: &mut Response<B>) -> Option<Box<CallAtMember>> {
        let name = &self.members.members[current.choice.chosen.index].name;
        let member = GroupMember { group: Arc::clone(&self.members.group), member: Arc::clone(name) };
        response.extensions_mut().insert(member);
        let (in_flight, began) = (current.in_flight?, current.began?);
        let Current { meter, unproven, .. } = current;
        let (member, has_own_account) = (Arc::clone(name), self.has_own_account);
        Some(Box::new(CallAtMember { in_flight, member, began, has_own_account, meter, unproven }))
    }
}

impl<S> GroupCall<S> {
    /// Records the refusals. Unless another member has taken the request, the request is the cause, and no
    /// member is left out.
    fn record_refusals(&mut self, is_taken: bool) {
        for Refusal { index, failure, began } in self.refusals.drain(..) {
            let (member, now) = (&self.members.members[index], clock::now());
            let begun = if is_taken {
                member.state.record_refusal(&failure, began, now)
            } else {
                member.state.record_failure(&failure, began, now)
            };
            emit_left_out(begun, &member.name, &failure);
        }
    }
}

/// A call that is dropped before its response head, by a hedge or by its caller, shows the least time that
/// its member takes. Without it, a member that hedges always overtake would not be known as slow.
impl<S> Drop for GroupCall<S> {
    fn drop(&mut self) {
        self.record_refusals(false);
        let Some(Current { choice, began, has_result: false, .. }) = &self.current else { return };
        let (now, state) = (clock::now(), &self.members.members[choice.chosen.index].state);
        state.record_no_result(*began, now);
        if let Some(began) = began.filter(|_| choice.chosen.standing == Standing::Open) {
            state.record_dropped(now.saturating_duration_since(began), now);
        }
    }
}

/// The wait of the group, if it is shorter than that of the last member.
fn shorter(soonest: Option<Duration>, wait: Option<Duration>) -> Option<Duration> {
    soonest.filter(|soonest| wait.is_some_and(|wait| *soonest < wait))
}

/// Records a failure of a member that was called at `began`. One of the account of the caller is no reason to
/// leave the member out for others.
pub(super) fn record_failure(
    state: &MemberState,
    member: &str,
    failure: &Failure,
    has_own_account: bool,
    began: Instant,
    now: Instant,
) {
    if has_own_account && is_of_account(failure.code) {
        return state.record_no_result(Some(began), now);
    }
    emit_left_out(state.record_failure(failure, began, now), member, failure);
}

fn emit_left_out(begun: Option<Duration>, member: &str, failure: &Failure) {
    if let Some(cooldown) = begun {
        Decision::MemberLeftOut { code: failure.code, cooldown }.emit(member, None);
    }
}
