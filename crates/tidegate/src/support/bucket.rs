//! A token bucket for calls of any cost: the generic cell rate algorithm (ITU-T I.371, "GCRA").

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A rate of `count` tokens per `period`, with a bucket capacity of `burst` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    count: u64,
    /// In nanoseconds.
    period: u64,
    burst: u64,
}

/// A token bucket with the refill rate of a [`Rate`].
///
/// The bucket stores its debt (capacity minus tokens) at an instant; the debt decreases with time. There is
/// no background task, so an unused bucket costs nothing. The debt is an integer in units of which one token
/// is `period` and one nanosecond refills `count`. Nothing is lost or gained by rounding, whether the rate is
/// one token a day or ten thousand million a second.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    at: Instant,
    debt: u128,
    minima: DebtMinima,
}

/// The minima of the debt over time, from which the amount that has refilled since a given instant is known.
///
/// The minima are in ascending order of time and debt; an earlier minimum above a later one has no effect and
/// is removed. A minimum only limits refunds of calls that cost more than the debt at that instant. If there
/// are too many minima, the two highest are merged into one; a call that costs more than that may get a
/// smaller refund.
#[derive(Clone, Debug)]
struct DebtMinima {
    minima: [(Instant, u128); MAX_MINIMA],
    count: usize,
}

const MAX_MINIMA: usize = 6;

impl Rate {
    /// Creates a rate. Periods above a century are clamped to a century, so that no product overflows.
    pub(crate) fn new(count: NonZeroU64, period: Duration, burst: NonZeroU64) -> Self {
        const CENTURY: u128 = 100 * 365 * 24 * 60 * 60 * 1_000_000_000;
        let period = u64::try_from(period.as_nanos().min(CENTURY)).unwrap_or(u64::MAX);
        Self { count: count.get(), period, burst: burst.get() }
    }

    fn debt_for(&self, cost: u64) -> u128 {
        u128::from(cost) * u128::from(self.period)
    }

    fn refilled_in(&self, time: Duration) -> u128 {
        time.as_nanos().saturating_mul(u128::from(self.count))
    }

