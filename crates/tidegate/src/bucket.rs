//! A token bucket: the generic cell rate algorithm (ITU-T I.371, "GCRA"), for calls of any cost.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// `count` in every `period`, of which `burst` may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    count: u64,
    /// In nanoseconds.
    period: u64,
    burst: u64,
}

/// How much of a [`Rate`] is spent.
///
/// Holds what is owed at a moment; it is paid off as time goes by. Nothing runs in the background: a bucket that
/// nobody asks costs nothing. What is owed is counted in units of which one call of cost one owes `period` and one
/// nanosecond pays `count`: whole numbers all the way, so that nothing is lost or gained by rounding, be it a token a
/// day or ten thousand million a second.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    at: Instant,
    debt: u128,
    minima: DebtMinima,
}

/// How little was owed, and when: what refilled since a spending is known by it.
///
/// Later lows are higher ones, or the earlier ones would be of no interest. A low matters to calls that cost more than
/// was owed then; so of more than a few the two highest are taken as one, to the disadvantage of whoever costs more
/// than that.
#[derive(Clone, Debug)]
struct DebtMinima {
    minima: [(Instant, u128); MAX_MINIMA],
    count: usize,
}

const MAX_MINIMA: usize = 6;

impl Rate {
    /// Periods above a century are taken as one, so that no product overflows.
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

    /// Rounded up: a nanosecond too slow is within the quota, a nanosecond too fast is not.
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

    /// Spends `cost`, or says how long until it can.
    #[cfg_attr(not(feature = "retry"), allow(dead_code, reason = "limits look at all their buckets first"))]
    pub(crate) fn spend(&mut self, cost: u64, now: Instant) -> Result<(), Duration> {
        match self.wait(0, cost, now) {
            Duration::ZERO => {
                self.take(cost, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long until there is room for a call of `cost`, with others before it that cost `ahead`.
    ///
    /// What costs more than the bucket holds passes when it is full, and those who come after pay for it: refused until
    /// there is room, it would be refused for ever.
    pub(crate) fn wait(&self, ahead: u64, cost: u64, now: Instant) -> Duration {
        if cost == 0 && ahead == 0 {
            return Duration::ZERO;
        }
        let due = self.debt(now).saturating_add(self.rate.debt_for(ahead));
        let room = self.rate.debt_for(self.rate.burst.saturating_sub(cost));
        if due <= room { Duration::ZERO } else { self.rate.time_to_refill(due - room) }
    }

    /// Spends `cost`, whether there is room or not: what is missing is owed, and waited for by those who come after.
    pub(crate) fn take(&mut self, cost: u64, now: Instant) {
        let debt = self.debt(now);
        self.minima.record(debt, now);
        self.set_debt(debt.saturating_add(self.rate.debt_for(cost)), now);
    }

    /// Gives back `cost` that was spent at `spent` and not used. As much as had not refilled since then: the rest
    /// would be there twice.
    ///
    /// Had it not been spent, the bucket would have been full whenever less than this was owed; so the least that has
    /// been owed since is all there is to give back.
    pub(crate) fn refund(&mut self, cost: u64, spent: Instant, now: Instant) {
        let debt = self.debt(now);
        let min_debt = self.minima.min_since(spent).map_or(debt, |min_debt| min_debt.min(debt));
        let refund = self.rate.debt_for(cost).min(min_debt);
        self.set_debt(debt - refund, now);
        self.minima.reduce_since(spent, refund);
    }

    /// Empties the bucket so that it holds exactly `left` at `then`, unless it would hold less anyway.
    pub(crate) fn drain_until(&mut self, left: u64, then: Instant, now: Instant) {
        let spent = self.rate.debt_for(self.rate.burst.saturating_sub(left));
        let debt = spent.saturating_add(self.rate.refilled_in(then.saturating_duration_since(now)));
        if debt > self.debt(now) {
            self.set_debt(debt, now);
            self.forget_before(now);
        }
    }

    /// Takes somebody's word for it: at `then` so much was spent of a full bucket, and all since then is part of it.
    pub(crate) fn set_spent(&mut self, spent: u64, then: Instant) {
        (self.at, self.debt) = (then, self.rate.debt_for(spent));
        self.forget_before(then);
    }

    /// How much is left.
    pub(crate) fn remaining(&self, now: Instant) -> u64 {
        let free = self.rate.debt_for(self.rate.burst).saturating_sub(self.debt(now));
        match self.rate.period {
            0 => self.rate.burst,
            period => u64::try_from(free / u128::from(period)).unwrap_or(u64::MAX),
        }
    }

    /// Whether nothing is missing.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.debt(now) == 0
    }

    /// What was spent before `then` is part of what is owed now, and nothing of it can be given back.
    fn forget_before(&mut self, then: Instant) {
        (self.minima.minima[0], self.minima.count) = ((then, 0), 1);
    }

    /// The moment of a call may have been read before that of another who was faster: time does not go back.
    fn debt(&self, now: Instant) -> u128 {
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

    /// The last is taken to have been as low as the one before.
    fn merge_last_two(&mut self) {
        self.minima[MAX_MINIMA - 2].0 = self.minima[MAX_MINIMA - 1].0;
        self.count -= 1;
    }

    /// What was spent at `moment` had not been: so much less was owed ever since.
    fn reduce_since(&mut self, moment: Instant, by: u128) {
        let later =
            self.minima[..self.count].iter().position(|min_debt| min_debt.0 > moment).unwrap_or(self.count);
        for min_debt in &mut self.minima[later..self.count] {
            min_debt.1 -= by.min(min_debt.1);
        }
        // A low that is no lower than a later one is of no interest any more.
        if later < self.count {
            let keep =
                self.minima[..later].iter().take_while(|min_debt| min_debt.1 < self.minima[later].1).count();
            self.minima.copy_within(later..self.count, keep);
            self.count -= later - keep;
        }
    }

    /// The least since `moment`, that moment itself not counted.
    fn min_since(&self, moment: Instant) -> Option<u128> {
        self.minima[..self.count].iter().find(|min_debt| min_debt.0 > moment).map(|min_debt| min_debt.1)
    }
}

#[cfg(test)]
mod tests;
