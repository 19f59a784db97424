//! The hedge of a call: the same request at another target, or at the same one, beside the attempt in
//! progress.
//!
//! ```text
//!                    due, sent               first token here
//!   attempt alone ─────────────▶ two attempts ────────────────▶ the other one is dropped
//!        ▲                         │      │
//!        └──── the hedge failed ───┘      └─ the attempt failed: the hedge is the attempt in progress
//! ```

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http_body::Body;

use super::{ChainState, TargetResult, outcome};
use crate::body::clone_request;
use crate::chain_position::{AttemptNumber, Hedging};
use crate::fallback::Handle;
use crate::fallback::target::TargetService;
use crate::group::LateMember;
use crate::hedge::{HedgeInfo, HedgePlan, HedgeUsage};
use crate::rejected::is_unsent;
use crate::{Error, Outcome, Payload, Trail, Verdict, clock};

/// The hedge of one call.
pub(super) struct CallHedge {
    plan: HedgePlan,
    /// The time that the attempt in progress took until the hedge was due.
    waited: Duration,
    sent: Option<SentHedge>,
}

/// A hedge that was sent.
struct SentHedge {
    target_index: usize,
    name: Arc<str>,
    /// The target is a group.
    is_group: bool,
    trail: Trail,
    state: HedgeState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HedgeState {
    Running,
    /// It is the attempt in progress, since the one before has ended.
    Alone,
    /// Its response is that of the call.
    Won,
    /// The attempt in progress was faster.
    Cancelled,
    Failed,
}

impl CallHedge {
    fn new(handle: &Handle, request: &Request<Payload>) -> Option<Self> {
        let plan = HedgePlan::new(handle.hedge()?.handle.to_hold(), request);
        Some(Self { plan, waited: Duration::ZERO, sent: None })
    }

    fn running(&self) -> Option<usize> {
        let sent = self.sent.as_ref().filter(|sent| sent.state == HedgeState::Running);
        sent.map(|sent| sent.target_index)
    }

    fn set_state(&mut self, state: HedgeState) {
        let Some(sent) = &mut self.sent else { return };
        sent.state = state;
        if state.is_end() {
            self.plan.record_end(&sent.name, state == HedgeState::Won);
        }
    }
}

impl SentHedge {
    /// The target that it was sent to, or the member if that is a group.
    fn called(&self) -> Arc<str> {
        self.trail.target().filter(|_| self.is_group).unwrap_or_else(|| Arc::clone(&self.name))
    }
}

impl HedgeState {
    const fn is_end(self) -> bool {
        matches!(self, Self::Won | Self::Cancelled | Self::Failed)
    }
}

/// A call that is dropped cancels its hedge.
impl Drop for CallHedge {
    fn drop(&mut self) {
        if self.sent.as_ref().is_some_and(|sent| !sent.state.is_end()) {
            self.set_state(HedgeState::Cancelled);
        }
    }
}

impl ChainState {
    /// Prepares the hedge of a call with a buffered body, unless an outer chain hedges it.
    pub(super) fn prepare_hedge(&mut self, request: &Request<Payload>) {
        if self.is_hedging {
            self.hedge = CallHedge::new(&self.handle, request).map(Box::new);
        }
    }

    /// The attempt at the current target begins. It is not measured if the call has waited for a cooldown or
    /// has a simpler prompt, or if the target was called as a hedge.
    pub(super) fn start_measuring(&mut self) {
        if self.is_resend() {
            return;
        }
        if let (Some(hedge), Some(chain)) = (&mut self.hedge, self.handle.hedge())
            && let Some(times) = chain.times.get(self.target_index)
        {
            hedge.plan.start_attempt(times);
        }
    }

    /// The attempt in progress has this outcome.
    pub(super) fn end_measuring(&mut self, outcome: &Outcome) {
        let Some(hedge) = &mut self.hedge else { return };
        hedge.plan.end_attempt(Some(outcome));
        if hedge.sent.as_ref().is_some_and(|sent| sent.state == HedgeState::Alone) {
            let won = *outcome == Outcome::Success;
            hedge.set_state(if won { HedgeState::Won } else { HedgeState::Failed });
        }
    }

    /// Whether the first target may be called as a hedge.
    pub(super) fn may_hedge_at_first(&self) -> bool {
        self.hedge.as_ref().is_some_and(|hedge| hedge.plan.is_open() && hedge.plan.allows_same_target())
    }

    /// Whether the request is needed for a hedge.
    pub(super) fn may_hedge(&self) -> bool {
        self.hedge.as_ref().is_some_and(|hedge| hedge.plan.is_open())
    }

    /// Ready with the targets that may take the request as well, best first, when the hedge is due and
    /// covered by its budget.
    pub(crate) fn poll_hedge_due(&mut self, cx: &mut Context<'_>) -> Poll<Vec<usize>> {
        let Some(hedge) = &mut self.hedge else { return Poll::Pending };
        hedge.waited = ready!(hedge.plan.poll_due(cx));
        let targets = self.hedge_targets();
        let name = self.name_at(self.target_index);
        match (&self.hedge, &self.template) {
            (Some(hedge), Some(request)) if hedge.plan.withdraw(request, &name, !targets.is_empty()) => {
                Poll::Ready(targets)
            }
            _ => Poll::Pending,
        }
    }

    /// The next targets of the chain that can take the request, and then the current one.
    fn hedge_targets(&mut self) -> Vec<usize> {
        let handle = self.handle.clone();
        let next = handle.targets().iter().enumerate().skip(self.visited);
        let capable = next.filter(|(_, target)| self.missing_capability(target).is_none());
        let mut targets: Vec<_> = capable.map(|(index, _)| index + 1).collect();
        if self.hedge.as_ref().is_some_and(|hedge| hedge.plan.allows_same_target()) {
            targets.push(self.target_index);
        }
        targets
    }

