//! The quotas of a gate as plain data: a cost and a `now` in, a reservation or a wait out.

mod apply_report;
mod reopen_ramp;
mod reported_quotas;

use std::mem;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::reopen_ramp::ReopenRamp;

use self::reported_quotas::ReportedQuotas;
use super::cost::{CallCost, Reserved};
use super::queue::UsedCredit;
use super::quota::QuotaCounter;
use super::quota::{MINUTE, Quota};
use super::shared::{ExchangeStep, GateChange, SharedQuotas, WaitingCalls};
use crate::store::{LeaseGrant, LeaseRequest, QuotaRequest, SeenProcesses, SharedCooldown};
use crate::{LimitUnit, store};

/// All quotas of one gate, and the time until which the provider closed it.
#[derive(Clone, Debug)]
pub(super) struct QuotaSet {
    /// The configured quotas, shortest period first.
    pub(super) configured: Vec<QuotaCounter>,
    /// The index of the request quota that paces calls after the gate was closed, if one has a short enough
    /// period.
    pacing_quota: Option<usize>,
    reported: ReportedQuotas,
    closed_until: Option<Instant>,
    /// When the gate was closed for the last time.
    closed_at: Option<Instant>,
    /// This process closed the gate, and the store has not replied to that.
    pub(super) has_unshared_closing: bool,
    /// A closing time that was requested from the store before this time may have been taken back.
    opened_until: Option<Instant>,
    /// When a reset opened the gate, if the store has not replied to that.
    unshared_opening: Option<Instant>,
    ramp: Option<ReopenRamp>,
    /// The total cost reserved since the start.
    total_spent: CallCost,
    /// The configured quotas as they are shared with other processes. While the store is available it decides
    /// in their place; else they hold the share of this process.
    shared: Option<Box<SharedQuotas>>,
}

