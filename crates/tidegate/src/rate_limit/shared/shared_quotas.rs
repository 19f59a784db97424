//! The quotas that are shared with other processes, as plain data: the leases, the next request to the store,
//! and the amounts to report.
//!
//! ```text
//!             no lease has room, or the last is half used
//!   leased ──────────────────────────────────────────────▶ requested ──▶ leased
//!     ▲                                                      │ no reply in time
//!     └───────────────────── a reply ──────────────────── unavailable: the local share decides
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held_leases::{HeldLeases, Lease};
use super::lease_demand::{Holdings, LeaseDemand, WaitingCalls};
use super::shared_quota::SharedQuota;
use super::store_outage::StoreOutage;
use crate::LimitUnit;
use crate::bucket::Bucket;
use crate::clock;
use crate::rate_limit::cost::{CallCost, Reserved};
use crate::rate_limit::quota::QuotaCounter;
use crate::rate_limit::quota_set::Shortfall;
use crate::store::{LeaseGrant, LeaseRequest, OnUnavailable, QuotaRequest, SeenProcesses, Settings};

#[derive(Clone, Debug)]
pub(crate) struct SharedQuotas {
    settings: Settings,
    quotas: Vec<SharedQuota>,
    leases: HeldLeases,
    /// How long a lease holds.
    lease: Duration,
    /// What refills within this time is held back. A lease that is granted later exceeds the quota.
    held_back: Duration,
    /// The longest wait of a call.
    max_wait: Duration,
    outage: StoreOutage,
    demand: LeaseDemand,
    /// When the exchange with the store wakes by itself, if it sleeps.
    wakes_at: Option<Instant>,
    /// The processes that share these quotas, as of the latest reply.
    processes: Option<u32>,
    /// The processes that share any quotas of this store.
    seen_processes: Arc<SeenProcesses>,
}

/// How a rate limit is shared, ready to be serialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SharedRate {
    /// Whether the store has replied to the latest request of this limit, if it has sent one, and to that of any
    /// limit. If not to this limit, this process decides by its share of the quotas.
    pub available: bool,
    /// The processes that share the limit, as far as this one has seen.
    pub processes: u32,
    /// The requests, or else the tokens, of the first quota that this process may spend without a reply of
    /// the store.
    pub leased: u64,
}

/// What a process does next.
#[derive(Debug, PartialEq)]
pub(crate) enum ExchangeStep {
    Request(LeaseRequest),
    SleepUntil(Instant),
    Idle,
}

/// The shortest time of a lease: a call that waits for it has to be woken.
const MIN_LEASE: Duration = Duration::from_millis(20);

/// The name of the store in place of a quota.
const STORE: &str = "shared store";

impl SharedQuotas {
    pub(crate) fn new(
        counters: &[QuotaCounter],
        settings: &Settings,
        seen_processes: &Arc<SeenProcesses>,
        max_wait: Duration,
        now: Instant,
    ) -> Self {
        let mut quotas: Vec<_> = counters.iter().map(|counter| SharedQuota::new(counter, now)).collect();
        let lease = if settings.leases { settings.lease } else { MIN_LEASE };
        let half_refill = quotas.iter().map(SharedQuota::half_refill).min().unwrap_or(lease);
        let lease = lease.min(half_refill).max(MIN_LEASE);
        let held_back = lease.max(settings.timeout.min(half_refill));
        quotas.iter_mut().for_each(|quota| quota.hold_back(held_back));
        Self {
            quotas,
            leases: HeldLeases::default(),
            lease,
            held_back,
            max_wait,
            outage: StoreOutage::default(),
            demand: LeaseDemand::new(),
            wakes_at: None,
            processes: None,
            seen_processes: Arc::clone(seen_processes),
            settings: settings.clone(),
        }
    }

    /// How the limit is shared now.
    pub(crate) fn status(&self) -> SharedRate {
        let leased = self.leases.first_left();
        // A limit without calls sends no request by which to see that the store does not reply.
        let available = self.is_available() && self.seen_processes.has_replied();
        SharedRate { available, processes: self.processes(), leased }
    }

