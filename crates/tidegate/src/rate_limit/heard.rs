//! What the provider says of its limits, and how far it is believed.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use super::limits::{Counter, Limits, Spent};
use super::quota::{MINUTE, Quota};
use crate::{LimitStatus, LimitUnit, ReportedLimits};

/// The limits as the provider tells them, each counted on from its last word.
///
/// They stand beside the configured ones, and a call needs room in both: so a remaining count that is lower than ours
/// lowers what may be sent, and one that is higher never raises it above what was configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    told: Vec<Told>,
    /// Which call the last word on each currency was an answer to, counted from the first.
    latest: [u64; 4],
    /// A limit whose period was inferred once; it is believed when it is inferred again.
    suspected: [Option<(u64, Duration)>; 4],
}

/// A limit that was told of.
#[derive(Clone, Debug)]
struct Told {
    counter: Counter,
    /// By the answer that is listened to.
    is_told: bool,
    /// The first good answer that did not tell of it, since the last that did.
    silence: Option<Instant>,
}

/// What came of listening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
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
    if quota.currency.is_tokens() { NonZeroU64::new(all - all / 20) } else { None }
}

/// Not every answer need tell of every limit: a limit of a second is not forgotten after one that did not.
const SHORTEST_MEMORY: Duration = MINUTE;

/// More limits than any provider has.
const MOST: usize = 8;

impl Heard {
    pub(super) fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.told.iter().map(|told| &told.counter)
    }

    pub(super) fn counters_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.told.iter_mut().map(|told| &mut told.counter)
    }

    /// The quota of `currency` that was heard of, of this limit if one is told.
    fn known(&self, currency: LimitUnit, limit: Option<u64>) -> Option<Quota> {
        let is_it = |quota: &Quota| {
            quota.currency == currency && limit.is_none_or(|limit| limit == quota.amount.get())
        };
        self.counters().map(|counter| counter.quota).find(is_it)
    }

    /// Whether an inferred period is inferred for the second time in a row, by another answer.
    fn is_confirmed(&mut self, currency: LimitUnit, limit: u64, period: Duration) -> bool {
        let suspected = &mut self.suspected[currency as usize];
        suspected.replace((limit, period)) == Some((limit, period))
    }

    /// The counter of `quota`, which is told of; made if there is none yet.
    fn counter(&mut self, quota: Quota, now: Instant) -> Option<&mut Counter> {
        let is_it = |told: &Told| {
            let known = told.counter.quota;
            known.currency == quota.currency && known.period == quota.period
        };
        let fresh = || Told { counter: Counter::new(quota, burst(quota), now), is_told: true, silence: None };
        let at = match self.told.iter().position(is_it) {
            // The limit was changed: what is left is told anew.
            Some(at) if self.told[at].counter.quota != quota => {
                self.told[at] = fresh();
                at
            }
            Some(at) => {
                self.told[at].is_told = true;
                at
            }
            None if self.told.len() < MOST => {
                self.told.push(fresh());
                self.told.len() - 1
            }
            None => return None,
        };
        self.told.get_mut(at).map(|told| &mut told.counter)
    }

    /// A good answer has been listened to. Of what none has told for so long that all of it has come back, nothing is
    /// known any more.
    fn forget_untold(&mut self, now: Instant) {
        self.told.retain_mut(|told| {
            if std::mem::take(&mut told.is_told) {
                told.silence = None;
                return true;
            }
            let silence = *told.silence.get_or_insert(now);
            now.saturating_duration_since(silence) < told.counter.quota.period.max(SHORTEST_MEMORY)
        });
    }

    /// An answer speaks of `limit`, of whatever period: what is known of it is still so.
    fn confirm(&mut self, currency: LimitUnit, limit: Option<u64>) {
        for told in &mut self.told {
            let known = told.counter.quota;
            told.is_told |= known.currency == currency && limit == Some(known.amount.get());
        }
    }
}

impl Limits {
    /// Whether anything is known that could be forgotten.
    pub(super) fn have_heard(&self) -> bool {
        !self.heard.told.is_empty()
    }

    /// A good answer has been listened to.
    pub(super) fn forget_untold(&mut self, now: Instant) {
        self.heard.forget_untold(now);
    }

    /// Listens to what the answer to the call `from` says. `wall` is the provider's clock, as far as ours agrees
    /// with it.
    pub(super) fn hear(
        &mut self,
        announced: &ReportedLimits,
        from: &Spent,
        adopt: bool,
        now: Instant,
        wall: SystemTime,
    ) -> Learned {
        let mut learned = Learned { ignored: u64::from(announced.has_nonsense), ..Learned::default() };
        for (currency, allowance) in announced.iter() {
            let latest = &mut self.heard.latest[currency as usize];
            // An answer that was overtaken by another knows less than that.
            if allowance.is_absurd(wall) || from.so_far.calls < *latest {
                learned.ignored += 1;
                continue;
            }
            *latest = from.so_far.calls;
            self.heard.confirm(currency, allowance.limit);
            let quota = self.quota_of(currency, allowance, adopt);
            if let Some(quota) = quota {
                self.follow(quota, allowance, from, now);
            }
            if allowance.remaining == Some(0)
                && let Some(reset) = allowance.reset
            {
                let wait = reset.wait(wall);
                let is_paced = allowance.refills_evenly && quota.is_some_and(|quota| is_whole(wait, quota));
                if !is_paced {
                    learned.closed_for = learned.closed_for.max(Some(wait));
                }
            }
        }
        learned
    }

    /// The quota that an allowance speaks of.
    fn quota_of(&mut self, currency: LimitUnit, allowance: &LimitStatus, adopt: bool) -> Option<Quota> {
        let whole = allowance.limit.zip(allowance.period_of_refill());
        match whole {
            Some((limit, period)) => {
                let quota = Quota::new(currency, limit, period);
                let is_sure = allowance.period.is_some()
                    || self.is_own(currency, period)
                    || self.heard.known(currency, Some(limit)).is_some_and(|known| known == quota)
                    || self.heard.is_confirmed(currency, limit, period);
                (is_sure && (adopt || self.is_own(currency, period))).then_some(quota)
            }
            // Which limit is not said: one that is known, else our own; the finest, so that a mistake passes soonest.
            None => self.heard.known(currency, allowance.limit).or_else(|| {
                let own = self.finest(currency)?;
                allowance.remaining.is_some_and(|left| left < own.amount.get()).then_some(own)
            }),
        }
    }

    /// Takes the provider's word for what is left. It knew nothing of the calls that went out after the one it
    /// answered.
    fn follow(&mut self, quota: Quota, allowance: &LimitStatus, from: &Spent, now: Instant) {
        let since = self.spent().of(quota.currency).saturating_sub(from.so_far.of(quota.currency));
        if let Some(counter) = self.heard.counter(quota, now)
            && let Some(left) = allowance.remaining
        {
            let spent = quota.amount.get().saturating_sub(left);
            counter.bucket.set(spent.saturating_add(since), from.at);
        }
    }
}

/// Whether a reset is as far away as it takes to refill the whole of the quota: then it comes back evenly, and the
/// gate need not be closed for all that time.
fn is_whole(wait: Duration, quota: Quota) -> bool {
    const SLACK: f64 = 0.2;
    (wait.as_secs_f64() / quota.period.as_secs_f64() - 1.0).abs() <= SLACK
}
