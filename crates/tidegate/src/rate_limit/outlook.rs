use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Request;

use super::Handle;
use super::cost::CallCost;
use super::queue::RateCall;
use crate::keyed::KeyedHandle;
use crate::priority_semaphore::flow_of;
use crate::{Deadline, Priority, Rejection};

/// What a rate limit would do with a request now, for a choice between several limits.
#[derive(Debug)]
pub(crate) struct RateOutlook {
    /// It would reject the request.
    pub(crate) rejection: Option<Rejection>,
    /// The wait in the queue; zero if the request would be admitted at once.
    pub(crate) wait: Duration,
    /// The part of the quota that is left, from 0 to 1, of the one with the least.
    pub(crate) left: f32,
}

impl Default for RateOutlook {
    /// That of a limit that is off.
    fn default() -> Self {
        Self { rejection: None, wait: Duration::ZERO, left: 1.0 }
    }
}

impl Handle {
    /// Whether any call would be admitted at once and leave half of every quota, if there are no keys. `false` also if that is not
    /// certain; then an [outlook](Self::outlook_for) decides, and makes it certain for the next calls.
    #[inline]
    pub(crate) fn certainly_admits(&self) -> bool {
        self.0.certain_calls.load(Ordering::Relaxed) > 0
    }

    /// What this request would meet if it arrived at `now`, by the limit of its key if there are keys. Acquires nothing.
    pub(crate) fn outlook_for<B: 'static>(&self, request: &Request<B>, now: Instant) -> RateOutlook {
        if !self.is_enabled() {
            return RateOutlook::default();
        }
        if let rejection @ Some(_) = self.missing_key(request) {
            return RateOutlook { rejection, ..RateOutlook::default() };
        }
        let limit = self.met_by(request);
        let cost = limit.cost(request);
        let queue = limit.lock();
        let left = queue.limits.part_left(now);
        let is_idle = queue.backlog.total() == 0;
        if is_idle && queue.limits.shortfall(&CallCost::default(), &cost, now).wait.is_zero() {
            // Calls on credit are not counted here one by one.
            if !limit.0.queue.has_credits() {
                limit.0.certain_calls.store(queue.limits.calls_to_half(now), Ordering::Relaxed);
            }
            return RateOutlook { left, ..RateOutlook::default() };
        }
        let extensions = request.extensions();
        let (priority, flow) = (Priority::of(extensions), flow_of(extensions));
        let call = RateCall { cost, priority, flow };
        let shortfall = queue.shortfall(&call, now);
        let rejection =
            limit.0.settings().reject_early(queue.is_full(&call), &shortfall, Deadline::of(extensions), now);
        // A call that would have room still waits behind those that are queued.
        RateOutlook { rejection, wait: shortfall.wait.max(Duration::from_nanos(1)), left }
    }
}
