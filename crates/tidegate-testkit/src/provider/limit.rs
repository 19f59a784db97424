use std::time::Duration;

use tokio::time::Instant;

/// A rate limit of a provider: a bucket of requests or of tokens, refilled evenly over a period.
#[derive(Debug)]
pub(super) struct LimitBucket {
    amount: u32,
    per: Duration,
    interval: Duration,
    /// When the bucket will be full again.
    full_at: Option<Instant>,
}

/// The state of a limit after a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LimitState {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// The time until the bucket is full.
    pub(super) reset: Duration,
    /// The period of the limit.
    pub(super) per: Duration,
    /// The time until a retry is accepted. Set if the request was rejected.
    pub(super) refused_for: Option<Duration>,
}

impl LimitBucket {
    pub(super) fn new(amount: u32, per: Duration) -> Self {
        let amount = amount.max(1);
        Self { amount, per, interval: per / amount, full_at: None }
    }

    /// How long a request of this `cost` would have to wait. `None` if it need not wait.
    pub(super) fn wait_for(&self, cost: u32, now: Instant) -> Option<Duration> {
        let after = self.time_to_full(now) + self.interval.saturating_mul(cost);
        after.checked_sub(self.interval * self.amount).filter(|wait| !wait.is_zero())
    }

    /// Charges `cost` and returns the state after it. Nothing is charged if another limit rejects the
    /// request.
    pub(super) fn spend(&mut self, cost: u32, is_refused: bool, now: Instant) -> LimitState {
        let refused_for = self.wait_for(cost, now);
        let mut time_to_full = self.time_to_full(now);
        if !is_refused && refused_for.is_none() {
            time_to_full += self.interval.saturating_mul(cost);
        }
        self.full_at = Some(now + time_to_full);
        LimitState {
            limit: self.amount,
            remaining: self.remaining(time_to_full),
            reset: time_to_full,
            per: self.per,
            refused_for,
        }
    }

    fn time_to_full(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    fn remaining(&self, time_to_full: Duration) -> u32 {
        let spent = time_to_full.as_nanos().div_ceil(self.interval.as_nanos().max(1));
        self.amount.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_per_interval() {
        let (mut limit, start) = (LimitBucket::new(5, SECOND), Instant::now());
        for left in (0..5).rev() {
            let state = limit.spend(1, false, start);
            assert_eq!((state.remaining, state.refused_for), (left, None));
        }
        let refused = limit.spend(1, false, start);
        assert_eq!(refused.refused_for, Some(SECOND / 5));
        assert_eq!((refused.limit, refused.remaining, refused.reset), (5, 0, SECOND));
        assert_eq!(limit.spend(1, false, start + SECOND / 5).refused_for, None);
        assert!(limit.spend(1, false, start + SECOND / 5).refused_for.is_some());
    }

    #[test]
    fn a_larger_cost_waits_longer_and_a_rejected_request_costs_nothing() {
        let (mut limit, start) = (LimitBucket::new(100, SECOND), Instant::now());
        assert_eq!(limit.spend(80, false, start).remaining, 20);
        assert_eq!(limit.spend(50, false, start).refused_for, Some(SECOND * 3 / 10));
        assert_eq!(limit.spend(50, true, start).remaining, 20);
        assert_eq!(limit.spend(50, false, start + SECOND * 3 / 10).remaining, 0);
    }

    #[test]
    fn a_bucket_never_exceeds_its_capacity() {
        let (mut limit, start) = (LimitBucket::new(2, SECOND), Instant::now());
        limit.spend(1, false, start);
        assert_eq!(limit.spend(1, false, start + 100 * SECOND).remaining, 1);
    }
}