/// The room that a call lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortfall {
    pub(super) wait: Duration,
    /// The quota with the longest wait; `None` if the provider closed the gate.
    pub(super) quota: Option<&'static str>,
    /// The wait is the time in which the store of a shared quota replies. There may be room at once.
    pub(super) is_pending: bool,
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
            closed_at: None,
            has_unshared_closing: false,
            opened_until: None,
            unshared_opening: None,
            ramp: None,
            total_spent: CallCost::default(),
            shared: None,
        }
    }

    /// Shares the configured quotas with other processes.
    pub(super) fn share(
        &mut self,
        settings: &store::Settings,
        seen_processes: &Arc<SeenProcesses>,
        max_wait: Duration,
        now: Instant,
    ) {
        if !self.configured.is_empty() {
            let shared = SharedQuotas::new(&self.configured, settings, seen_processes, max_wait, now);
            self.shared = Some(Box::new(shared));
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
            let shortfall = |wait| Shortfall { wait, quota: Some(counter.quota.name()), is_pending: false };
            spent.map_err(shortfall)?;
        } else {
            let shortfall = self.shortfall(&CallCost::default(), cost, now);
            if !shortfall.wait.is_zero() {
                return Err(shortfall);
            }
            self.closed_until = None;
            self.ramp = self.ramp.and_then(|ramp| ramp.step(behind, now));
            for counter in self.reported.counters_mut() {
                counter.bucket.take(cost.of(counter.quota.unit), now);
            }
            match &mut self.shared {
                Some(shared) if !shared.is_local() => shared.spend(cost, now),
                shared => {
                    shared.iter_mut().for_each(|shared| shared.spend_locally(cost));
                    for counter in &mut self.configured {
                        counter.bucket.take(cost.of(counter.quota.unit), now);
                    }
                }
            }
        }
        self.total_spent.add(cost);
        Ok(Reserved { cost: *cost, at: now, total_spent: self.total_spent })
    }

    /// The number of calls of a credit: at most what is refilled in `time`, and this part of a full quota.
    /// `None` unless one quota, of requests, decides.
    pub(super) fn credit_size(&self, time: Duration, part_of_burst: u64) -> Option<u64> {
        match &*self.configured {
            [QuotaCounter { quota, bucket }]
                if quota.unit == LimitUnit::Requests && self.shared.is_none() =>
            {
                Some(bucket.refilled_in(time).min(bucket.capacity() / part_of_burst))
            }
            _ => None,
        }
    }

    /// Whether so many calls may be admitted before they are charged, and half of the quota is left beside
    /// them.
    pub(super) fn has_room_for_credits(&mut self, calls: u64, now: Instant) -> bool {
        self.only_counter().is_some_and(|counter| {
            let half = counter.bucket.capacity() / 2;
            calls <= half && counter.bucket.wait(half, calls, now).is_zero()
        })
    }

    /// Charges calls that were admitted on credit.
    pub(super) fn charge(&mut self, used: UsedCredit) {
        for counter in &mut self.configured {
            counter.bucket.take(used.calls, used.latest);
        }
        self.total_spent.calls += used.calls;
    }

    /// The counter that alone decides, as it does in most sets most of the time.
    fn only_counter(&mut self) -> Option<&mut QuotaCounter> {
        let is_open = self.closed_until.is_none()
            && self.ramp.is_none()
            && self.reported.is_empty()
            && self.shared.is_none();
        match &mut *self.configured {
            [counter] if is_open => Some(counter),
            _ => None,
        }
    }

    /// How long until there is room for a call of `cost` behind calls that cost `ahead`, and which
    /// quota lacks the room if the wait is not zero.
    pub(super) fn shortfall(&self, ahead: &CallCost, cost: &CallCost, now: Instant) -> Shortfall {
        let closed = self.closed_for(now).unwrap_or_default();
        let opens = self.ramp.map_or(closed, |ramp| closed.max(ramp.wait(now)));
        let mut shortfall = Shortfall { wait: opens, quota: None, is_pending: false };
        if let Some(leased) = self.leases().map(|leases| leases.shortfall(ahead, cost, now))
            && leased.wait > shortfall.wait
        {
            shortfall = leased;
        }
        for counter in self.deciding() {
            let unit = counter.quota.unit;
            let wait = counter.bucket.wait(ahead.of(unit), cost.of(unit), now);
            if wait > shortfall.wait {
                shortfall = Shortfall { wait, quota: Some(counter.quota.name()), is_pending: false };
            }
        }
        shortfall
    }

    /// How long the quotas that have no room for a call of `cost` behind calls that cost `ahead` take to
    /// refill the cost, the slowest of them. If all have room, as while the provider keeps the gate closed:
    /// the slowest of all.
    pub(super) fn refill_time(&self, ahead: &CallCost, cost: &CallCost, now: Instant) -> Duration {
        let lacks_room = |counter: &&QuotaCounter| {
            let unit = counter.quota.unit;
            !counter.bucket.wait(ahead.of(unit), cost.of(unit), now).is_zero()
        };
        let refill = |counter: &QuotaCounter| counter.bucket.time_to_refill(cost.of(counter.quota.unit));
        let leases = self.leases();
        let short = self.deciding().filter(lacks_room).map(refill);
        let short = short.chain(leases.and_then(|leases| leases.refill_time(ahead, cost, now))).max();
        let slowest =
            || self.deciding().map(refill).chain(leases.map(|leases| leases.slowest_refill(cost))).max();
        short.or_else(slowest).unwrap_or_default()
    }

    /// The cost that is reserved: of the output, which only few calls use whole, at most a full quota.
    /// Otherwise one call that is cut off, with an unknown use, would close a limit for as long as the
    /// caller's `max_tokens` takes to refill. What is used beyond the reservation is charged when it is
    /// known.
    pub(super) fn bounded(&self, cost: CallCost) -> CallCost {
        let of = |counter: &QuotaCounter| (counter.quota.unit, counter.bucket.capacity());
        let shared = self.leases().into_iter().flat_map(SharedQuotas::capacities);
        let capacities = self.deciding().map(of).chain(shared);
        let of_output =
            capacities.filter(|(unit, _)| matches!(unit, LimitUnit::Tokens | LimitUnit::OutputTokens));
        let output = of_output.map(|(_, capacity)| capacity).fold(cost.output, u64::min);
        CallCost { output, ..cost }
    }

    /// Replaces what a call reserved by what it used. A reported quota gets unused cost back only if no
    /// report has come with this call or a later one, since a report shows how the provider counted it. Cost
    /// above the reservation is charged to all.
    pub(super) fn settle(&mut self, reserved: &Reserved, used: &CallCost, now: Instant) {
        self.settle_shared(reserved, used);
        let is_local = self.leases().is_none();
        let configured = self.configured.iter_mut().filter(|_| is_local).map(|counter| (counter, true));
        let latest_call = self.reported.latest_call;
        let is_reported = |unit| latest_call[unit as usize] >= reserved.total_spent.calls;
        let reported = self.reported.counters_mut().map(|counter| {
            let is_refunded = !is_reported(counter.quota.unit);
            (counter, is_refunded)
        });
        for (counter, is_refunded) in configured.chain(reported) {
            let unit = counter.quota.unit;
            let (before, after) = (reserved.cost.of(unit), used.of(unit));
            if after > before {
                counter.bucket.take(after - before, now);
            } else if is_refunded {
                counter.bucket.refund(before - after, reserved.at, now);
            }
        }
    }

    /// Whether a call of this cost would be admitted at once.
    pub(super) fn has_room(&self, cost: &CallCost, now: Instant) -> bool {
        let shortfall = self.shortfall(&CallCost::default(), cost, now);
        shortfall.wait.is_zero() && !shortfall.is_pending
    }

    /// Returns the whole reservation of a call that never reached the wire.
    pub(super) fn refund(&mut self, reserved: &Reserved, now: Instant) {
        self.settle_shared(reserved, &CallCost::default());
        let is_local = self.leases().is_none();
        let configured = self.configured.iter_mut().filter(|_| is_local);
        for counter in configured.chain(self.reported.counters_mut()) {
            counter.bucket.refund(reserved.cost.of(counter.quota.unit), reserved.at, now);
        }
    }

    /// The shared quotas, while they decide in place of the configured ones.
    #[inline]
    fn leases(&self) -> Option<&SharedQuotas> {
        self.shared.as_deref().filter(|shared| !shared.is_local())
    }

    /// The counters that decide: the configured ones, unless there are [leases](Self::leases), and the
    /// reported ones.
    #[inline]
    fn deciding(&self) -> impl Iterator<Item = &QuotaCounter> {
        let configured = if self.leases().is_some() { &[][..] } else { &self.configured };
        configured.iter().chain(self.reported.counters())
    }

    fn settle_shared(&mut self, reserved: &Reserved, used: &CallCost) {
        if let Some(shared) = &mut self.shared {
            shared.settle(reserved, used);
        }
    }

    /// Closes the gate until `until`, or until the current closing time if that is later. After that calls
    /// pass one by one, as the later of `ramp` and the current ramp allows. The request quota with the
    /// shortest period then holds one request and refills from there. Returns whether `until` is the later
    /// time.
    pub(super) fn close(&mut self, until: Instant, ramp: ReopenRamp, now: Instant) -> bool {
        if self.closed_until.is_some_and(|closed| closed >= until) {
            return false;
        }
        (self.closed_until, self.closed_at, self.unshared_opening) = (Some(until), Some(now), None);
        self.ramp = Some(self.ramp.map_or(ramp, |current| current.later(ramp)));
        if let Some(pacing_quota) = self.pacing_quota {
            self.configured[pacing_quota].bucket.drain_until(1, until, now);
        }
        true
    }

    /// Opens the gate before its time. The quota that was drained until then holds one request, and a lease
    /// that begins later is requested again.
    pub(super) fn open(&mut self, now: Instant) {
        let rest = self.closed_for(now).unwrap_or_default();
        (self.closed_until, self.opened_until, self.ramp) = (None, Some(now), None);
        self.has_unshared_closing = false;
        if let Some(pacing_quota) = self.pacing_quota.filter(|_| !rest.is_zero()) {
            self.configured[pacing_quota].bucket.fill_to(1, now);
        }
        self.forget_drained(now);
    }

    /// What the store had drained of a quota until the gate opens is out of date.
    fn forget_drained(&mut self, now: Instant) {
        let Some(shared) = &mut self.shared else { return };
        shared.return_later(now);
        if let Some(index) = self.pacing_quota {
            shared.fill_to_one(index, now);
        }
    }

    /// As [`open`](Self::open), for all processes. Until the store has replied, no closing time of another one
    /// closes the gate.
    pub(super) fn open_for_all(&mut self, now: Instant) {
        self.open(now);
        self.unshared_opening = Some(now);
    }

    /// The store has replied to the opening at `opened`. What was requested from it before may be older.
    pub(super) fn on_opening_shared(&mut self, opened: Instant, now: Instant) {
        if self.unshared_opening.take_if(|unshared| *unshared == opened).is_some() {
            self.opened_until = Some(now);
            self.forget_drained(now);
        }
    }

    /// The store has replied to the closing at `closed`. Returns whether the gate was not closed again since.
    pub(super) fn on_closing_shared(&mut self, closed: Option<Instant>) -> bool {
        let is_latest = self.closed_at == closed;
        self.has_unshared_closing &= !is_latest;
        is_latest
    }

    pub(super) fn has_unshared_opening(&self) -> bool {
        self.unshared_opening.is_some()
    }

    /// Whether a closing time that was requested from the store at `sent` may have been taken back since.
    pub(super) fn is_taken_back(&self, sent: Instant) -> bool {
        self.has_unshared_opening() || self.opened_until.is_some_and(|until| sent < until)
    }

    /// How much longer the provider keeps the gate closed.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        self.closed_until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// The least amount that can be spent now of the units that `counts` accepts, or `None` if no
    /// quota counts such a unit.
    pub(super) fn remaining(&self, counts: impl Fn(LimitUnit) -> bool, now: Instant) -> Option<u64> {
        let least = self.buckets(now).filter(|(unit, ..)| counts(*unit)).map(|(_, left, _)| left).min();
        match self.closed_for(now) {
            Some(_) => Some(0),
            None => least,
        }
    }

    /// The capacity of the quota with the least [remaining](Self::remaining).
    pub(super) fn capacity(&self, counts: impl Fn(LimitUnit) -> bool, now: Instant) -> Option<u64> {
        let counted = self.buckets(now).filter(|(unit, ..)| counts(*unit));
        counted.map(|(_, left, capacity)| (left, capacity)).min().map(|(_, capacity)| capacity)
    }

    /// The unit, the content and the capacity of each bucket: of all processes together, where the quotas are
    /// shared and the store is available.
    fn buckets(&self, now: Instant) -> impl Iterator<Item = (LimitUnit, u64, u64)> {
        let shared = self.shared.as_ref().filter(|shared| shared.is_available());
        let of = move |counter: &QuotaCounter| {
            (counter.quota.unit, counter.bucket.remaining(now), counter.bucket.capacity())
        };
        let configured = self.configured.iter().enumerate().map(move |(index, counter)| match shared {
            Some(shared) => shared.bucket(index, now),
            None => of(counter),
        });
        configured.chain(self.reported.counters().map(of))
    }

    /// The part that is left of the quota with the least, from 0 to 1; 1 without quotas.
    pub(super) fn part_left(&self, now: Instant) -> f32 {
        let shared = self.shared.as_ref().filter(|shared| shared.is_available());
        let part = |counter: &QuotaCounter| counter.bucket.part_left(now);
        let configured = self.configured.iter().enumerate();
        let configured = configured.map(|(index, counter)| match shared {
            Some(shared) => shared.part_left(index, now),
            None => part(counter),
        });
        configured.chain(self.reported.counters().map(part)).fold(1.0, f32::min)
    }

    /// How many calls certainly leave half of every quota: time only adds room. It is 0 if that depends on
    /// more than their number.
    pub(super) fn calls_to_half(&self, now: Instant) -> u32 {
        let is_closed = self.closed_for(now).is_some() || self.ramp.is_some();
        if is_closed || self.is_shared() || self.has_token_quota() {
            return 0;
        }
        let counters = self.configured.iter().chain(self.reported.counters());
        let above_half = |QuotaCounter { bucket, .. }: &QuotaCounter| {
            bucket.remaining(now).saturating_sub(bucket.capacity().div_ceil(2))
        };
        counters.map(above_half).min().map_or(u32::MAX, |calls| u32::try_from(calls).unwrap_or(u32::MAX))
    }

    /// Whether any quota counts tokens.
    pub(super) fn has_token_quota(&self) -> bool {
        self.configured.iter().chain(self.reported.counters()).any(|counter| counter.quota.unit.is_tokens())
    }

    /// Whether the set equals a new one: every bucket is full and no report or closing time is in
    /// effect.
    pub(super) fn is_pristine(&self, now: Instant) -> bool {
        // Reported quotas would have to be reported again.
        self.reported.counters().next().is_none()
            && self.configured.iter().all(|counter| counter.bucket.is_full(now))
            // A closed gate has a ramp.
            && self.ramp.is_none_or(|ramp| ramp.wait(now).is_zero())
            && self.shared.as_ref().is_none_or(|shared| shared.is_pristine())
    }

    /// Whether the configured quotas are shared with other processes.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// The quotas that are shared, if they are.
    pub(super) fn shared(&mut self) -> Option<&mut SharedQuotas> {
        self.shared.as_deref_mut()
    }

    /// What to do next for the quotas that are shared.
    pub(super) fn next_step(&mut self, waiting: &WaitingCalls, now: Instant) -> ExchangeStep {
        let Some(shared) = &mut self.shared else { return ExchangeStep::Idle };
        let local_debt = |index: usize| {
            let bucket = &self.configured[index].bucket;
            bucket.capacity().saturating_sub(bucket.remaining(now))
        };
        shared.next_step(waiting, local_debt, now)
    }

    /// Applies the reply of the store to a request that was sent at `sent`.
    pub(super) fn on_grant(
        &mut self,
        request: &LeaseRequest,
        grant: &LeaseGrant,
        sent: Instant,
        now: Instant,
    ) {
        if let Some(shared) = &mut self.shared {
            shared.on_grant(request, grant, sent, now);
        }
        // While the store has not replied to a reset, another request would get the same.
        if !self.has_unshared_opening() && self.is_taken_back(sent) {
            self.forget_drained(now);
        }
    }

    /// The store could not be reached. The first time, the local shares begin as the store was seen last.
    pub(super) fn on_unavailable(&mut self, now: Instant) {
        let Some(shared) = &mut self.shared else { return };
        let was_available = shared.is_available();
        shared.on_unavailable(now);
        if was_available {
            for (index, counter) in self.configured.iter_mut().enumerate() {
                counter.bucket = shared.local_share(index, now);
            }
        }
    }

    /// What to share with other processes: a reset, or that the gate is closed.
    pub(super) fn gate_change(&self, now: Instant) -> Option<GateChange> {
        let age = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let pacing = || self.shared_pacing_quota(now);
        if let Some(at) = self.unshared_opening {
            return Some(GateChange::Opened { at, age: age(Some(at)), pacing: pacing() });
        }
        let wait = self.closed_for(now)?;
        let cooldown = SharedCooldown { wait, age: age(self.closed_at), pacing: pacing() };
        Some(GateChange::Closed { at: self.closed_at, cooldown })
    }

    /// The quota that paces calls after the gate was closed, as it is shared.
    fn shared_pacing_quota(&self, now: Instant) -> Option<QuotaRequest> {
        self.shared.as_ref().zip(self.pacing_quota).map(|(shared, index)| shared.quota(index, now))
    }

    /// The configured quota of `unit` with the shortest period.
    pub(super) fn finest(&self, unit: LimitUnit) -> Option<Quota> {
        self.configured.iter().map(|configured| configured.quota).find(|quota| quota.unit == unit)
    }

    /// Whether a quota of this unit and period is configured.
    pub(super) fn is_configured(&self, unit: LimitUnit, period: Duration) -> bool {
        self.configured
            .iter()
            .any(|configured| configured.quota.unit == unit && configured.quota.period == period)
    }

    /// Resets the quotas and drops the reports. `total_spent` stays: it distinguishes calls in flight from
    /// later ones, as does the time at which the gate was opened. Shared quotas stay, and so do the local
    /// shares of them that decide while there is no store.
    pub(super) fn reset(&mut self, mut fresh: Self) {
        (fresh.total_spent, fresh.opened_until) = (self.total_spent, self.opened_until);
        fresh.unshared_opening = self.unshared_opening;
        if let shared @ Some(_) = self.shared.take() {
            (fresh.shared, fresh.configured) = (shared, mem::take(&mut self.configured));
        }
        *self = fresh;
    }

    /// Begins with the quotas of `before` that both have, as far as they are not shared, and with what the
    /// provider has reported if that is about the same account.
    pub(super) fn begin_as(&mut self, mut before: Self, has_same_account: bool, now: Instant) {
        if !has_same_account {
            before.open(now);
        }
        if self.shared.is_none() && before.shared.is_none() {
            for counter in &mut self.configured {
                let is_same = |it: &&QuotaCounter| {
                    it.quota == counter.quota && it.bucket.capacity() == counter.bucket.capacity()
                };
                if let Some(same) = before.configured.iter().find(is_same) {
                    counter.bucket = same.bucket.clone();
                }
            }
        }
        self.total_spent = before.total_spent;
        if has_same_account {
            self.reported = before.reported;
            (self.closed_until, self.closed_at, self.ramp) =
                (before.closed_until, before.closed_at, before.ramp);
        }
    }

    /// The total cost reserved since the start.
    pub(super) fn total_spent(&self) -> CallCost {
        self.total_spent
    }
}
