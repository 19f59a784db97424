use std::time::Instant;

use crate::{Deadline, ErrorCode, Gate, Rejection, RejectionReason};

/// The end of a queued call's wait: the queue time-out or the deadline of the call, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitDeadline {
    pub(super) queue: Deadline,
    pub(super) call: Option<Deadline>,
}

impl WaitDeadline {
    pub(super) fn instant(self) -> Instant {
        self.call.map_or(self.queue, |call| call.min(self.queue)).instant()
    }

    /// The rejection of a call that has waited until `now`, if its wait is over.
    pub(super) fn rejection_at(self, now: Instant) -> Option<Rejection> {
        if now < self.instant() {
            return None;
        }
        Some(match self.call {
            Some(call) if call < self.queue => Rejection::new(Gate::Deadline, ErrorCode::Timeout),
            _ => rejection(RejectionReason::QueueTimeout),
        })
    }
}

pub(super) fn queue_is_full() -> Rejection {
    rejection(RejectionReason::QueueFull)
}

fn rejection(reason: RejectionReason) -> Rejection {
    Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).because(reason)
}
