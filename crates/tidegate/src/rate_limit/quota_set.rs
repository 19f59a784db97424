//! What there is room for, as plain data.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::reported_quotas::ReportedQuotas;
use super::quota::{CallCost, MINUTE, Quota};
use super::reopen_ramp::ReopenRamp;
use crate::LimitUnit;
use crate::bucket::Bucket;

/// All quotas of one gate, and the moment until which the provider closed it.
#[derive(Clone, Debug)]
pub(super) struct QuotaSet {
    /// As configured, finest first.
    configured: Vec<Counter>,
    /// Where requests have a quota fine enough to set the pace after the gate was closed: which one.
    pacing_quota: Option<usize>,
    pub(super) reported: ReportedQuotas,
    closed_until: Option<Instant>,
    ramp: Option<ReopenRamp>,
    /// All that was ever spent.
    total_spent: CallCost,
}

/// A quota, and how much of it is spent.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) quota: Quota,
    pub(super) bucket: Bucket,
}

/// What a call took from the limits, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    pub(super) cost: CallCost,
    pub(super) at: Instant,
    /// All that had ever been spent by then, this call included: how much came later can be told by it.
    pub(super) total_spent: CallCost,
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
const MAX_PACING_PERIOD: Duration = MINUTE;

impl Counter {
    pub(super) fn new(quota: Quota, burst: Option<NonZeroU64>, now: Instant) -> Self {
        Self { quota, bucket: Bucket::new(quota.rate(burst), now) }
    }

    fn unit(&self) -> LimitUnit {
        self.quota.unit
    }
}

impl QuotaSet {
    /// `quotas` come finest first; `burst` is for the finest of requests.
    pub(super) fn new(quotas: &[Quota], burst: Option<NonZeroU64>, now: Instant) -> Self {
        let finest = quotas.iter().position(|quota| quota.unit == LimitUnit::Requests);
        let burst_of = |at| burst.filter(|_| Some(at) == finest);
        let counter = |(at, quota): (usize, &Quota)| Counter::new(*quota, burst_of(at), now);
        Self {
            configured: quotas.iter().enumerate().map(counter).collect(),
            pacing_quota: finest.filter(|&at| quotas[at].period <= MAX_PACING_PERIOD),
            reported: ReportedQuotas::default(),
            closed_until: None,
            ramp: None,
            total_spent: CallCost::default(),
        }
    }

    /// Spends `cost` of every quota, or of none and says how long until all have room. `behind` calls wait for the
    /// next turn.
    pub(super) fn try_reserve(&mut self, cost: &CallCost, behind: usize, now: Instant) -> Result<Reserved, Shortfall> {
        let shortfall = self.shortfall(&CallCost::default(), cost, now);
        if !shortfall.wait.is_zero() {
            return Err(shortfall);
        }
        self.closed_until = None;
        self.ramp = self.ramp.and_then(|ramp| ramp.step(behind, now));
        for counter in self.configured.iter_mut().chain(self.reported.counters_mut()) {
            counter.bucket.take(cost.of(counter.quota.unit), now);
        }
        self.total_spent.add(cost);
        Ok(Reserved { cost: *cost, at: now, total_spent: self.total_spent })
    }

    /// How long until there is room for a call of `cost` with others before it that take `ahead`; and for lack of
    /// what, if the wait is not zero.
    pub(super) fn shortfall(&self, ahead: &CallCost, cost: &CallCost, now: Instant) -> Shortfall {
        let closed = self.closed_for(now).unwrap_or_default();
        let opens = self.ramp.map_or(closed, |ramp| closed.max(ramp.wait(now)));
        let mut shortfall = Shortfall { wait: opens, quota: None };
        for counter in self.configured.iter().chain(self.reported.counters()) {
            let unit = counter.unit();
            let wait = counter.bucket.wait(ahead.of(unit), cost.of(unit), now);
            if wait > shortfall.wait {
                shortfall = Shortfall { wait, quota: Some(counter.quota.name()) };
            }
        }
        shortfall
    }

    /// Sets right what a call had reserved. What it did not use goes back to the quotas that are ours; how the
    /// provider deals with it is told by the provider. What it used beyond is owed to both.
    pub(super) fn settle(&mut self, reserved: &Reserved, used: &CallCost, now: Instant) {
        for (counter, is_configured) in self
            .configured
            .iter_mut()
            .map(|configured| (configured, true))
            .chain(self.reported.counters_mut().map(|reported| (reported, false)))
        {
            let unit = counter.quota.unit;
            let (before, after) = (reserved.cost.of(unit), used.of(unit));
            if after > before {
                counter.bucket.take(after - before, now);
            } else if is_configured {
                counter.bucket.give_back(before - after, reserved.at, now);
            }
        }
    }

    /// Gives back what a call had reserved that never reached the wire.
    pub(super) fn refund(&mut self, reserved: &Reserved, now: Instant) {
        for counter in self.configured.iter_mut().chain(self.reported.counters_mut()) {
            counter.bucket.give_back(reserved.cost.of(counter.quota.unit), reserved.at, now);
        }
    }

    /// Lets nobody through before `until`, of several such moments the latest; and then one after the other, as
    /// `ramp` says. The finest quota of requests opens with one and refills from there.
    pub(super) fn close(&mut self, until: Instant, ramp: ReopenRamp, now: Instant) {
        if self.closed_until.is_some_and(|closed| closed >= until) {
            return;
        }
        self.closed_until = Some(until);
        self.ramp = Some(ramp);
        if let Some(pacing_quota) = self.pacing_quota {
            self.configured[pacing_quota].bucket.drain_until(1, until, now);
        }
    }

    /// How much longer the provider wants to be left alone.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        self.closed_until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// How much could be spent now by `counts`; `None` if no quota says.
    pub(super) fn remaining(&self, counts: impl Fn(LimitUnit) -> bool, now: Instant) -> Option<u64> {
        let counters = self.configured.iter().chain(self.reported.counters());
        let least = counters
            .filter(|counter| counts(counter.unit()))
            .map(|counter| counter.bucket.remaining(now))
            .min();
        match self.closed_for(now) {
            Some(_) => Some(0),
            None => least,
        }
    }

    /// Whether any quota counts tokens.
    pub(super) fn has_token_quota(&self) -> bool {
        self.configured.iter().chain(self.reported.counters()).any(|counter| counter.unit().is_tokens())
    }

    /// Whether nothing is spent that has not refilled, and nothing was said that still holds.
    pub(super) fn is_as_new(&self, now: Instant) -> bool {
        // What was heard would have to be heard anew.
        self.reported.counters().next().is_none()
            && self.configured.iter().all(|counter| counter.bucket.is_full(now))
            && self.closed_for(now).is_none()
            && self.ramp.is_none_or(|ramp| ramp.wait(now).is_zero())
    }

    /// The configured quota of `unit` with the shortest period.
    pub(super) fn finest(&self, unit: LimitUnit) -> Option<Quota> {
        self.configured.iter().map(|configured| configured.quota).find(|quota| quota.unit == unit)
    }

    /// Whether a quota of this currency and period was configured.
    pub(super) fn is_configured(&self, unit: LimitUnit, period: Duration) -> bool {
        self.configured.iter().any(|configured| configured.quota.unit == unit && configured.quota.period == period)
    }

    /// Forgets what is spent and what was said, but not how many calls there were: those under way are told from
    /// later ones by it.
    pub(super) fn reset(&mut self, fresh: Self) {
        *self = Self { total_spent: self.total_spent, ..fresh };
    }

    /// All that was ever spent.
    pub(super) fn total_spent(&self) -> CallCost {
        self.total_spent
    }
}
