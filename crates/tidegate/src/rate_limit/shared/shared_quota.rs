use std::time::{Duration, Instant};

use crate::bucket::Rate;
use crate::rate_limit::quota::QuotaCounter;
use crate::{LimitUnit, store};

/// A quota that is shared, as this process has seen it last.
#[derive(Clone, Debug)]
pub(super) struct SharedQuota {
    pub(super) unit: LimitUnit,
    pub(super) name: &'static str,
    count: u64,
    period: Duration,
    /// The capacity of the bucket in the store.
    pub(super) burst: u64,
    /// The capacity without the part that is held back for the leases.
    whole_burst: u64,
    /// The time in which the bucket was going to be full at `seen`.
    debt: Duration,
    seen: Instant,
    /// What is to be returned, and when the oldest part of it was taken.
    returned: u64,
    returned_since: Option<Instant>,
    /// What was spent beyond the leases.
    pub(super) charged: u64,
    /// What was spent of the local share since the store became unavailable.
    pub(super) spent_alone: u64,
}

impl SharedQuota {
    pub(super) fn new(counter: &QuotaCounter, now: Instant) -> Self {
        let (quota, burst) = (counter.quota, counter.bucket.capacity());
        Self {
            unit: quota.unit,
            name: quota.name(),
            count: quota.amount.get(),
            period: quota.period,
            burst,
            whole_burst: burst,
            debt: Duration::ZERO,
            seen: now,
            returned: 0,
            returned_since: None,
            charged: 0,
            spent_alone: 0,
        }
    }

    /// The time in which half of the bucket refills.
    pub(super) fn half_refill(&self) -> Duration {
        self.time_for(self.burst) / 2
    }

    /// Holds back what refills within `time`, so that what is spent at the end of a lease, or with a late
    /// reply, is within the quota.
    pub(super) fn hold_back(&mut self, time: Duration) {
        let refilled = self.refilled_in(time).min(self.whole_burst / 2);
        self.burst = (self.whole_burst - refilled).max(1);
    }

    /// The time in which `amount` refills.
    pub(super) fn time_for(&self, amount: u64) -> Duration {
        let nanos = u128::from(amount).saturating_mul(self.period.as_nanos()) / u128::from(self.count);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The amount that refills in `time`.
    pub(super) fn refilled_in(&self, time: Duration) -> u64 {
        let amount = time.as_nanos().saturating_mul(u128::from(self.count)) / self.period.as_nanos().max(1);
        u64::try_from(amount).unwrap_or(u64::MAX)
    }

    /// What the bucket in the store holds, as far as this process knows.
    pub(super) fn room(&self, now: Instant) -> u64 {
        self.burst.saturating_sub(self.refilled_in(self.debt_at(now)))
    }

    /// Whether nothing is spent, as far as this process knows.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.debt_at(now).is_zero()
    }

    pub(super) fn capacity(&self) -> u64 {
        self.whole_burst
    }

    fn debt_at(&self, now: Instant) -> Duration {
        self.debt.saturating_sub(now.saturating_duration_since(self.seen))
    }

    /// Records the debt of all processes, as it was at `now`.
    pub(super) fn record_debt(&mut self, debt: Duration, now: Instant) {
        (self.debt, self.seen) = (debt, now);
    }

    /// The bucket holds one unit at least.
    pub(super) fn fill_to_one(&mut self, now: Instant) {
        let debt = self.debt_at(now).min(self.time_for(self.burst.saturating_sub(1)));
        self.record_debt(debt, now);
    }

    /// Notes that `amount`, which was taken at `taken`, is not used.
    pub(super) fn give_back(&mut self, amount: u64, taken: Instant) {
        if amount > 0 {
            self.returned = self.returned.saturating_add(amount);
            self.returned_since = Some(self.returned_since.map_or(taken, |since| since.min(taken)));
        }
    }

    /// Since when there is something to report.
    pub(super) fn unreported_since(&self) -> Option<Instant> {
        self.returned_since.or_else(|| (self.charged > 0 || self.spent_alone > 0).then_some(self.seen))
    }

    /// A request for nothing, which reports nothing: it may be read long after it was sent, and more than
    /// once.
    pub(super) fn empty_request(&self, now: Instant) -> store::QuotaRequest {
        store::QuotaRequest {
            unit: self.unit,
            count: self.count,
            period: self.period,
            burst: self.burst,
            amount: 0,
            returned: 0,
            returned_age: Duration::ZERO,
            charged: 0,
            spent_alone: 0,
            spent_alone_debt: 0,
            known_debt: self.debt_at(now),
        }
    }

    /// The request for `amount`, with what is to be reported. What is returned is reported once, whether the
    /// request arrives or not: twice would be more than was taken.
    pub(super) fn request(&mut self, amount: u64, local_debt: u64, now: Instant) -> store::QuotaRequest {
        let age =
            self.returned_since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        store::QuotaRequest {
            amount,
            returned: std::mem::take(&mut self.returned),
            returned_age: age,
            charged: self.charged,
            spent_alone: self.spent_alone,
            spent_alone_debt: local_debt.min(self.spent_alone),
            ..self.empty_request(now)
        }
    }

    /// The bucket of one of `processes` processes, each with its share of the quota: the rate, and the
    /// capacity.
    pub(super) fn share(&self, processes: u32) -> (Rate, u64) {
        let parts = u64::from(processes.max(1));
        let burst = (self.whole_burst / parts).max(1);
        let rate = Rate::new(
            self.count.try_into().unwrap_or(std::num::NonZeroU64::MIN),
            self.period.saturating_mul(processes.max(1)),
            burst.try_into().unwrap_or(std::num::NonZeroU64::MIN),
        );
        (rate, burst)
    }

    /// What one of `processes` processes has spent of its share, as far as this process knows.
    pub(super) fn spent_share(&self, processes: u32, now: Instant) -> u64 {
        let held_back = self.whole_burst - self.burst;
        self.refilled_in(self.debt_at(now)).saturating_add(held_back) / u64::from(processes.max(1))
    }
}
