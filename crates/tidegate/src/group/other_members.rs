use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::Request;

use super::choice::Standing;
use super::disposition::MemberDisposition;
use super::gate_view::GateView;
use super::member_set::MemberSet;
use super::member_state::MemberState;
use crate::attempt::AttemptGates;
use crate::{Outcome, Payload, Rejection, clock};

/// What shows whether a member can take a call: its gates, and the state that its failures have left.
#[derive(Clone, Debug)]
pub(super) struct MemberGates {
    pub(super) gates: Option<AttemptGates>,
    pub(super) state: Arc<MemberState>,
}

/// The members of a group that have not had a call, as a layer below sees them: for a failure that another
/// member may not have, one of them is better than the same one again.
#[derive(Clone)]
pub(crate) struct OtherMembers {
    pub(super) members: Arc<[MemberGates]>,
    pub(super) left: MemberSet,
}

impl MemberGates {
    /// The view of the gates, or that of closed ones while the member is left out after a failure.
    pub(super) fn view<B: 'static>(&self, request: &Request<B>, now: Instant) -> GateView {
        match (self.state.cooling_for(now), &self.gates) {
            (Some(cooldown), _) => GateView { standing: Standing::Closed(Some(cooldown)), quota: 1.0 },
            (None, None) => GateView::OPEN,
            (None, Some(gates)) => GateView::of(gates, request, now),
        }
    }
}

impl OtherMembers {
    /// Whether the group goes on with one of them after this result.
    pub(crate) fn take_over(
        &self,
        outcome: &Outcome,
        rejection: Option<&Rejection>,
        request: &Request<Payload>,
    ) -> bool {
        MemberDisposition::of(outcome, rejection, request).goes_on() && self.can_take(request)
    }

    /// Whether one of them may take a further attempt: it is not left out, and its gates do not reject.
    pub(crate) fn can_take<B: 'static>(&self, request: &Request<B>) -> bool {
        let now = clock::now();
        let is_closed =
            |index: usize| matches!(self.members[index].view(request, now).standing, Standing::Closed(_));
        self.left.iter().any(|index| !is_closed(index))
    }
}

impl fmt::Debug for OtherMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OtherMembers").field(&self.left).finish()
    }
}
