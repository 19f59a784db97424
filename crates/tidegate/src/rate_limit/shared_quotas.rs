//! The quotas that are shared with other processes, as plain data: what is leased, what to ask for, and what to report.
//!
//! ```text
//!             no lease has room, or the last is half used
//!   leased ──────────────────────────────────────────────▶ asked ──▶ leased
//!     ▲                                                      │ no answer in time
//!     └───────────────────── an answer ────────────────── unavailable: the local share decides
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::cost::{CallCost, Reserved};
use super::lease::{Lease, SharedQuota};
use super::quota_counter::QuotaCounter;
use super::quota_set::Shortfall;
use crate::bucket::Bucket;
use crate::store::{LeaseGrant, LeaseRequest, OnUnavailable, Settings, SharedCooldown};
use crate::{Deadline, LimitUnit};

#[derive(Clone, Debug)]
pub(super) struct SharedQuotas {
    settings: Settings,
    quotas: Vec<SharedQuota>,
    /// In the order in which they begin.
    leases: VecDeque<Lease>,
    /// How long a lease holds.
    lease: Duration,
    /// The longest wait of a call.
    max_wait: Duration,
    /// The store could not be reached, and is tried again at this time.
    retry_at: Option<Instant>,
    /// Since when it could not.
    unavailable_since: Option<Instant>,
    /// How long it could not, until what was spent in that time is reported.
    outage: Duration,
    /// The store had no room within `max_wait`: when it will, and how long that is assumed.
    full_until: Option<(Instant, Instant)>,
    /// The calls of the next lease ahead of need.
    calls_ahead: u64,
    /// The latest request is for a lease ahead of need.
    is_ahead: bool,
    /// The store refused a lease for several calls that wait: the next one is for the first alone.
    asks_for_first: bool,
    last_ask: Option<Instant>,
    /// The cost of the latest call, for which leases ahead of need are taken.
    last_cost: CallCost,
    processes: u32,
    /// A call was admitted since the last request.
    has_admitted: bool,
    /// A task exchanges requests with the store.
    pub(super) is_driven: bool,
}

/// How a rate limit is shared, ready to be serialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SharedRate {
    /// Whether the store replies. Else this process decides by its share of the quotas.
    pub available: bool,
    /// The processes that share the limit, as far as this one has seen.
    pub processes: u32,
    /// The requests, or else the tokens, of the first quota that this process may spend without a reply of the store.
    pub leased: u64,
}

/// What a process does next.
#[derive(Debug, PartialEq)]
pub(super) enum NextStep {
    Ask(LeaseRequest),
    SleepUntil(Instant),
    Idle,
}

/// The calls that wait: the cost of all and that of the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WaitingCalls {
    pub(super) all: CallCost,
    pub(super) first: CallCost,
}

/// The shortest time of a lease: a call that waits for it has to be woken.
const MIN_LEASE: Duration = Duration::from_millis(20);

/// The shortest and the longest time until an unavailable store is tried again: as long as it has been unavailable.
const RETRY_INTERVALS: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

/// How long it is assumed that the store has no room. Other processes return what they do not use.
const FULL_FOR: Duration = Duration::from_millis(250);

/// The most calls of a lease ahead of need.
const MAX_CALLS_AHEAD: u64 = 65_536;

/// The name of the store in place of a quota.
const STORE: &str = "shared store";

impl SharedQuotas {
    pub(super) fn new(
        counters: &[QuotaCounter],
        settings: &Settings,
        max_wait: Duration,
        now: Instant,
    ) -> Self {
        let mut quotas: Vec<_> = counters.iter().map(|counter| SharedQuota::new(counter, now)).collect();
        let lease = if settings.leases { settings.lease } else { MIN_LEASE };
        let lease = quotas.iter().map(SharedQuota::half_refill).min().unwrap_or(lease).min(lease);
        quotas.iter_mut().for_each(|quota| quota.hold_back(lease));
        Self {
            quotas,
            leases: VecDeque::new(),
            lease: lease.max(MIN_LEASE),
            max_wait,
            retry_at: None,
            unavailable_since: None,
            outage: Duration::ZERO,
            full_until: None,
            calls_ahead: 0,
            is_ahead: false,
            asks_for_first: false,
            last_ask: None,
            last_cost: CallCost::ONE_CALL,
            processes: settings.processes.unwrap_or(1),
            has_admitted: false,
            is_driven: false,
            settings: settings.clone(),
        }
    }

    /// How the limit is shared now.
    pub(super) fn status(&self) -> SharedRate {
        let leased = self.leases.iter().map(|lease| lease.left.first().copied().unwrap_or_default());
        SharedRate { available: self.is_available(), processes: self.processes, leased: leased.sum() }
    }

