//! What the provider says of its limits, and how far it is believed.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use super::limits::{Counter, Limits, Spent};
use super::quota::Quota;
use crate::{Allowance, Announced, Currency};

/// The limits as the provider tells them, each counted on from its last word.
///
/// They stand beside the configured ones, and a call needs room in both: so a remaining count that is lower than ours
/// lowers what may be sent, and one that is higher never raises it above what was configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    counters: Vec<Counter>,
    /// Which call the last word on each currency was an answer to, counted from the first.
    latest: [u64; 4],
    /// A limit whose period was inferred once; it is believed when it is inferred again.
    suspected: [Option<(u64, Duration)>; 4],
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

/// More limits than any provider has.
const MOST: usize = 8;

impl Heard {
    pub(super) fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.counters.iter()
    }

    pub(super) fn counters_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.counters.iter_mut()
    }

    /// The quota of `currency` that was heard of, of this limit if one is told.
    fn known(&self, currency: Currency, limit: Option<u64>) -> Option<Quota> {
        let is_it = |quota: &Quota| {
            quota.currency == currency && limit.is_none_or(|limit| limit == quota.amount.get())
        };
        self.counters.iter().map(|counter| counter.quota).find(is_it)
    }

    /// Whether an inferred period is inferred for the second time in a row, by another answer.
    fn is_confirmed(&mut self, currency: Currency, limit: u64, period: Duration) -> bool {
        let suspected = &mut self.suspected[currency as usize];
        suspected.replace((limit, period)) == Some((limit, period))
    }

    /// The counter of `quota`, made if there is none yet.
    fn counter(&mut self, quota: Quota, now: Instant) -> Option<&mut Counter> {
        let is_it = |it: &Counter| it.quota.currency == quota.currency && it.quota.period == quota.period;
        let at = match self.counters.iter().position(is_it) {
            // The limit was changed: what is left is told anew.
            Some(at) if self.counters[at].quota != quota => {
                self.counters[at] = Counter::new(quota, burst(quota), now);
                at
            }
            Some(at) => at,
            None if self.counters.len() < MOST => {
                self.counters.push(Counter::new(quota, burst(quota), now));
                self.counters.len() - 1
            }
            None => return None,
        };
        self.counters.get_mut(at)
    }
}

impl Limits {
    /// Listens to what the answer to the call `from` says. `wall` is the provider's clock, as far as ours agrees
    /// with it.
    pub(super) fn hear(
        &mut self,
        announced: &Announced,
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
    fn quota_of(&mut self, currency: Currency, allowance: &Allowance, adopt: bool) -> Option<Quota> {
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
    fn follow(&mut self, quota: Quota, allowance: &Allowance, from: &Spent, now: Instant) {
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
