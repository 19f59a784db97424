//! A token bucket as one number: the generic cell rate algorithm (ITU-T I.371, "GCRA").

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::Deadline;

/// `burst` at once, and then one every `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    interval: Duration,
    burst: u32,
}

/// How much of a [`Rate`] is spent.
///
/// Holds the moment at which the bucket will be full again. Nothing runs in the background: a bucket that
/// nobody asks costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    full_at: Instant,
}

impl Rate {
    /// `count` in every `period`, of which `burst` may come at once.
    pub(crate) fn new(count: NonZeroU32, period: Duration, burst: NonZeroU32) -> Self {
        // Rounded up: a nanosecond too slow is within the quota, a nanosecond too fast is not.
        let nanos = period.as_nanos().div_ceil(u128::from(count.get()));
        Self { interval: Duration::from_nanos_u128(nanos), burst: burst.get() }
    }

    fn spend_of(self, count: u32) -> Duration {
        self.interval.saturating_mul(count)
    }
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Spends one, or says how long until there is one.
    pub(crate) fn spend(&mut self, now: Instant) -> Result<(), Duration> {
        match self.wait(0, now) {
            Duration::ZERO => {
                self.full_at = after(self.full_at.max(now), self.rate.interval);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long until there is one for a call with `ahead` others before it.
    pub(crate) fn wait(&self, ahead: u32, now: Instant) -> Duration {
        let owed = self.full_at.saturating_duration_since(now);
        owed.saturating_add(self.rate.spend_of(ahead.saturating_add(1)))
            .saturating_sub(self.rate.spend_of(self.rate.burst))
    }

    /// Gives one back that was spent at `spent` and not used. What has refilled since then gains nothing: it
    /// would be there twice.
    pub(crate) fn refund(&mut self, spent: Instant, now: Instant) {
        if after(spent, self.rate.interval) <= now {
            return;
        }
        self.full_at = self.full_at.checked_sub(self.rate.interval).unwrap_or(now).max(now);
    }

    /// Empties the bucket so that it holds exactly one at `then`, and refills from there.
    pub(crate) fn drain_until(&mut self, then: Instant) {
        let spent = self.rate.spend_of(self.rate.burst.saturating_sub(1));
        self.full_at = self.full_at.max(after(then, spent));
    }

    /// How many are left.
    pub(crate) fn remaining(&self, now: Instant) -> u32 {
        let owed = self.full_at.saturating_duration_since(now);
        let free = self.rate.spend_of(self.rate.burst).saturating_sub(owed);
        let whole = free.as_nanos() / self.rate.interval.as_nanos().max(1);
        u32::try_from(whole).unwrap_or(u32::MAX)
    }
}

fn after(moment: Instant, wait: Duration) -> Instant {
    Deadline::after(wait, moment).instant()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, period: Duration, burst: u32) -> Rate {
        Rate::new(NonZeroU32::new(count).unwrap(), period, NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_one_per_interval() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(5, Duration::from_secs(1), 3), start);
        assert_eq!(bucket.remaining(start), 3);
        for _ in 0..3 {
            assert_eq!(bucket.spend(start), Ok(()));
        }
        assert_eq!((bucket.remaining(start), bucket.spend(start)), (0, Err(Duration::from_millis(200))));
        assert_eq!(bucket.wait(4, start), Duration::from_secs(1));
        assert_eq!(bucket.spend(start + Duration::from_millis(200)), Ok(()));
        assert_eq!(bucket.remaining(start + Duration::from_secs(60)), 3);
    }

    #[test]
    fn a_refund_is_as_if_nothing_had_been_spent_and_never_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1, Duration::from_secs(1), 2), start);
        bucket.spend(start).unwrap();
        bucket.refund(start, start);
        bucket.refund(start, start);
        assert_eq!(bucket.remaining(start), 2);
    }

    /// A call that was refused below after five seconds gave its token back, though that had long refilled.
    #[test]
    fn p11_what_has_refilled_is_not_given_back_once_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1, Duration::from_secs(1), 1), start);
        bucket.spend(start).unwrap();
        let later = start + Duration::from_secs(5);
        bucket.spend(later).unwrap();
        bucket.refund(start, later);
        assert!(bucket.spend(later).is_err());
    }

    #[test]
    fn a_drained_bucket_opens_with_one_and_refills_from_there() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1, Duration::from_secs(1), 10), start);
        let then = start + Duration::from_secs(30);
        bucket.drain_until(then);
        assert_eq!(bucket.remaining(then), 1);
        assert_eq!(bucket.spend(then), Ok(()));
        assert_eq!(bucket.spend(then), Err(Duration::from_secs(1)));
    }

    proptest! {
        /// P11: no window of any offset admits more than burst + rate x time.
        #[test]
        fn p11_no_window_admits_more_than_burst_and_rate(
            count in 1u32..50, burst in 1u32..20, gaps in prop::collection::vec(0u64..400, 1..200),
        ) {
            let (start, period) = (Instant::now(), Duration::from_secs(1));
            let mut bucket = Bucket::new(rate(count, period, burst), start);
            let mut now = start;
            let mut admitted = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                while bucket.spend(now).is_ok() {
                    admitted.push(now);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let allowed = f64::from(burst) + f64::from(count) * (*to - *from).as_secs_f64();
                    prop_assert!((last - first + 1) as f64 <= allowed + 1e-6);
                }
            }
        }

        #[test]
        fn an_absurd_rate_neither_panics_nor_overflows(
            count in 1u32.., secs in 0u64..1 << 40, burst in 1u32.., ahead in 0u32..,
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate(count, Duration::from_secs(secs), burst), start);
            let _ = (bucket.spend(start), bucket.wait(ahead, start), bucket.remaining(start));
            bucket.refund(start, start);
            bucket.drain_until(start + Duration::from_secs(86_400));
            let _ = bucket.wait(ahead, start);
        }
    }
}