    /// Whether the local share decides.
    pub(super) fn is_local(&self) -> bool {
        self.retry_at.is_some() && self.settings.mode == OnUnavailable::Open
    }

    pub(super) fn is_available(&self) -> bool {
        self.retry_at.is_none()
    }

    /// The room that a call lacks in the leases.
    pub(super) fn shortfall(&self, ahead: &CallCost, cost: &CallCost, now: Instant) -> Shortfall {
        if let Some(retry_at) = self.retry_at {
            let wait = retry_at.saturating_duration_since(now).max(self.settings.timeout);
            return Shortfall { wait, quota: Some(STORE), is_pending: false };
        }
        let mut lacks: Vec<u64> = self
            .quotas
            .iter()
            .map(|quota| ahead.of(quota.unit).saturating_add(cost.of(quota.unit)))
            .collect();
        let mut begins = now;
        for lease in self.leases.iter().filter(|lease| now < lease.expires) {
            if lacks.iter().all(|lack| *lack == 0) {
                break;
            }
            begins = begins.max(lease.begins);
            lacks.iter_mut().zip(&lease.left).for_each(|(lack, left)| *lack = lack.saturating_sub(*left));
        }
        let lacking = self.quotas.iter().zip(&lacks).filter(|(_, lack)| **lack > 0);
        let estimate = lacking
            .map(|(quota, lack)| {
                let beyond = lack.saturating_sub(quota.room(now));
                (quota.time_for(beyond).saturating_mul(self.processes), quota.name)
            })
            .max();
        match estimate {
            None => {
                let wait = begins.saturating_duration_since(now);
                let name = self.quotas.iter().find(|quota| cost.of(quota.unit) > 0).map(|quota| quota.name);
                Shortfall { wait, quota: name.filter(|_| !wait.is_zero()), is_pending: false }
            }
            Some((estimate, name)) => {
                let full = self.full_until.filter(|(_, until)| now < *until).map(|(at, _)| at);
                let known = full.map_or(self.settings.timeout, |at| at.saturating_duration_since(now));
                let wait = known.max(begins.saturating_duration_since(now)).max(estimate);
                Shortfall { wait, quota: Some(name), is_pending: full.is_none() && estimate.is_zero() }
            }
        }
    }

    /// Spends the cost of a call from the leases, in which it has room.
    pub(super) fn spend(&mut self, cost: &CallCost, now: Instant) {
        self.note_admission(cost);
        for (index, quota) in self.quotas.iter().enumerate() {
            let mut amount = cost.of(quota.unit);
            for lease in self.leases.iter_mut().filter(|lease| lease.begins <= now && now < lease.expires) {
                let part = amount.min(lease.left[index]);
                lease.left[index] -= part;
                amount -= part;
            }
        }
        while self.leases.front().is_some_and(Lease::is_used_up) {
            self.leases.pop_front();
        }
    }

    fn note_admission(&mut self, cost: &CallCost) {
        (self.last_cost, self.has_admitted) = (*cost, true);
    }

    /// Notes a call that the local share has admitted.
    pub(super) fn spend_locally(&mut self, cost: &CallCost) {
        self.note_admission(cost);
        for quota in &mut self.quotas {
            quota.spent_alone = quota.spent_alone.saturating_add(cost.of(quota.unit));
        }
    }

    /// Notes what a call has used that the local share has admitted.
    fn settle_locally(&mut self, reserved: &CallCost, used: &CallCost) {
        for quota in &mut self.quotas {
            let spent = quota.spent_alone.saturating_add(used.of(quota.unit));
            quota.spent_alone = spent.saturating_sub(reserved.of(quota.unit));
        }
    }

    /// Reports the difference between what a call reserved and what it used.
    pub(super) fn settle(&mut self, reserved: &Reserved, used: &CallCost) {
        if self.is_local() {
            return self.settle_locally(&reserved.cost, used);
        }
        for quota in &mut self.quotas {
            let (before, after) = (reserved.cost.of(quota.unit), used.of(quota.unit));
            quota.give_back(before.saturating_sub(after), reserved.at);
            quota.charged = quota.charged.saturating_add(after.saturating_sub(before));
        }
    }

    /// Whether [`next_step`](Self::next_step) is more than to wait for something that is known.
    pub(super) fn is_due(&self, waiting: &WaitingCalls, now: Instant) -> bool {
        match self.retry_at {
            Some(retry_at) => now >= retry_at,
            None => self.wanted(waiting, now).is_some(),
        }
    }

