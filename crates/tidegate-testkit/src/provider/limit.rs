use std::time::Duration;

use tokio::time::Instant;

/// A rate limit as providers keep it: a bucket of requests, or of tokens, filled evenly over a period.
#[derive(Debug)]
pub(super) struct Limit {
    amount: u32,
    per: Duration,
    interval: Duration,
    /// When the bucket will be full again.
    full_at: Option<Instant>,
}

/// How things stand after a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Until the bucket is full.
    pub(super) reset: Duration,
    /// The span that the limit is over.
    pub(super) per: Duration,
    /// Set if the request was one too many: until the next one is not.
    pub(super) refused_for: Option<Duration>,
}

impl Limit {
    pub(super) fn new(amount: u32, per: Duration) -> Self {
        let amount = amount.max(1);
        Self { amount, per, interval: per / amount, full_at: None }
    }

    /// How long a request would have to wait that takes `cost`, if it has to.
    pub(super) fn lacks(&self, cost: u32, now: Instant) -> Option<Duration> {
        let after = self.missing(now) + self.interval.saturating_mul(cost);
        after.checked_sub(self.interval * self.amount).filter(|wait| !wait.is_zero())
    }

    /// How things stand after a request that takes `cost`; nothing, if it is refused on account of another limit.
    pub(super) fn spend(&mut self, cost: u32, is_refused: bool, now: Instant) -> Standing {
        let refused_for = self.lacks(cost, now);
        let mut missing = self.missing(now);
        if !is_refused && refused_for.is_none() {
            missing += self.interval.saturating_mul(cost);
        }
        self.full_at = Some(now + missing);
        Standing {
            limit: self.amount,
            remaining: self.remaining(missing),
            reset: missing,
            per: self.per,
            refused_for,
        }
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    fn remaining(&self, missing: Duration) -> u32 {
        let spent = missing.as_nanos().div_ceil(self.interval.as_nanos().max(1));
        self.amount.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_per_interval() {
        let (mut limit, start) = (Limit::new(5, SECOND), Instant::now());
        for left in (0..5).rev() {
            let standing = limit.spend(1, false, start);
            assert_eq!((standing.remaining, standing.refused_for), (left, None));
        }
        let refused = limit.spend(1, false, start);
        assert_eq!(refused.refused_for, Some(SECOND / 5));
        assert_eq!((refused.limit, refused.remaining, refused.reset), (5, 0, SECOND));
        assert_eq!(limit.spend(1, false, start + SECOND / 5).refused_for, None);
        assert!(limit.spend(1, false, start + SECOND / 5).refused_for.is_some());
    }

    #[test]
    fn what_takes_more_waits_longer_and_what_is_refused_takes_nothing() {
        let (mut limit, start) = (Limit::new(100, SECOND), Instant::now());
        assert_eq!(limit.spend(80, false, start).remaining, 20);
        assert_eq!(limit.spend(50, false, start).refused_for, Some(SECOND * 3 / 10));
        assert_eq!(limit.spend(50, true, start).remaining, 20);
        assert_eq!(limit.spend(50, false, start + SECOND * 3 / 10).remaining, 0);
    }

    #[test]
    fn a_bucket_is_never_fuller_than_full() {
        let (mut limit, start) = (Limit::new(2, SECOND), Instant::now());
        limit.spend(1, false, start);
        assert_eq!(limit.spend(1, false, start + 100 * SECOND).remaining, 1);
    }
}
