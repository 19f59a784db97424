use std::time::Duration;

use tokio::time::Instant;

/// A rate limit as providers keep it: a bucket of `requests`, filled evenly over `per`.
#[derive(Debug)]
pub(super) struct Limit {
    requests: u32,
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
    pub(super) fn new(requests: u32, per: Duration) -> Self {
        let requests = requests.max(1);
        Self { requests, per, interval: per / requests, full_at: None }
    }

    pub(super) fn spend(&mut self, now: Instant) -> Standing {
        let whole = self.interval * self.requests;
        let missing = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let after = missing + self.interval;
        let (missing, refused_for) = match after.checked_sub(whole) {
            Some(wait) if !wait.is_zero() => (missing, Some(wait)),
            _ => (after, None),
        };
        self.full_at = Some(now + missing);
        Standing {
            limit: self.requests,
            remaining: self.remaining(missing),
            reset: missing,
            per: self.per,
            refused_for,
        }
    }

    fn remaining(&self, missing: Duration) -> u32 {
        let spent = missing.as_nanos().div_ceil(self.interval.as_nanos().max(1));
        self.requests.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
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
            let standing = limit.spend(start);
            assert_eq!((standing.remaining, standing.refused_for), (left, None));
        }
        let refused = limit.spend(start);
        assert_eq!(refused.refused_for, Some(SECOND / 5));
        assert_eq!((refused.limit, refused.remaining, refused.reset), (5, 0, SECOND));
        assert_eq!(limit.spend(start + SECOND / 5).refused_for, None);
        assert!(limit.spend(start + SECOND / 5).refused_for.is_some());
    }

    #[test]
    fn a_bucket_is_never_fuller_than_full() {
        let (mut limit, start) = (Limit::new(2, SECOND), Instant::now());
        limit.spend(start);
        assert_eq!(limit.spend(start + 100 * SECOND).remaining, 1);
    }
}
