//! What a call would meet now. Nothing is acquired.

use std::time::{Duration, Instant};

use http::Request;

use super::Handle;
use super::cost::CallCost;
use super::queue::RateCall;
use crate::keyed::KeyedHandle;
use crate::priority_semaphore::{Arrival, NEW_FLOW};
use crate::{Deadline, Priority, Rejection, clock};

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
    /// The rejection that a call would get if it arrived now. Acquires nothing. The cost of the call
    /// is not known here: an interactive call without tokens is assumed.
    #[must_use]
    pub fn peek(&self, deadline: Option<Deadline>) -> Option<Rejection> {
        let call = RateCall { cost: CallCost::ONE_CALL, priority: Priority::Interactive, flow: NEW_FLOW };
        self.peek_call(&call, deadline)
    }

    /// The rejection that this request would get if it arrived now, with its cost, priority and deadline, by
    /// the limit of its key if there are keys. Acquires nothing.
    #[must_use]
    pub fn peek_for<B: 'static>(&self, request: &Request<B>) -> Option<Rejection> {
        if let Some(rejection) = self.missing_key(request) {
            return Some(rejection);
        }
        let limit = self.get_or_new(request);
        let extensions = request.extensions();
        let cost = limit.cost(request);
        let cost = limit.lock().limits.bounded(cost);
        limit.peek_call(&RateCall::of(cost, extensions, Arrival::First), Deadline::of(extensions))
    }

    /// Whether any call would be admitted at once and leave half of every quota, if there are no keys.
    /// `false` also if that is not certain; then an [outlook](Self::outlook_for) decides, and makes it
    /// certain for the next calls.
    #[inline]
    pub(crate) fn certainly_admits(&self) -> bool {
        self.0.queue.has_headroom()
    }

    /// What this request would meet if it arrived at `now`, by the limit of its key if there are keys.
    /// Acquires nothing.
    pub(crate) fn outlook_for<B: 'static>(&self, request: &Request<B>, now: Instant) -> RateOutlook {
        if !self.is_enabled() {
            return RateOutlook::default();
        }
        if let rejection @ Some(_) = self.missing_key(request) {
            return RateOutlook { rejection, ..RateOutlook::default() };
        }
        let limit = self.get_or_new(request);
        let cost = limit.cost(request);
        let mut queue = limit.lock();
        let cost = queue.limits.bounded(cost);
        limit.retry_exchange(&mut queue, now);
        let left = queue.limits.part_left(now);
        let is_idle = queue.backlog.total() == 0;
        if is_idle && queue.limits.shortfall(&CallCost::default(), &cost, now).wait.is_zero() {
            // There is no credit under the lock.
            limit.0.queue.set_headroom(queue.limits.calls_to_half(now));
            return RateOutlook { left, ..RateOutlook::default() };
        }
        let extensions = request.extensions();
        let call = RateCall::of(cost, extensions, Arrival::First);
        let shortfall = queue.shortfall(&call, now);
        let rejection =
            limit.0.settings().reject_early(queue.is_full(&call), &shortfall, Deadline::of(extensions), now);
        // A call that would have room still waits behind those that are queued.
        RateOutlook { rejection, wait: shortfall.wait.max(Duration::from_nanos(1)), left }
    }

    fn peek_call(&self, call: &RateCall, deadline: Option<Deadline>) -> Option<Rejection> {
        if !self.is_enabled() {
            return None;
        }
        let now = clock::now();
        let mut queue = self.lock();
        self.retry_exchange(&mut queue, now);
        let shortfall = queue.shortfall(call, now);
        if shortfall.wait.is_zero() && queue.backlog.total() == 0 {
            return None;
        }
        self.0.settings().reject_early(queue.is_full(call), &shortfall, deadline, now)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::attempt::Admission;
    use crate::clock::Now;
    use crate::rate_limit::cost::Reserved;
    use crate::{Payload, RateLimitLayer};

    /// Calls, refunds, closed gates, reports and time in any order: what is certain is what a closer look
    /// finds.
    #[tokio::test(start_paused = true)]
    async fn what_is_certain_is_what_the_queue_has() {
        let request = || Request::new(Payload::from("{}"));
        let mut certain = 0;
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            fastrand::seed(seed);
            let limit = RateLimitLayer::per_minute(random.u32(1..40));
            let limit = match random.u8(0..4) {
                0 => limit,
                1 => limit.quota(20, Duration::from_secs(10)),
                _ => RateLimitLayer::per_second(100_000).burst_size(200),
            };
            let handle = limit.handle();
            let gate = handle.clone().by_thread();
            let (mut held, mut queued) = (Vec::new(), Vec::new());
            for _ in 0..200 {
                match random.u8(0..24) {
                    0 => _ = handle.close_here(Duration::from_secs(random.u64(1..20)), true),
                    1 => handle.reset(),
                    2 => {
                        let mut headers = HeaderMap::new();
                        headers.insert("x-ratelimit-limit-requests", 50.into());
                        headers.insert("x-ratelimit-remaining-requests", random.u64(0..50).into());
                        headers.insert("x-ratelimit-reset-requests", "30s".parse().unwrap());
                        let (cost, at) = (CallCost::ONE_CALL, clock::now());
                        handle.on_headers(&headers, true, &Reserved { cost, at, total_spent: cost });
                    }
                    3 => held.clear(),
                    4 => queued.clear(),
                    5..9 => tokio::time::advance(Duration::from_millis(random.u64(0..5_000))).await,
                    9..14 => _ = handle.outlook_for(&request(), clock::now()),
                    // Enough for calls on credit.
                    _ => {
                        for _ in 0..if random.u8(0..4) == 0 { random.u8(1..120) } else { 1 } {
                            match gate.admit_at(&mut request(), &mut Now::default()) {
                                Admission::Admitted(reservation) => held.push(reservation),
                                Admission::Queued(call) => queued.push(call),
                                Admission::Rejected(_) => {}
                            }
                        }
                    }
                }
                if handle.certainly_admits() {
                    certain += 1;
                    let (now, queue) = (clock::now(), handle.lock());
                    let shortfall = queue.limits.shortfall(&CallCost::default(), &CallCost::ONE_CALL, now);
                    let (left, waiting) = (queue.limits.part_left(now), queue.backlog.total());
                    assert!(
                        shortfall.wait.is_zero() && left >= 0.499 && waiting == 0,
                        "{left} {waiting} (seed {seed})"
                    );
                }
            }
        }
        assert!(certain > 2_000, "{certain}");
    }

    #[test]
    fn a_limit_in_tokens_is_never_certain() {
        let handle = RateLimitLayer::per_minute(1_000).tokens_per_minute(1_000_000).handle();
        let request = Request::new(Payload::from("{}"));
        assert!(handle.outlook_for(&request, clock::now()).rejection.is_none() && !handle.certainly_admits());
        let disabled = RateLimitLayer::disabled().handle();
        assert!(disabled.certainly_admits());
        disabled.reset();
        assert!(disabled.certainly_admits());
    }
}