    /// What to do next. `local_debt` is what the local share of each quota lacks while the store is unavailable.
    pub(super) fn next_step(
        &mut self,
        waiting: &WaitingCalls,
        local_debt: impl Fn(usize) -> u64,
        now: Instant,
    ) -> NextStep {
        self.expire(now);
        let nothing = || vec![0; self.quotas.len()];
        let amounts = match self.retry_at {
            Some(retry_at) if now < retry_at => return NextStep::SleepUntil(retry_at),
            Some(_) if !self.has_admitted && waiting.all.calls == 0 => return NextStep::Idle,
            Some(_) => return NextStep::Ask(self.empty_request(now)),
            None => match self.wanted(waiting, now) {
                Some(amounts) => {
                    self.is_ahead = waiting.all.calls == 0;
                    amounts
                }
                None => match self.next_report() {
                    Some(at) if at <= now || !self.outage.is_zero() => nothing(),
                    report => {
                        let full = self.full_until.map(|(_, until)| until).filter(|at| *at > now);
                        let retry = full.filter(|_| waiting.all.calls > 0);
                        let of_lease =
                            |lease: &Lease| if lease.begins > now { lease.begins } else { lease.expires };
                        let lease = self.leases.iter().map(of_lease).min();
                        let next = [report, lease, retry].into_iter().flatten().min();
                        return next.map_or(NextStep::Idle, NextStep::SleepUntil);
                    }
                },
            },
        };
        self.count_ask(now);
        let quotas = self.quotas.iter_mut().zip(amounts).enumerate();
        let quotas = quotas.map(|(index, (quota, amount))| quota.request(amount, local_debt(index), now));
        NextStep::Ask(LeaseRequest { quotas: quotas.collect(), horizon: self.max_wait, outage: self.outage })
    }

    /// A request by which an unavailable store is tried.
    fn empty_request(&self, now: Instant) -> LeaseRequest {
        let quotas = self.quotas.iter().map(|quota| quota.empty_request(now)).collect();
        LeaseRequest { quotas, horizon: self.max_wait, outage: Duration::ZERO }
    }

    /// Leases grow while they are used up long before they expire.
    fn count_ask(&mut self, now: Instant) {
        let is_soon = self.last_ask.is_some_and(|last| now.saturating_duration_since(last) < self.lease / 2);
        if self.settings.leases && is_soon && self.has_admitted {
            self.calls_ahead = (self.calls_ahead * 2).clamp(1, MAX_CALLS_AHEAD);
        }
        self.last_ask = Some(now);
        self.has_admitted = false;
    }

    /// The amounts to ask for: those that waiting calls lack, else those of a lease ahead of need.
    fn wanted(&self, waiting: &WaitingCalls, now: Instant) -> Option<Vec<u64>> {
        let is_full = self.full_until.is_some_and(|(_, until)| now < until);
        // One lease at a time is reserved for later, so that processes take turns.
        if is_full || self.leases.iter().any(|lease| lease.begins > now) {
            return None;
        }
        let left: Vec<u64> = (0..self.quotas.len()).map(|index| self.left(index, now)).collect();
        let lacks = |cost: &CallCost| -> Vec<u64> {
            self.quotas
                .iter()
                .zip(&left)
                .map(|(quota, left)| cost.of(quota.unit).saturating_sub(*left))
                .collect()
        };
        let missing = lacks(&waiting.all);
        if missing.iter().any(|missing| *missing > 0) {
            let first = lacks(&waiting.first);
            if self.asks_for_first {
                return Some(first).filter(|first| first.iter().any(|lack| *lack > 0));
            }
            let part = self.within_slices(&missing, now);
            return Some(part.into_iter().zip(first).map(|(part, first)| part.max(first)).collect());
        }
        if self.calls_ahead == 0 || waiting.all.calls > 0 || !self.has_admitted {
            return None;
        }
        let ahead: Vec<u64> = self
            .quotas
            .iter()
            .map(|quota| self.last_cost.of(quota.unit).saturating_mul(self.calls_ahead))
            .collect();
        let ahead = self.within_slices(&ahead, now);
        let is_half_used = left.iter().zip(&ahead).any(|(left, ahead)| *left < ahead.div_ceil(2));
        (is_half_used && ahead.iter().any(|amount| *amount > 0)).then_some(ahead)
    }

    /// The same part of all amounts, so that none is more than a slice of its quota: what refills in half of a lease, or
    /// an eighth of the share of this process in what is left.
    fn within_slices(&self, amounts: &[u64], now: Instant) -> Vec<u64> {
        let part =
            self.quotas.iter().zip(amounts).filter(|(_, amount)| **amount > 0).map(|(quota, amount)| {
                let share = quota.room(now) / u64::from(self.processes) / 8;
                quota.refilled_in(self.lease / 2).max(share) as f64 / *amount as f64
            });
        let part = part.fold(1.0, f64::min);
        amounts.iter().map(|amount| (*amount as f64 * part) as u64).collect()
    }