    /// The processes that share the quotas: as configured, else as of the latest reply, else the most of
    /// another limit.
    fn processes(&self) -> u32 {
        let seen = || self.seen_processes.largest();
        self.settings.processes.or(self.processes).unwrap_or_else(seen).max(1)
    }

    /// Whether the local share decides.
    pub(crate) fn is_local(&self) -> bool {
        self.outage.retry_at().is_some() && self.settings.mode == OnUnavailable::Open
    }

    pub(crate) fn is_available(&self) -> bool {
        self.outage.retry_at().is_none()
    }

    /// The room that a call lacks in the leases.
    pub(crate) fn shortfall(&self, ahead: &CallCost, cost: &CallCost, now: Instant) -> Shortfall {
        if let Some(retry_at) = self.outage.retry_at() {
            let wait = retry_at.saturating_duration_since(now).max(self.settings.timeout);
            return Shortfall { wait, quota: Some(STORE), is_pending: false };
        }
        let mut lacks: Vec<u64> = self
            .quotas
            .iter()
            .map(|quota| ahead.of(quota.unit).saturating_add(cost.of(quota.unit)))
            .collect();
        let (begins, processes) = (self.leases.cover(&mut lacks, now), self.processes());
        let lacking = self.quotas.iter().zip(&lacks).filter(|(_, lack)| **lack > 0);
        let estimate = lacking
            .map(|(quota, lack)| {
                let beyond = lack.saturating_sub(quota.room(now));
                (quota.time_for(beyond).saturating_mul(processes), quota.name)
            })
            .max();
        match estimate {
            None => {
                let wait = begins.saturating_duration_since(now);
                let name = self.quotas.iter().find(|quota| cost.of(quota.unit) > 0).map(|quota| quota.name);
                Shortfall { wait, quota: name.filter(|_| !wait.is_zero()), is_pending: false }
            }
            Some((estimate, name)) => {
                let full = self.demand.full_until(now);
                let known = full.map_or(self.settings.timeout, |at| at.saturating_duration_since(now));
                let wait = known.max(begins.saturating_duration_since(now)).max(estimate);
                Shortfall { wait, quota: Some(name), is_pending: full.is_none() && estimate.is_zero() }
            }
        }
    }

    /// How long the quotas without room for a call of `cost` behind calls that cost `ahead` take to refill
    /// the cost, the slowest of them; `None` if all have room.
    pub(crate) fn refill_time(&self, ahead: &CallCost, cost: &CallCost, now: Instant) -> Option<Duration> {
        let quotas = self.quotas.iter().enumerate().filter(|(index, quota)| {
            let room = quota.room(now).saturating_add(self.leases.left(*index, now));
            ahead.of(quota.unit).saturating_add(cost.of(quota.unit)) > room
        });
        quotas.map(|(_, quota)| quota.time_for(cost.of(quota.unit))).max()
    }

    /// How long the slowest quota takes to refill `cost`.
    pub(crate) fn slowest_refill(&self, cost: &CallCost) -> Duration {
        self.quotas.iter().map(|quota| quota.time_for(cost.of(quota.unit))).max().unwrap_or_default()
    }

    /// Spends the cost of a call from the leases, in which it has room.
    pub(crate) fn spend(&mut self, cost: &CallCost, now: Instant) {
        self.demand.record_admission(cost);
        for (index, quota) in self.quotas.iter().enumerate() {
            self.leases.spend(index, cost.of(quota.unit), now);
        }
        self.leases.drop_used_up();
    }

