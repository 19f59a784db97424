//! What there is room for, as plain data.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::heard::Heard;
use super::quota::{Cost, MINUTE, Quota};
use super::ramp::Ramp;
use crate::LimitUnit;
use crate::bucket::Bucket;

/// All quotas of one gate, and the moment until which the provider closed it.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// As configured, finest first.
    own: Vec<Counter>,
    /// Where requests have a quota fine enough to set the pace after the gate was closed: which one.
    pace: Option<usize>,
    pub(super) heard: Heard,
    closed_until: Option<Instant>,
    ramp: Option<Ramp>,
    /// All that was ever spent.
    spent: Cost,
}

/// A quota, and how much of it is spent.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) quota: Quota,
    pub(super) bucket: Bucket,
}

/// What a call took from the limits, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) cost: Cost,
    pub(super) at: Instant,
    /// All that had ever been spent by then, this call included: how much came later can be told by it.
    pub(super) so_far: Cost,
}

/// There is no room yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortfall {
    pub(super) wait: Duration,
    /// The quota that lacks it longest; none if the provider closed the gate.
    pub(super) quota: Option<&'static str>,
}

/// A quota of a longer period says how much there is, not how fast it may come: a pause of a second must not
/// cost the rest of the day.
const LONGEST_PACE: Duration = MINUTE;

impl Counter {
    pub(super) fn new(quota: Quota, burst: Option<NonZeroU64>, now: Instant) -> Self {
        Self { quota, bucket: Bucket::new(quota.rate(burst), now) }
    }

    fn currency(&self) -> LimitUnit {
        self.quota.currency
    }
}

impl Limits {
    /// `quotas` come finest first; `burst` is for the finest of requests.
    pub(super) fn new(quotas: &[Quota], burst: Option<NonZeroU64>, now: Instant) -> Self {
        let finest = quotas.iter().position(|quota| quota.currency == LimitUnit::Requests);
        let burst_of = |at| burst.filter(|_| Some(at) == finest);
        let counter = |(at, quota): (usize, &Quota)| Counter::new(*quota, burst_of(at), now);
        Self {
            own: quotas.iter().enumerate().map(counter).collect(),
            pace: finest.filter(|&at| quotas[at].period <= LONGEST_PACE),
            heard: Heard::default(),
            closed_until: None,
            ramp: None,
            spent: Cost::default(),
        }
    }

    /// Spends `cost` of every quota, or of none and says how long until all have room. `behind` calls wait for the
    /// next turn.
    pub(super) fn spend(&mut self, cost: &Cost, behind: usize, now: Instant) -> Result<Spent, Shortfall> {
        let lack = self.lack(&Cost::default(), cost, now);
        if !lack.wait.is_zero() {
            return Err(lack);
        }
        self.closed_until = None;
        self.ramp = self.ramp.and_then(|ramp| ramp.step(behind, now));
        for counter in self.own.iter_mut().chain(self.heard.counters_mut()) {
            counter.bucket.take(cost.of(counter.quota.currency), now);
        }
        self.spent.add(cost);
        Ok(Spent { cost: *cost, at: now, so_far: self.spent })
    }

    /// How long until there is room for a call of `cost` with others before it that take `ahead`; and for lack of
    /// what, if the wait is not zero.
    pub(super) fn lack(&self, ahead: &Cost, cost: &Cost, now: Instant) -> Shortfall {
        let closed = self.closed_for(now).unwrap_or_default();
        let opens = self.ramp.map_or(closed, |ramp| closed.max(ramp.wait(now)));
        let mut lack = Shortfall { wait: opens, quota: None };
        for counter in self.own.iter().chain(self.heard.counters()) {
            let currency = counter.currency();
            let wait = counter.bucket.wait(ahead.of(currency), cost.of(currency), now);
            if wait > lack.wait {
                lack = Shortfall { wait, quota: Some(counter.quota.name()) };
            }
        }
        lack
    }

    /// Sets right what a call had reserved. What it did not use goes back to the quotas that are ours; how the
    /// provider deals with it is told by the provider. What it used beyond is owed to both.
    pub(super) fn settle(&mut self, reserved: &Spent, used: &Cost, now: Instant) {
        for (counter, is_own) in self
            .own
            .iter_mut()
            .map(|own| (own, true))
            .chain(self.heard.counters_mut().map(|heard| (heard, false)))
        {
            let currency = counter.quota.currency;
            let (before, after) = (reserved.cost.of(currency), used.of(currency));
            if after > before {
                counter.bucket.take(after - before, now);
            } else if is_own {
                counter.bucket.give_back(before - after, reserved.at, now);
            }
        }
    }

    /// Gives back what a call had reserved that never reached the wire.
    pub(super) fn refund(&mut self, reserved: &Spent, now: Instant) {
        for counter in self.own.iter_mut().chain(self.heard.counters_mut()) {
            counter.bucket.give_back(reserved.cost.of(counter.quota.currency), reserved.at, now);
        }
    }

    /// Lets nobody through before `until`, of several such moments the latest; and then one after the other, as
    /// `ramp` says. The finest quota of requests opens with one and refills from there.
    pub(super) fn close(&mut self, until: Instant, ramp: Ramp, now: Instant) {
        if self.closed_until.is_some_and(|closed| closed >= until) {
            return;
        }
        self.closed_until = Some(until);
        self.ramp = Some(ramp);
        if let Some(pace) = self.pace {
            self.own[pace].bucket.drain_until(1, until, now);
        }
    }

    /// How much longer the provider wants to be left alone.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        self.closed_until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// How much could be spent now by `is_meant`; `None` if no quota says.
    pub(super) fn remaining(&self, is_meant: impl Fn(LimitUnit) -> bool, now: Instant) -> Option<u64> {
        let counters = self.own.iter().chain(self.heard.counters());
        let least = counters
            .filter(|counter| is_meant(counter.currency()))
            .map(|counter| counter.bucket.remaining(now))
            .min();
        match self.closed_for(now) {
            Some(_) => Some(0),
            None => least,
        }
    }

    /// Whether any quota counts tokens.
    pub(super) fn count_tokens(&self) -> bool {
        self.own.iter().chain(self.heard.counters()).any(|counter| counter.currency().is_tokens())
    }

    /// Whether nothing is spent that has not refilled, and nothing was said that still holds.
    pub(super) fn are_as_new(&self, now: Instant) -> bool {
        // What was heard would have to be heard anew.
        self.heard.counters().next().is_none()
            && self.own.iter().all(|counter| counter.bucket.is_full(now))
            && self.closed_for(now).is_none()
            && self.ramp.is_none_or(|ramp| ramp.wait(now).is_zero())
    }

    /// The configured quota of `currency` with the shortest period.
    pub(super) fn finest(&self, currency: LimitUnit) -> Option<Quota> {
        self.own.iter().map(|own| own.quota).find(|quota| quota.currency == currency)
    }

    /// Whether a quota of this currency and period was configured.
    pub(super) fn is_own(&self, currency: LimitUnit, period: Duration) -> bool {
        self.own.iter().any(|own| own.quota.currency == currency && own.quota.period == period)
    }

    /// Forgets what is spent and what was said, but not how many calls there were: those under way are told from
    /// later ones by it.
    pub(super) fn forget(&mut self, fresh: Self) {
        *self = Self { spent: self.spent, ..fresh };
    }

    /// All that was ever spent.
    pub(super) fn spent(&self) -> Cost {
        self.spent
    }
}
