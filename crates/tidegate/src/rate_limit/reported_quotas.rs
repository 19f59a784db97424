//! What the provider says of its limits, and how far it is believed.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use super::quota_set::{Counter, QuotaSet, Reserved};
use super::quota::{MINUTE, Quota};
use crate::{LimitStatus, LimitUnit, ReportedLimits};

/// The limits as the provider tells them, each counted on from its last word.
///
/// They stand beside the configured ones, and a call needs room in both: so a remaining count that is lower than ours
/// lowers what may be sent, and one that is higher never raises it above what was configured.
#[derive(Clone, Debug, Default)]
pub(super) struct ReportedQuotas {
    quotas: Vec<ReportedQuota>,
    /// Which call the last word on each currency was an answer to, counted from the first.
    latest_call: [u64; 4],
    /// A limit whose period was inferred once; it is believed when it is inferred again.
    inferred: [Option<(u64, Duration)>; 4],
}

/// A limit that was told of.
#[derive(Clone, Debug)]
struct ReportedQuota {
    counter: Counter,
    /// By the answer that is listened to.
    is_reported: bool,
    /// The first good answer that did not tell of it, since the last that did.
    unreported_since: Option<Instant>,
}

/// What came of listening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReportEffect {
    /// Nothing is left for so long.
    pub(super) closed_for: Option<Duration>,
    /// So many words were not believed: stale, contradictory or absurd.
    pub(super) ignored: u64,
}

/// So much of a limit may come at once: of requests all of it, of tokens a twentieth less.
///
/// Requests are counted alike on both sides. Of tokens the provider has an estimate of its own, and counts what is
/// under way by that: at the end of the limit ours would be a little too early every other time. Holding something
/// back costs nothing of the throughput, since it is held back once, and not once a minute.
fn burst(quota: Quota) -> Option<NonZeroU64> {
    let all = quota.amount.get();
    if quota.unit.is_tokens() { NonZeroU64::new(all - all / 20) } else { None }
}

/// Not every answer need tell of every limit: a limit of a second is not forgotten after one that did not.
const MIN_RETENTION: Duration = MINUTE;

/// More limits than any provider has.
const MAX_QUOTAS: usize = 8;

impl ReportedQuotas {
    pub(super) fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.quotas.iter().map(|quota| &quota.counter)
    }

    pub(super) fn counters_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.quotas.iter_mut().map(|quota| &mut quota.counter)
    }

    /// The quota of `unit` that was heard of, of this limit if one is told.
    fn find(&self, unit: LimitUnit, limit: Option<u64>) -> Option<Quota> {
        let is_it = |quota: &Quota| {
            quota.unit == unit && limit.is_none_or(|limit| limit == quota.amount.get())
        };
        self.counters().map(|counter| counter.quota).find(is_it)
    }

    /// Whether an inferred period is inferred for the second time in a row, by another answer.
    fn is_confirmed(&mut self, unit: LimitUnit, limit: u64, period: Duration) -> bool {
        let inferred = &mut self.inferred[unit as usize];
        inferred.replace((limit, period)) == Some((limit, period))
    }

    /// The counter of `quota`, which is told of; made if there is none yet.
    fn counter_for(&mut self, quota: Quota, now: Instant) -> Option<&mut Counter> {
        let is_it = |reported: &ReportedQuota| {
            let known = reported.counter.quota;
            known.unit == quota.unit && known.period == quota.period
        };
        let fresh = || ReportedQuota { counter: Counter::new(quota, burst(quota), now), is_reported: true, unreported_since: None };
        let at = match self.quotas.iter().position(is_it) {
            // The limit was changed: what is left is told anew.
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

    /// A good answer has been listened to. Of what none has told for so long that all of it has come back, nothing is
    /// known any more.
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

    /// An answer speaks of `limit`, of whatever period: what is known of it is still so.
    fn mark_reported(&mut self, unit: LimitUnit, limit: Option<u64>) {
        for reported in &mut self.quotas {
            let known = reported.counter.quota;
            reported.is_reported |= known.unit == unit && limit == Some(known.amount.get());
        }
    }
}

impl QuotaSet {
    /// Whether anything is known that could be forgotten.
    pub(super) fn has_reported_quotas(&self) -> bool {
        !self.reported.quotas.is_empty()
    }

    /// A good answer has been listened to.
    pub(super) fn expire_unreported(&mut self, now: Instant) {
        self.reported.expire_unreported(now);
    }

    /// Listens to what the answer to the call `reserved` says. `wall` is the provider's clock, as far as ours agrees
    /// with it.
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
            // An answer that was overtaken by another knows less than that.
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
                let is_paced = status.refills_evenly && quota.is_some_and(|quota| is_whole(wait, quota));
                if !is_paced {
                    effect.closed_for = effect.closed_for.max(Some(wait));
                }
            }
        }
        effect
    }

    /// The quota that an allowance speaks of.
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
            // Which limit is not said: one that is known, else our own; the finest, so that a mistake passes soonest.
            None => self.reported.find(unit, status.limit).or_else(|| {
                let configured = self.finest(unit)?;
                status.remaining.is_some_and(|left| left < configured.amount.get()).then_some(configured)
            }),
        }
    }

    /// Takes the provider's word for what is left. It knew nothing of the calls that went out after the one it
    /// answered.
    fn apply_remaining(&mut self, quota: Quota, status: &LimitStatus, reserved: &Reserved, now: Instant) {
        let since = self.total_spent().of(quota.unit).saturating_sub(reserved.total_spent.of(quota.unit));
        if let Some(counter) = self.reported.counter_for(quota, now)
            && let Some(left) = status.remaining
        {
            let spent = quota.amount.get().saturating_sub(left);
            counter.bucket.set(spent.saturating_add(since), reserved.at);
        }
    }
}

/// Whether a reset is as far away as it takes to refill the whole of the quota: then it comes back evenly, and the
/// gate need not be closed for all that time.
fn is_whole(wait: Duration, quota: Quota) -> bool {
    const SLACK: f64 = 0.2;
    (wait.as_secs_f64() / quota.period.as_secs_f64() - 1.0).abs() <= SLACK
}