    /// Notes a call that the local share has admitted.
    pub(crate) fn spend_locally(&mut self, cost: &CallCost) {
        self.demand.record_admission(cost);
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
    pub(crate) fn settle(&mut self, reserved: &Reserved, used: &CallCost) {
        if self.is_local() {
            return self.settle_locally(&reserved.cost, used);
        }
        for quota in &mut self.quotas {
            let (before, after) = (reserved.cost.of(quota.unit), used.of(quota.unit));
            quota.give_back(before.saturating_sub(after), reserved.at);
            quota.charged = quota.charged.saturating_add(after.saturating_sub(before));
        }
    }

    /// Records that a call has arrived or ended. A store that cannot be reached is tried again after that.
    pub(super) fn record_use(&mut self) {
        self.outage.record_use();
    }

    /// Whether [`next_step`](Self::next_step) is more than to wait for something that is known.
    pub(crate) fn is_due(&self, waiting: &WaitingCalls, now: Instant) -> bool {
        match self.outage.retry_at() {
            Some(retry_at) => now >= retry_at,
            None => {
                let wakes_late = |report| self.wakes_at.is_some_and(|at| report < at);
                self.demand.wanted(waiting, self.holdings(), now).is_some()
                    || self.next_report().is_some_and(wakes_late)
            }
        }
    }

    /// What to do next. `local_debt` is what the local share of each quota lacks while the store is
    /// unavailable.
    pub(crate) fn next_step(
        &mut self,
        waiting: &WaitingCalls,
        local_debt: impl Fn(usize) -> u64,
        now: Instant,
    ) -> ExchangeStep {
        self.expire(now);
        if let Some(retry_at) = self.outage.retry_at() {
            return self.next_step_in_outage(retry_at, waiting, now);
        }
        if let Some(amounts) = self.demand.wanted(waiting, self.holdings(), now) {
            self.demand.set_ahead(waiting.all.calls == 0);
            return self.request_step(amounts, local_debt, now);
        }
        if self.is_report_due(now) {
            return self.request_step(vec![0; self.quotas.len()], local_debt, now);
        }
        self.sleep_step(waiting, now)
    }

    /// Tries the store again at `retry_at`, if there was a call since the previous try or one waits.
    fn next_step_in_outage(
        &mut self,
        retry_at: Instant,
        waiting: &WaitingCalls,
        now: Instant,
    ) -> ExchangeStep {
        if now < retry_at {
            return ExchangeStep::SleepUntil(retry_at);
        }
        if !self.outage.take_use() && waiting.all.calls == 0 {
            return ExchangeStep::Idle;
        }
        ExchangeStep::Request(self.empty_request(now))
    }

    /// Requests these amounts, with a report of all quotas.
    fn request_step(
        &mut self,
        amounts: Vec<u64>,
        local_debt: impl Fn(usize) -> u64,
        now: Instant,
    ) -> ExchangeStep {
        self.wakes_at = None;
        self.demand.on_request(self.settings.leases, self.lease, now);
        let quotas = self.quotas.iter_mut().zip(amounts).enumerate();
        let quotas = quotas.map(|(index, (quota, amount))| quota.request(amount, local_debt(index), now));
        ExchangeStep::Request(LeaseRequest {
            quotas: quotas.collect(),
            horizon: self.max_wait,
            outage: self.outage.length(),
        })
    }

    /// Sleeps until something is known to be due, if it is.
    fn sleep_step(&mut self, waiting: &WaitingCalls, now: Instant) -> ExchangeStep {
        let retry = self.demand.next_request(now).filter(|_| waiting.all.calls > 0);
        let next = [self.next_report(), self.leases.next_change(now), retry].into_iter().flatten().min();
        self.wakes_at = next;
        next.map_or(ExchangeStep::Idle, ExchangeStep::SleepUntil)
    }

    /// A request by which an unavailable store is tried.
    fn empty_request(&self, now: Instant) -> LeaseRequest {
        let quotas = self.quotas.iter().map(|quota| quota.empty_request(now)).collect();
        LeaseRequest { quotas, horizon: self.max_wait, outage: Duration::ZERO }
    }

    /// Returns what is left of leases that have expired.
    fn expire(&mut self, now: Instant) {
        while let Some(lease) = self.leases.next_expired(now) {
            if !lease.is_used_up() {
                self.demand.on_unused();
                self.give_back(lease);
            }
        }
    }

    fn give_back(&mut self, lease: Lease) {
        for (quota, left) in self.quotas.iter_mut().zip(lease.left) {
            quota.give_back(left, lease.taken);
        }
    }

    fn holdings(&self) -> Holdings<'_> {
        let Self { quotas, leases, lease, .. } = self;
        Holdings { quotas, leases, lease: *lease, processes: self.processes() }
    }

    /// When what is not reported is.
    fn next_report(&self) -> Option<Instant> {
        let since = self.quotas.iter().filter_map(SharedQuota::unreported_since).min()?;
        Some(clock::after(self.lease + self.lease / 2, since))
    }