    /// What is left of a quota in all leases.
    fn left(&self, index: usize, now: Instant) -> u64 {
        let live = self.leases.iter().filter(|lease| now < lease.expires);
        live.map(|lease| lease.left[index]).fold(0, u64::saturating_add)
    }

    /// Returns what is left of leases that have expired.
    fn expire(&mut self, now: Instant) {
        while self.leases.front().is_some_and(|lease| lease.expires <= now) {
            let Some(lease) = self.leases.pop_front().filter(|lease| !lease.is_used_up()) else { continue };
            self.calls_ahead /= 2;
            for (quota, left) in self.quotas.iter_mut().zip(lease.left) {
                quota.give_back(left, lease.taken);
            }
        }
    }

    /// When what is not reported is.
    fn next_report(&self) -> Option<Instant> {
        let since = self.quotas.iter().filter_map(SharedQuota::unreported_since).min()?;
        Some(Deadline::after(self.lease + self.lease / 2, since).instant())
    }

    /// Applies the reply to a request that was sent at `sent`.
    pub(super) fn on_grant(
        &mut self,
        request: &LeaseRequest,
        grant: &LeaseGrant,
        sent: Instant,
        now: Instant,
    ) {
        self.retry_at = None;
        match self.unavailable_since.take() {
            Some(since) => self.outage = now.saturating_duration_since(since),
            None => {
                self.outage = Duration::ZERO;
                self.quotas.iter_mut().for_each(|quota| quota.spent_alone = 0);
            }
        }
        self.processes = self.settings.processes.unwrap_or(grant.processes).max(1);
        for ((quota, asked), debt) in self.quotas.iter_mut().zip(&request.quotas).zip(&grant.debts) {
            quota.charged = quota.charged.saturating_sub(asked.charged);
            quota.see(*debt, now);
        }
        let amounts: Vec<u64> = request.quotas.iter().map(|quota| quota.amount).collect();
        if amounts.iter().all(|amount| *amount == 0) {
            return;
        }
        if grant.is_granted {
            self.leases.push_back(Lease::new(amounts, grant.wait, self.lease, sent, now));
            (self.full_until, self.asks_for_first) = (None, false);
        } else if self.is_ahead {
            self.calls_ahead = 0;
        } else if self.asks_for_first {
            let full = Deadline::after(grant.wait, now).instant();
            self.full_until = Some((full, Deadline::after(grant.wait.min(FULL_FOR), now).instant()));
            self.asks_for_first = false;
        } else {
            self.asks_for_first = true;
        }
    }

    /// The store could not be reached.
    pub(super) fn on_unavailable(&mut self, now: Instant) {
        let since = *self.unavailable_since.get_or_insert(now);
        let retry_after = now.saturating_duration_since(since).clamp(RETRY_INTERVALS.0, RETRY_INTERVALS.1);
        self.retry_at = Some(Deadline::after(retry_after, now).instant());
        self.full_until = None;
        for lease in std::mem::take(&mut self.leases) {
            for (quota, left) in self.quotas.iter_mut().zip(lease.left) {
                quota.give_back(left, lease.taken);
            }
        }
    }

    /// The bucket of the local share of each quota, spent as far as is known.
    pub(super) fn local_share(&self, index: usize, now: Instant) -> Bucket {
        let quota = &self.quotas[index];
        let (rate, burst) = quota.share(self.processes);
        let mut bucket = Bucket::new(rate, now);
        bucket.set_spent(quota.spent_share(self.processes, now).min(burst), now);
        bucket
    }

    /// The unit, the content and the capacity of a quota, as far as is known: the leases, and the room in the store.
    pub(super) fn bucket(&self, index: usize, now: Instant) -> (LimitUnit, u64, u64) {
        let quota = &self.quotas[index];
        let left = quota.room(now).saturating_add(self.left(index, now));
        // A full bucket is one that nothing is held back of.
        let left = if quota.is_full(now) { quota.capacity() } else { left.min(quota.capacity()) };
        (quota.unit, left, quota.capacity())
    }

    /// Whether nothing is leased, and nothing is to be reported.
    pub(super) fn is_pristine(&self) -> bool {
        let is_reported = self.quotas.iter().all(|quota| quota.unreported_since().is_none());
        !self.is_driven && self.leases.is_empty() && is_reported
    }

    /// The cooldown to share, with the quota at `pacing`.
    pub(super) fn cooldown(&self, wait: Duration, pacing: Option<usize>, now: Instant) -> SharedCooldown {
        SharedCooldown { wait, pacing: pacing.map(|index| self.quotas[index].empty_request(now)) }
    }
}
