//! The limits that the provider reports, and the checks that a report has to pass.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use super::quota::{MINUTE, Quota};
use super::quota_set::{Counter, QuotaSet, Reserved};
use crate::{LimitStatus, LimitUnit, ReportedLimits};

/// The limits that the provider reports. Each is counted on from the last report.
///
/// They are kept beside the configured quotas, and a call needs room in both. A reported remaining count
/// below ours therefore lowers what may be sent. A higher one never raises it above the configured quota.
#[derive(Clone, Debug, Default)]
pub(super) struct ReportedQuotas {
    quotas: Vec<ReportedQuota>,
    /// For each unit, the sequence number of the call that got the last report.
    latest_call: [u64; 4],
    /// For each unit, a limit with a period that was inferred once. It is adopted when the same period is
    /// inferred again.
    inferred: [Option<(u64, Duration)>; 4],
}

/// A limit that was reported.
#[derive(Clone, Debug)]
struct ReportedQuota {
    counter: Counter,
    /// The response that is being processed reports this limit.
    is_reported: bool,
    /// The time of the first successful response that did not report this limit, since the last one that did.
    unreported_since: Option<Instant>,
}

/// The effect of one report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReportEffect {
    /// Nothing is left of a limit for this long.
    pub(super) closed_for: Option<Duration>,
    /// The number of reported limits that were ignored: stale, contradictory or implausible.
    pub(super) ignored: u64,
}

/// Returns how much of a quota may be spent at once: all of a request quota, and a twentieth less of a token
/// quota.
///
/// Both sides count requests alike. For tokens the provider counts requests in flight by its own estimate, so
/// that near the end of the limit our request would be slightly too early every other time. The reserve does
/// not reduce throughput, because it is held back once and not once a minute.
fn burst(quota: Quota) -> Option<NonZeroU64> {
    let all = quota.amount.get();
    if quota.unit.is_tokens() { NonZeroU64::new(all - all / 20) } else { None }
}

/// Not every response reports every limit. A limit per second is therefore kept after one response without
/// it.
const MIN_RETENTION: Duration = MINUTE;

/// The most limits that are kept; no provider has as many.
const MAX_QUOTAS: usize = 8;

impl ReportedQuotas {
    pub(super) fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.quotas.iter().map(|quota| &quota.counter)
    }

    pub(super) fn counters_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.quotas.iter_mut().map(|quota| &mut quota.counter)
    }

    /// Returns the reported quota of `unit`, and of this `limit` if one is given.
    fn find(&self, unit: LimitUnit, limit: Option<u64>) -> Option<Quota> {
        let is_it =
            |quota: &Quota| quota.unit == unit && limit.is_none_or(|limit| limit == quota.amount.get());
        self.counters().map(|counter| counter.quota).find(is_it)
    }

    /// Returns whether the same period was inferred from the previous report as well.
    fn is_confirmed(&mut self, unit: LimitUnit, limit: u64, period: Duration) -> bool {
        let inferred = &mut self.inferred[unit as usize];
        inferred.replace((limit, period)) == Some((limit, period))
    }

    /// Returns the counter of a reported quota, and creates it if it is new.
    fn counter_for(&mut self, quota: Quota, now: Instant) -> Option<&mut Counter> {
        let is_it = |reported: &ReportedQuota| {
            let known = reported.counter.quota;
            known.unit == quota.unit && known.period == quota.period
        };
        let fresh = || ReportedQuota {
            counter: Counter::new(quota, burst(quota), now),
            is_reported: true,
            unreported_since: None,
        };
        let at = match self.quotas.iter().position(is_it) {
            // The limit has changed, so the counter starts anew.
            Some(at) if self.quotas[at].counter.quota != quota => {
                self.quotas[at] = fresh();
                at
            }
            Some(at) => {
                self.quotas[at].is_reported = true;
                at
            }
            None if self.quotas.len() < MAX_QUOTAS => {
                self.quotas.push(fresh());
                self.quotas.len() - 1
            }
            None => return None,
        };
        self.quotas.get_mut(at).map(|quota| &mut quota.counter)
    }

    /// Runs after every successful response. Drops the limits that no response has reported for a whole
    /// period: all that was spent of them has refilled.
    fn expire_unreported(&mut self, now: Instant) {
        self.quotas.retain_mut(|quota| {
            if std::mem::take(&mut quota.is_reported) {
                quota.unreported_since = None;
                return true;
            }
            let unreported_since = *quota.unreported_since.get_or_insert(now);
            now.saturating_duration_since(unreported_since) < quota.counter.quota.period.max(MIN_RETENTION)
        });
    }

    /// Marks the quotas of `unit` with this `limit` as reported, whatever their period.
    fn mark_reported(&mut self, unit: LimitUnit, limit: Option<u64>) {
        for reported in &mut self.quotas {
            let known = reported.counter.quota;
            reported.is_reported |= known.unit == unit && limit == Some(known.amount.get());
        }
    }
}

impl QuotaSet {
    /// Returns whether any reported quota is kept.
    pub(super) fn has_reported_quotas(&self) -> bool {
        !self.reported.quotas.is_empty()
    }

    /// Drops the limits that successful responses no longer report.
    pub(super) fn expire_unreported(&mut self, now: Instant) {
        self.reported.expire_unreported(now);
    }

    /// Applies what the response to the call `reserved` reports. `wall` is the local wall clock, used in
    /// place of the provider's.
    pub(super) fn apply_report(
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
                let wait = reset.wait(wall);
                let is_paced =
                    status.refills_evenly && quota.is_some_and(|quota| refills_evenly(wait, quota));
                if !is_paced {
                    effect.closed_for = effect.closed_for.max(Some(wait));
                }
            }
        }
        effect
    }

    /// Returns the quota that a reported status refers to.
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

/// Returns whether a reset is as far away as a refill of the whole quota takes. Such a quota refills evenly,
/// and the gate need not be closed for all that time.
fn refills_evenly(wait: Duration, quota: Quota) -> bool {
    const SLACK: f64 = 0.2;
    (wait.as_secs_f64() / quota.period.as_secs_f64() - 1.0).abs() <= SLACK
}