    /// The service of the target at `target_index`, which is not the first.
    pub(crate) fn service_at(&self, target_index: usize) -> Option<TargetService> {
        Some(self.target_at(target_index)?.service.clone())
    }

    /// The request of the hedge at `target_index`, and its trail. Its tokens are metered in the call and
    /// apart.
    pub(crate) fn hedge_request(&mut self, target_index: usize) -> Option<(Request<Payload>, Trail)> {
        let mut request = clone_request(self.template.as_ref()?)?;
        let is_same_target = target_index == self.target_index;
        let is_last = self.is_last(target_index);
        let mut position = self.position_at(target_index, is_last);
        if is_same_target {
            position = position.for_other_request();
            request.extensions_mut().insert(AttemptNumber::nth(2));
            if let Some(late) = self.called_name() {
                request.extensions_mut().insert(LateMember(late));
            }
        }
        // One attempt, without retries.
        position.is_resend = true;
        position.hedging = Hedging::Hedge;
        request.extensions_mut().insert(position);
        let after = self.hedge.as_ref()?.waited;
        let to = self.name_at(target_index);
        let trail = self.trail.as_ref()?.branch(Verdict::Hedged { to: Arc::clone(&to), after });
        if !to.is_empty() {
            trail.enter(&to);
        }
        request.extensions_mut().insert(trail.clone());
        HedgeUsage::insert(request.extensions_mut());
        Some((request, trail))
    }

    /// The hedge was sent to the target at `target_index`.
    pub(crate) fn start_hedge(&mut self, target_index: usize, trail: Trail) {
        trail.open();
        let name = self.name_at(target_index);
        let is_group = self.target_at(target_index).is_none_or(|target| target.is_group);
        if let Some(target) = self.target_at(target_index) {
            target.counters.record_use();
        }
        if let Some(hedge) = &mut self.hedge {
            hedge.plan.record_sent(&name, hedge.waited);
            let state = HedgeState::Running;
            hedge.sent = Some(SentHedge { target_index, name, is_group, trail, state });
        }
    }

    /// No target could take the request at once.
    pub(crate) fn give_up_hedge(&self) {
        if let Some(hedge) = &self.hedge {
            hedge.plan.refund();
        }
    }

    /// The hedge has this result before the attempt in progress. Returns whether it is that of the call, as a
    /// success is. After a failure the call waits for the attempt in progress.
    pub(crate) fn on_hedge_result<B>(&mut self, result: &TargetResult<B>) -> bool
    where
        B: Body,
    {
        let Some(target_index) = self.running_hedge() else { return false };
        let outcome = outcome(result);
        let won = outcome == Outcome::Success;
        if !won {
            self.record_hedge_failure(target_index, &outcome, result.as_ref().err());
        }
        won
    }

    /// Makes the hedge the attempt in progress, in place of one that failed or is given up.
    pub(crate) fn select_hedge(&mut self) -> bool {
        let Some(target_index) = self.running_hedge() else { return false };
        if let Some(hedge) = &mut self.hedge {
            // The attempt before is given up, unless it has ended.
            hedge.plan.end_attempt(None);
        }
        self.target_index = target_index;
        self.is_in_flight = true;
        self.set_hedge_state(HedgeState::Alone);
        // The branch of the hedge has entered the member of a group, or the target of a nested chain.
        if let Some(target) = self.sent_hedge().and_then(|sent| sent.trail.target()) {
            self.enter_target(&target);
        }
        true
    }

    /// The attempt in progress has the response of the call: a hedge beside it is cancelled.
    pub(crate) fn cancel_hedge(&mut self) {
        if self.running_hedge().is_some() {
            self.set_hedge_state(HedgeState::Cancelled);
        }
    }

    fn set_hedge_state(&mut self, state: HedgeState) {
        if let Some(hedge) = &mut self.hedge {
            hedge.set_state(state);
        }
    }

    fn record_hedge_failure(&mut self, target_index: usize, outcome: &Outcome, error: Option<&Error>) {
        self.set_hedge_state(HedgeState::Failed);
        if error.is_some_and(is_unsent) {
            self.give_up_hedge()
        } else {
            self.has_reached_provider = true
        }
        let Some(target) = self.target_at(target_index).filter(|_| target_index != self.target_index) else {
            return;
        };
        target.counters.record_outcome(false);
        let name = self.sent_hedge().map(SentHedge::called).unwrap_or_default();
        let failures = self.failures.get_or_insert_default();
        failures.cooldowns.record_failure(target_index, outcome, error, clock::now());
        failures.filter.record_failure(self.settings.hooks.models.as_deref(), &name, outcome);
    }

    fn sent_hedge(&self) -> Option<&SentHedge> {
        self.hedge.as_ref()?.sent.as_ref()
    }

    pub(crate) fn running_hedge(&self) -> Option<usize> {
        self.hedge.as_ref()?.running()
    }

    /// Whether the target at `target_index` has had its attempt, as the hedge.
    pub(super) fn is_taken_by_hedge(&self, target_index: usize) -> bool {
        self.sent_hedge()
            .is_some_and(|sent| sent.target_index == target_index && sent.state != HedgeState::Cancelled)
    }

    /// What became of the hedge, for the response.
    pub(super) fn hedge_info(&self) -> Option<HedgeInfo> {
        self.sent_hedge().map(|sent| HedgeInfo::new(sent.called(), sent.state == HedgeState::Won))
    }
}
