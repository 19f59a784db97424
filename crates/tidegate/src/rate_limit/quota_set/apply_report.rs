//! The checks that a report of the provider has to pass, and its effect on the quotas.

use std::time::{Duration, Instant, SystemTime};

use super::QuotaSet;
use crate::rate_limit::cost::Reserved;
use crate::rate_limit::quota::Quota;
use crate::{LimitStatus, LimitUnit, ReportedLimits};

/// The effect of one report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReportEffect {
    /// Nothing is left of a limit for this long.
    pub(crate) closed_for: Option<Duration>,
    /// The number of reported limits that were ignored: stale, contradictory or implausible.
    pub(crate) ignored: u64,
}

impl QuotaSet {
    /// Whether any reported quota is kept.
    pub(crate) fn has_reported_quotas(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Drops the limits that successful responses no longer report.
    pub(crate) fn expire_unreported(&mut self, now: Instant) {
        self.reported.expire_unreported(now);
    }

    /// Applies what the response to the call `reserved` reports. `wall` is the local wall clock, used in
    /// place of the provider's.
    pub(crate) fn apply_report(
        &mut self,
        report: &ReportedLimits,
        reserved: &Reserved,
        adopt: bool,
        now: Instant,
        wall: SystemTime,
    ) -> ReportEffect {
        let mut effect = ReportEffect { ignored: u64::from(report.has_invalid), ..ReportEffect::default() };
        for (unit, status) in report.iter() {
            let latest_call = &mut self.reported.latest_call[unit as usize];
            // This report is older than one that was already applied.
            if status.is_implausible(wall) || reserved.total_spent.calls < *latest_call {
                effect.ignored += 1;
                continue;
            }
            *latest_call = reserved.total_spent.calls;
            self.reported.mark_reported(unit, status.limit);
            let quota = self.quota_for(unit, status, adopt);
            if let Some(quota) = quota {
                self.apply_remaining(quota, status, reserved, now);
            }
            if status.remaining == Some(0)
                && let Some(reset) = status.reset
            {
                let whole = reset.wait(wall);
                let wait = match quota {
                    // The counter keeps the rate.
                    Some(quota) if status.refills_evenly && refills_evenly(whole, quota) => continue,
                    // Without a counter, until there is room for another call.
                    None if status.refills_evenly && status.period_of_refill().is_some() => {
                        whole.mul_f64(part_for_a_call(unit, status.limit, reserved))
                    }
                    _ => whole,
                };
                effect.closed_for = effect.closed_for.max(Some(wait));
            }
        }
        effect
    }

    /// The quota that a reported status refers to.
    fn quota_for(&mut self, unit: LimitUnit, status: &LimitStatus, adopt: bool) -> Option<Quota> {
        let whole = status.limit.zip(status.period_of_refill());
        match whole {
            Some((limit, period)) => {
                let quota = Quota::new(unit, limit, period);
                let is_sure = status.period.is_some()
                    || self.is_configured(unit, period)
                    || self.reported.find(unit, Some(limit)).is_some_and(|known| known == quota)
                    || self.reported.is_confirmed(unit, limit, period);
                (is_sure && (adopt || self.is_configured(unit, period))).then_some(quota)
            }
            // The report does not identify the limit. Take a known one, else the configured one with the
            // shortest period, so that a mistake passes soonest.
            None => self.reported.find(unit, status.limit).or_else(|| {
                let configured = self.finest(unit)?;
                status.remaining.is_some_and(|left| left < configured.amount.get()).then_some(configured)
            }),
        }
    }

    /// Sets the counter to the reported remaining amount. The report does not include calls that were sent
    /// after the one that it answers.
    fn apply_remaining(&mut self, quota: Quota, status: &LimitStatus, reserved: &Reserved, now: Instant) {
        let since = self.total_spent().of(quota.unit).saturating_sub(reserved.total_spent.of(quota.unit));
        if let Some(counter) = self.reported.counter_for(quota, now)
            && let Some(left) = status.remaining
        {
            let spent = quota.amount.get().saturating_sub(left);
            counter.bucket.set_spent(spent.saturating_add(since), reserved.at);
        }
    }
}

/// The part of an empty limit that the next call needs: the cost of the last one. The tokens of a call are
/// unknown as long as no quota counts them.
fn part_for_a_call(unit: LimitUnit, limit: Option<u64>, last: &Reserved) -> f64 {
    const LEAST_OF_TOKENS: f64 = 0.05;
    let part = limit.map_or(1.0, |limit| last.cost.of(unit) as f64 / limit as f64);
    part.max(if unit.is_tokens() { LEAST_OF_TOKENS } else { 0.0 }).min(1.0)
}

/// Whether a reset is as far away as a refill of the whole quota takes. Such a quota refills evenly,
/// and the gate need not be closed for all that time.
fn refills_evenly(wait: Duration, quota: Quota) -> bool {
    const SLACK: f64 = 0.2;
    (wait.as_secs_f64() / quota.period.as_secs_f64() - 1.0).abs() <= SLACK
}
