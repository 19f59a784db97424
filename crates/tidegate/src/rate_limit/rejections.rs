//! The rejections of the gate.

use std::time::Instant;

use super::quota_set::Shortfall;
use super::settings::{OnLimit, Settings};
use crate::rejected::deadline_passed;
use crate::{Deadline, ErrorCode, Gate, Rejection, RejectionReason};

impl Shortfall {
    /// Adds the wait and the quota to the rejection.
    pub(super) fn annotate(&self, rejection: Rejection) -> Rejection {
        let rejection = rejection.with_retry_after(self.wait);
        match self.quota {
            Some(quota) => rejection.with_quota(quota),
            None => rejection,
        }
    }
}

impl Settings {
    /// The rejection of a call if its wait would be in vain. `shortfall` is the room that it lacks;
    /// `is_queue_full`: it has no place in the queue.
    pub(super) fn reject_early(
        &self,
        is_queue_full: bool,
        shortfall: &Shortfall,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Option<Rejection> {
        let rejection = if self.on_limit == OnLimit::Reject && !shortfall.is_pending {
            no_room()
        } else if shortfall.wait > self.max_wait && !shortfall.is_pending {
            rejected_because(RejectionReason::MaxWaitExceeded)
        } else if is_queue_full {
            too_many_waiting()
        } else if deadline.is_some_and(|deadline| !deadline.allows(shortfall.wait, now)) {
            past_deadline()
        } else {
            return None;
        };
        Some(shortfall.annotate(rejection))
    }
}

pub(super) fn no_room() -> Rejection {
    rejected_because(RejectionReason::RateLimitReached)
}

pub(super) fn past_deadline() -> Rejection {
    deadline_passed().because(RejectionReason::RateLimitPastDeadline)
}

pub(super) fn too_many_waiting() -> Rejection {
    rejected_because(RejectionReason::RateQueueFull)
}

pub(super) fn rejected_because(reason: RejectionReason) -> Rejection {
    Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).because(reason)
}