    /// Whether what is not reported is to be reported now; after an outage at once.
    fn is_report_due(&self, now: Instant) -> bool {
        self.next_report().is_some_and(|at| at <= now || !self.outage.length().is_zero())
    }

    /// Applies the reply to a request that was sent at `sent`.
    pub(crate) fn on_grant(
        &mut self,
        request: &LeaseRequest,
        grant: &LeaseGrant,
        sent: Instant,
        now: Instant,
    ) {
        if !self.outage.on_reply(now) {
            self.quotas.iter_mut().for_each(|quota| quota.spent_alone = 0);
        } else if self.quotas.iter().all(|quota| quota.spent_alone == 0) {
            self.outage.forget();
        }
        self.processes = Some(grant.processes);
        self.seen_processes.record(grant.processes, now);
        for ((quota, requested), debt) in self.quotas.iter_mut().zip(&request.quotas).zip(&grant.debts) {
            quota.charged = quota.charged.saturating_sub(requested.charged);
            quota.record_debt(*debt, now);
        }
        let amounts: Vec<u64> = request.quotas.iter().map(|quota| quota.amount).collect();
        if amounts.iter().all(|amount| *amount == 0) {
            return;
        }
        // What refills after that is not held back, and part of such a lease has refilled: it is neither used
        // nor returned.
        let is_late = now.saturating_duration_since(sent) > self.held_back.max(self.settings.timeout);
        if grant.is_granted && !is_late {
            self.leases.push(Lease::new(amounts, grant.wait, self.lease, sent, now));
        }
        self.demand.on_reply(grant.is_granted, grant.wait, now);
    }

    /// The store could not be reached.
    pub(crate) fn on_unavailable(&mut self, now: Instant) {
        self.outage.on_unavailable(now);
        self.seen_processes.record_unavailable();
        self.demand.forget_full();
        for lease in self.leases.take() {
            self.give_back(lease);
        }
    }

    /// The bucket of the quota at `index` holds one unit at least.
    pub(crate) fn fill_to_one(&mut self, index: usize, now: Instant) {
        self.quotas[index].fill_to_one(now);
    }

    /// The store may have room earlier than it had: what is reserved for later is returned.
    pub(crate) fn return_later(&mut self, now: Instant) {
        while let Some(lease) = self.leases.take_later(now) {
            self.give_back(lease);
        }
        self.demand.forget_full();
    }

    /// The bucket of the local share of each quota, spent as far as is known.
    pub(crate) fn local_share(&self, index: usize, now: Instant) -> Bucket {
        let quota = &self.quotas[index];
        let (rate, burst) = quota.share(self.processes());
        let mut bucket = Bucket::new(rate, now);
        bucket.set_spent(quota.spent_share(self.processes(), now).min(burst), now);
        bucket
    }

    /// The unit, the content and the capacity of a quota, as far as is known: the leases, and the room in the
    /// store.
    pub(crate) fn bucket(&self, index: usize, now: Instant) -> (LimitUnit, u64, u64) {
        let quota = &self.quotas[index];
        let left = quota.room(now).saturating_add(self.leases.left(index, now));
        // A full bucket is one that nothing is held back of.
        let left = if quota.is_full(now) { quota.capacity() } else { left.min(quota.capacity()) };
        (quota.unit, left, quota.capacity())
    }

    /// The unit and the capacity of each quota.
    pub(crate) fn capacities(&self) -> impl Iterator<Item = (LimitUnit, u64)> {
        self.quotas.iter().map(|quota| (quota.unit, quota.capacity()))
    }

    /// The part of a quota that is left, from 0 to 1.
    pub(crate) fn part_left(&self, index: usize, now: Instant) -> f32 {
        let (_, left, capacity) = self.bucket(index, now);
        (left as f64 / (capacity as f64).max(1.0)) as f32
    }

    /// Whether nothing is leased, and nothing is to be reported.
    pub(crate) fn is_pristine(&self) -> bool {
        let is_reported = self.quotas.iter().all(|quota| quota.unreported_since().is_none());
        self.leases.is_empty() && is_reported
    }

    /// The quota at `index`, without an amount.
    pub(crate) fn quota(&self, index: usize, now: Instant) -> QuotaRequest {
        self.quotas[index].empty_request(now)
    }
}
