use std::time::{Duration, Instant};

use super::rejections::queue_timeout;
use crate::rejected::deadline_passed;
use crate::{Deadline, Rejection};

/// The end of a queued call's wait: the queue timeout, or when too little time is left until the deadline of
/// the call, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitDeadline {
    pub(super) queue: Deadline,
    pub(super) call: Option<Deadline>,
    /// The time that an answer takes. A call that got its permit later would be cut off, and another call
    /// would have waited for nothing.
    pub(super) answer_time: Duration,
}

impl WaitDeadline {
    pub(super) fn instant(self) -> Instant {
        let queue = self.queue.instant();
        self.call.map_or(queue, |call| self.latest_start(call).min(queue))
    }

    /// Whether a call that starts at `now` has no time for an answer.
    pub(super) fn is_too_late(self, now: Instant) -> bool {
        !self.answer_time.is_zero() && self.call.is_some_and(|call| now > self.latest_start(call))
    }

    /// The rejection of a call that has waited until `now`, if its wait is over.
    pub(super) fn rejection_at(self, now: Instant) -> Option<Rejection> {
        if now < self.instant() {
            return None;
        }
        Some(match self.call {
            Some(call) if call < self.queue && call.instant() <= now => deadline_passed(),
            // Another target may be faster.
            _ => queue_timeout(),
        })
    }

    fn latest_start(self, call: Deadline) -> Instant {
        call.instant().checked_sub(self.answer_time).unwrap_or(call.instant())
    }
}