    /// The time in which `debt` is refilled, rounded up: a nanosecond too late is within the quota, a
    /// nanosecond too early is not.
    fn time_to_refill(&self, debt: u128) -> Duration {
        let nanos = debt.div_ceil(u128::from(self.count));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, at: now, debt: 0, minima: DebtMinima { minima: [(now, 0); MAX_MINIMA], count: 0 } }
    }

    /// Spends `cost`, or returns the time until it can be spent.
    pub(crate) fn spend(&mut self, cost: u64, now: Instant) -> Result<(), Duration> {
        if cost == 0 {
            return Ok(());
        }
        let debt = self.debt(now);
        match self.wait_from(debt, cost) {
            Duration::ZERO => {
                self.take_from(debt, cost, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// The time until a call of `cost` fits, after queued calls of a total cost of `ahead`.
    ///
    /// A call that costs more than the capacity is admitted when the bucket is full, and later calls wait for
    /// the excess. Otherwise it would never be admitted.
    pub(crate) fn wait(&self, ahead: u64, cost: u64, now: Instant) -> Duration {
        if cost == 0 && ahead == 0 {
            return Duration::ZERO;
        }
        self.wait_from(self.debt(now).saturating_add(self.rate.debt_for(ahead)), cost)
    }

    /// The time until a call of `cost` fits a bucket with this debt.
    #[inline]
    fn wait_from(&self, debt: u128, cost: u64) -> Duration {
        let room = self.rate.debt_for(self.rate.burst.saturating_sub(cost));
        if debt <= room { Duration::ZERO } else { self.rate.time_to_refill(debt - room) }
    }

    /// Spends `cost` unconditionally. Missing tokens become debt beyond the capacity, for which later calls
    /// wait.
    pub(crate) fn take(&mut self, cost: u64, now: Instant) {
        self.take_from(self.debt(now), cost, now);
    }

    #[inline]
    fn take_from(&mut self, debt: u128, cost: u64, now: Instant) {
        self.minima.record(debt, now);
        self.set_debt(debt.saturating_add(self.rate.debt_for(cost)), now);
    }

    /// Refunds `cost` that was spent at `spent` and not used, less the part that has refilled since then,
    /// which would otherwise be counted twice.
    ///
    /// Without that spending, the bucket would have been full at every instant at which the debt was below
    /// `cost`. The refund is therefore limited to the minimum of the debt since `spent`.
    pub(crate) fn refund(&mut self, cost: u64, spent: Instant, now: Instant) {
        let debt = self.debt(now);
        let min_debt = self.minima.min_since(spent).map_or(debt, |min_debt| min_debt.min(debt));
        let refund = self.rate.debt_for(cost).min(min_debt);
        self.set_debt(debt - refund, now);
        self.minima.reduce_since(spent, refund);
    }

    /// Drains the bucket so that it holds exactly `left` at `then`, unless it would hold less anyway.
    pub(crate) fn drain_until(&mut self, left: u64, then: Instant, now: Instant) {
        let spent = self.rate.debt_for(self.rate.burst.saturating_sub(left));
        let debt = spent.saturating_add(self.rate.refilled_in(then.saturating_duration_since(now)));
        if debt > self.debt(now) {
            self.set_debt(debt, now);
            self.forget_before(now);
        }
    }

    /// Fills the bucket so that it holds `left` at least.
    pub(crate) fn fill_to(&mut self, left: u64, now: Instant) {
        let debt = self.rate.debt_for(self.rate.burst.saturating_sub(left));
        self.set_debt(self.debt(now).min(debt), now);
    }

    /// Sets the state from an external report: at `then` a full bucket less `spent`. Earlier spendings are
    /// part of the report and are not refunded.
    pub(crate) fn set_spent(&mut self, spent: u64, then: Instant) {
        (self.at, self.debt) = (then, self.rate.debt_for(spent));
        self.forget_before(then);
    }

    /// The number of tokens in the bucket.
    pub(crate) fn remaining(&self, now: Instant) -> u64 {
        let free = self.rate.debt_for(self.rate.burst).saturating_sub(self.debt(now));
        match self.rate.period {
            0 => self.rate.burst,
            period => u64::try_from(free / u128::from(period)).unwrap_or(u64::MAX),
        }
    }

    /// The time in which `cost` is refilled.
    pub(crate) fn time_to_refill(&self, cost: u64) -> Duration {
        self.rate.time_to_refill(self.rate.debt_for(cost))
    }

    /// The number of tokens that are refilled in `time`.
    pub(crate) fn refilled_in(&self, time: Duration) -> u64 {
        let refilled = self.rate.refilled_in(time).checked_div(u128::from(self.rate.period));
        refilled.map_or(u64::MAX, |tokens| u64::try_from(tokens).unwrap_or(u64::MAX))
    }

    /// The part of a full bucket that is left, from 0 to 1.
    pub(crate) fn part_left(&self, now: Instant) -> f32 {
        let full = self.rate.debt_for(self.rate.burst);
        let spent = self.debt(now).min(full) as f64 / (full as f64).max(1.0);
        (1.0 - spent) as f32
    }

    /// The number of tokens in a full bucket.
    pub(crate) const fn capacity(&self) -> u64 {
        self.rate.burst
    }

    /// Whether the bucket is full.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.debt(now) == 0
    }

    /// Excludes everything that was spent before `then` from refunds.
    fn forget_before(&mut self, then: Instant) {
        (self.minima.minima[0], self.minima.count) = ((then, 0), 1);
    }

    /// The debt at `now`. A `now` before the last update, read by a concurrent call, is treated as the last
    /// update.
    pub(crate) fn debt(&self, now: Instant) -> u128 {
        self.debt.saturating_sub(self.rate.refilled_in(now.saturating_duration_since(self.at)))
    }

    fn set_debt(&mut self, debt: u128, now: Instant) {
        (self.at, self.debt) = (self.at.max(now), debt);
    }
}

impl DebtMinima {
    fn record(&mut self, debt: u128, now: Instant) {
        while self.count > 0 && self.minima[self.count - 1].1 >= debt {
            self.count -= 1;
        }
        if self.count == MAX_MINIMA {
            self.merge_last_two();
        }
        self.minima[self.count] = (now, debt);
        self.count += 1;
    }

    /// Merges the two last minima: the last one is treated as if it were as low as the one before it.
    fn merge_last_two(&mut self) {
        self.minima[MAX_MINIMA - 2].0 = self.minima[MAX_MINIMA - 1].0;
        self.count -= 1;
    }

    /// Lowers all minima since `moment` by `by`, as if the refunded amount had not been spent.
    fn reduce_since(&mut self, moment: Instant, by: u128) {
        let later =
            self.minima[..self.count].iter().position(|minimum| minimum.0 > moment).unwrap_or(self.count);
        for minimum in &mut self.minima[later..self.count] {
            minimum.1 -= by.min(minimum.1);
        }
        // An earlier minimum that is not below a later one has no effect any more.
        if later < self.count {
            let keep =
                self.minima[..later].iter().take_while(|minimum| minimum.1 < self.minima[later].1).count();
            self.minima.copy_within(later..self.count, keep);
            self.count -= later - keep;
        }
    }

    /// The minimum of the debt after `moment`, exclusive.
    fn min_since(&self, moment: Instant) -> Option<u128> {
        self.minima[..self.count].iter().find(|minimum| minimum.0 > moment).map(|minimum| minimum.1)
    }
}

#[cfg(test)]
mod tests;
