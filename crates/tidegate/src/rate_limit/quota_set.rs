//! The quotas of a gate as plain data: a cost and a `now` in, a reservation or a wait out.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::cost::{CallCost, Reserved};
use super::quota::{MINUTE, Quota};
use super::quota_counter::QuotaCounter;
use super::reopen_ramp::ReopenRamp;
use super::reported_quotas::ReportedQuotas;
use crate::LimitUnit;

/// All quotas of one gate, and the time until which the provider closed it.
#[derive(Clone, Debug)]
pub(super) struct QuotaSet {
    /// The configured quotas, shortest period first.
    configured: Vec<QuotaCounter>,
    /// The index of the request quota that paces calls after the gate was closed, if one has a short enough
    /// period.
    pacing_quota: Option<usize>,
    pub(super) reported: ReportedQuotas,
    closed_until: Option<Instant>,
    ramp: Option<ReopenRamp>,
    /// The total cost reserved since the start.
    total_spent: CallCost,
}

/// The room that a call lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortfall {
    pub(super) wait: Duration,
    /// The quota with the longest wait; `None` if the provider closed the gate.
    pub(super) quota: Option<&'static str>,
}

/// A quota with a longer period limits the amount and not the pace: a pause of a second must not cost the
/// rest of the day.
const MAX_PACING_PERIOD: Duration = MINUTE;

impl QuotaSet {
    /// Creates the set. `quotas` are ordered by period, shortest first. `burst` applies to the request quota
    /// with the shortest period.
    pub(super) fn new(quotas: &[Quota], burst: Option<NonZeroU64>, now: Instant) -> Self {
        let finest = quotas.iter().position(|quota| quota.unit == LimitUnit::Requests);
        let burst_of = |at| burst.filter(|_| Some(at) == finest);
        let counter = |(at, quota): (usize, &Quota)| QuotaCounter::new(*quota, burst_of(at), now);
        Self {
            configured: quotas.iter().enumerate().map(counter).collect(),
            pacing_quota: finest.filter(|&at| quotas[at].period <= MAX_PACING_PERIOD),
            reported: ReportedQuotas::default(),
            closed_until: None,
            ramp: None,
            total_spent: CallCost::default(),
        }
    }

    /// Reserves `cost` from every quota, or from none and returns how long until all have room. `behind`
    /// calls wait behind this one.
    pub(super) fn try_reserve(
        &mut self,
        cost: &CallCost,
        behind: usize,
        now: Instant,
    ) -> Result<Reserved, Shortfall> {
        if let Some(counter) = self.only_counter() {
            let spent = counter.bucket.spend(cost.of(counter.quota.unit), now);
            spent.map_err(|wait| Shortfall { wait, quota: Some(counter.quota.name()) })?;
        } else {
            let shortfall = self.shortfall(&CallCost::default(), cost, now);
            if !shortfall.wait.is_zero() {
                return Err(shortfall);
            }
            self.closed_until = None;
            self.ramp = self.ramp.and_then(|ramp| ramp.step(behind, now));
            for counter in self.configured.iter_mut().chain(self.reported.counters_mut()) {
                counter.bucket.take(cost.of(counter.quota.unit), now);
            }
        }
        self.total_spent.add(cost);
        Ok(Reserved { cost: *cost, at: now, total_spent: self.total_spent })
    }

    /// The counter that alone decides, as it does in most sets most of the time.
    fn only_counter(&mut self) -> Option<&mut QuotaCounter> {
        let is_open = self.closed_until.is_none() && self.ramp.is_none() && self.reported.is_empty();
        match &mut *self.configured {
            [counter] if is_open => Some(counter),
            _ => None,
        }
    }

    /// Returns how long until there is room for a call of `cost` behind calls that cost `ahead`, and which
    /// quota lacks the room if the wait is not zero.
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

    /// Replaces what a call reserved by what it used. Unused cost is returned to the configured quotas only:
    /// the provider's next report shows how the provider counted it. Cost above the reservation is charged to
    /// both.
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
                counter.bucket.refund(before - after, reserved.at, now);
            }
        }
    }

    /// Returns the whole reservation of a call that never reached the wire.
    pub(super) fn refund(&mut self, reserved: &Reserved, now: Instant) {
        for counter in self.configured.iter_mut().chain(self.reported.counters_mut()) {
            counter.bucket.refund(reserved.cost.of(counter.quota.unit), reserved.at, now);
        }
    }

    /// Closes the gate until `until`, or until the current closing time if that is later. After that calls
    /// pass one by one, as `ramp` allows. The request quota with the shortest period then holds one request
    /// and refills from there.
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

    /// Returns how much longer the provider keeps the gate closed.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        self.closed_until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Returns the least amount that can be spent now of the units that `counts` accepts, or `None` if no
    /// quota counts such a unit.
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

    /// Returns the capacity of the quota with the least [remaining](Self::remaining).
    pub(super) fn capacity(&self, counts: impl Fn(LimitUnit) -> bool, now: Instant) -> Option<u64> {
        let counters = self.configured.iter().chain(self.reported.counters());
        let counted = counters.filter(|counter| counts(counter.unit()));
        let buckets = counted.map(|counter| (counter.bucket.remaining(now), counter.bucket.capacity()));
        buckets.min().map(|(_, capacity)| capacity)
    }

    /// Returns whether any quota counts tokens.
    pub(super) fn has_token_quota(&self) -> bool {
        self.configured.iter().chain(self.reported.counters()).any(|counter| counter.unit().is_tokens())
    }

    /// Returns whether the set equals a new one: every bucket is full and no report or closing time is in
    /// effect.
    pub(super) fn is_pristine(&self, now: Instant) -> bool {
        // Reported quotas would have to be reported again.
        self.reported.counters().next().is_none()
            && self.configured.iter().all(|counter| counter.bucket.is_full(now))
            && self.closed_for(now).is_none()
            && self.ramp.is_none_or(|ramp| ramp.wait(now).is_zero())
    }

    /// Returns the configured quota of `unit` with the shortest period.
    pub(super) fn finest(&self, unit: LimitUnit) -> Option<Quota> {
        self.configured.iter().map(|configured| configured.quota).find(|quota| quota.unit == unit)
    }

    /// Returns whether a quota of this unit and period is configured.
    pub(super) fn is_configured(&self, unit: LimitUnit, period: Duration) -> bool {
        self.configured
            .iter()
            .any(|configured| configured.quota.unit == unit && configured.quota.period == period)
    }

    /// Resets the quotas and drops the reports. `total_spent` stays: it distinguishes calls in flight from
    /// later ones.
    pub(super) fn reset(&mut self, fresh: Self) {
        *self = Self { total_spent: self.total_spent, ..fresh };
    }

    /// Returns the total cost reserved since the start.
    pub(super) fn total_spent(&self) -> CallCost {
        self.total_spent
    }
}
