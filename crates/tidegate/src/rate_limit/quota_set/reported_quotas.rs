//! The limits that the provider reports.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::LimitUnit;
use crate::rate_limit::quota::QuotaCounter;
use crate::rate_limit::quota::{MINUTE, Quota};

/// The limits that the provider reports. Each is counted on from the last report.
///
/// They are kept beside the configured quotas, and a call needs room in both. A reported remaining count
/// below ours therefore lowers what may be sent. A higher one never raises it above the configured quota.
#[derive(Clone, Debug, Default)]
pub(super) struct ReportedQuotas {
    quotas: Vec<ReportedQuota>,
    /// For each unit, the sequence number of the call that got the last report.
    pub(super) latest_call: [u64; 4],
    /// For each unit, a limit with a period that was inferred once. It is adopted when the same period is
    /// inferred again.
    inferred: [Option<(u64, Duration)>; 4],
}

/// A limit that was reported.
#[derive(Clone, Debug)]
struct ReportedQuota {
    counter: QuotaCounter,
    /// The response that is being processed reports this limit.
    is_reported: bool,
    /// The time of the first successful response that did not report this limit, since the last one that did.
    unreported_since: Option<Instant>,
}

/// How much of a quota may be spent at once: all of a request quota, and a twentieth less of a token
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
    pub(super) fn counters(&self) -> impl Iterator<Item = &QuotaCounter> {
        self.quotas.iter().map(|quota| &quota.counter)
    }

    pub(super) fn counters_mut(&mut self) -> impl Iterator<Item = &mut QuotaCounter> {
        self.quotas.iter_mut().map(|quota| &mut quota.counter)
    }

    /// The reported quota of `unit`, and of this `limit` if one is given.
    pub(super) fn find(&self, unit: LimitUnit, limit: Option<u64>) -> Option<Quota> {
        let is_it =
            |quota: &Quota| quota.unit == unit && limit.is_none_or(|limit| limit == quota.amount.get());
        self.counters().map(|counter| counter.quota).find(is_it)
    }

    /// Whether the same period was inferred from the previous report as well.
    pub(super) fn is_confirmed(&mut self, unit: LimitUnit, limit: u64, period: Duration) -> bool {
        let inferred = &mut self.inferred[unit as usize];
        inferred.replace((limit, period)) == Some((limit, period))
    }

    /// The counter of a reported quota, which is created if it is new.
    pub(super) fn counter_for(&mut self, quota: Quota, now: Instant) -> Option<&mut QuotaCounter> {
        let is_it = |reported: &ReportedQuota| {
            let known = reported.counter.quota;
            known.unit == quota.unit && known.period == quota.period
        };
        let fresh = || ReportedQuota {
            counter: QuotaCounter::new(quota, burst(quota), now),
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
    pub(super) fn expire_unreported(&mut self, now: Instant) {
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
    pub(super) fn mark_reported(&mut self, unit: LimitUnit, limit: Option<u64>) {
        for reported in &mut self.quotas {
            let known = reported.counter.quota;
            reported.is_reported |= known.unit == unit && limit == Some(known.amount.get());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.quotas.is_empty()
    }
}
