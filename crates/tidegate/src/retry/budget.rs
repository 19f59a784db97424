use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bucket::{Bucket, Rate};
use crate::sync::unpoisoned;

/// The retry budget of all calls together: a share of the traffic, and a floor.
///
/// Every call deposits `ratio` of a retry; a retry withdraws one. When the balance is empty, the floor allows
/// this many retries a second. After Finagle's `RetryBudget`, with its defaults (20 %, 10 a second, 10 s).
#[derive(Debug)]
pub(super) struct Budget {
    /// In thousandths of a retry.
    balance: AtomicU64,
    deposit: u64,
    floor: Option<Mutex<Bucket>>,
}

/// One retry.
const RETRY: u64 = 1_000;

/// The largest balance: 100 retries, ten seconds of the default floor. So a long time without failures does
/// not pay for an outage.
const CAP: u64 = 100 * RETRY;

impl Budget {
    /// `ratio` retries per call, clamped to 0..=1, and `floor` a second on top.
    pub(super) fn new(ratio: f64, floor: u32, now: Instant) -> Self {
        let deposit = (ratio.clamp(0.0, 1.0) * RETRY as f64) as u64;
        let rate = |floor| Rate::new(floor, Duration::from_secs(1), floor);
        let floor = NonZeroU64::new(floor.into()).map(|floor| Mutex::new(Bucket::new(rate(floor), now)));
        Self { balance: AtomicU64::new(0), deposit, floor }
    }

    /// Deposits for one call. Without failures the balance stays at its cap, and this is one atomic load.
    pub(super) fn deposit(&self) {
        if self.balance.load(Ordering::Relaxed) < CAP {
            self.balance.fetch_add(self.deposit, Ordering::Relaxed);
        }
    }

    /// Withdraws one retry, if the balance or the floor covers it.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let spent = self
            .balance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |balance| balance.checked_sub(RETRY));
        spent.is_ok()
            || self.floor.as_ref().is_some_and(|floor| unpoisoned(floor.lock()).spend(1, now).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_add_a_fifth_to_the_traffic_and_a_floor() {
        let now = Instant::now();
        let budget = Budget::new(0.2, 10, now);
        (0..200).for_each(|_| budget.deposit());
        let afforded = (0..1_000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(afforded, 40 + 10);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..1_000).filter(|_| budget.withdraw(later)).count(), 10);
    }

    #[test]
    fn the_balance_is_capped_at_a_hundred_retries() {
        let now = Instant::now();
        let budget = Budget::new(0.2, 0, now);
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!((0..10_000).filter(|_| budget.withdraw(now)).count(), 100);
    }
}
