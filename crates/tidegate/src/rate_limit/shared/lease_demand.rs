use std::time::{Duration, Instant};

use super::held_leases::HeldLeases;
use super::shared_quota::SharedQuota;
use crate::clock;
use crate::rate_limit::cost::CallCost;

/// The calls that wait: the cost of all and that of the first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WaitingCalls {
    pub(crate) all: CallCost,
    pub(crate) first: CallCost,
}

/// The amounts that this process requests from the store, and when.
#[derive(Clone, Debug)]
pub(super) struct LeaseDemand {
    /// The store had no room within the longest wait: the time at which it will have, and the time until
    /// which no request is sent because of that.
    full_until: Option<(Instant, Instant)>,
    /// The number of calls that the next lease ahead of need is for.
    calls_ahead: u64,
    /// The latest request is for a lease ahead of need.
    is_ahead: bool,
    /// The store refused a lease for several calls that wait: the next one is for the first alone.
    requests_first: bool,
    last_request: Option<Instant>,
    /// The cost of the latest call, for which leases ahead of need are taken.
    last_cost: CallCost,
    /// A call was admitted since the last request.
    has_admitted: bool,
}

/// The leases and quotas of this process, as of the latest reply of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holdings<'a> {
    pub(super) quotas: &'a [SharedQuota],
    pub(super) leases: &'a HeldLeases,
    /// How long a lease may be used.
    pub(super) lease: Duration,
    pub(super) processes: u32,
}

/// The longest time without a request after the store had no room. Other processes may return unused amounts
/// earlier than the store expects room.
const FULL_FOR: Duration = Duration::from_millis(250);

/// The most calls that a lease ahead of need is for.
const MAX_CALLS_AHEAD: u64 = 65_536;

impl LeaseDemand {
    pub(super) fn new() -> Self {
        Self {
            full_until: None,
            calls_ahead: 0,
            is_ahead: false,
            requests_first: false,
            last_request: None,
            last_cost: CallCost::ONE_CALL,
            has_admitted: false,
        }
    }

    pub(super) fn record_admission(&mut self, cost: &CallCost) {
        (self.last_cost, self.has_admitted) = (*cost, true);
    }

    /// The time at which the store will have room, if it has none.
    pub(super) fn full_until(&self, now: Instant) -> Option<Instant> {
        self.full_until.filter(|(_, until)| now < *until).map(|(at, _)| at)
    }

    /// The time of the next request to a store that has no room.
    pub(super) fn next_request(&self, now: Instant) -> Option<Instant> {
        self.full_until.map(|(_, until)| until).filter(|at| *at > now)
    }

    /// Records a request. Leases become larger while they are used up long before they expire.
    pub(super) fn on_request(&mut self, takes_ahead: bool, lease: Duration, now: Instant) {
        let is_soon = self.last_request.is_some_and(|last| now.saturating_duration_since(last) < lease / 2);
        if takes_ahead && is_soon && self.has_admitted {
            self.calls_ahead = (self.calls_ahead * 2).clamp(1, MAX_CALLS_AHEAD);
        }
        self.last_request = Some(now);
        self.has_admitted = false;
    }

    /// The amounts to request: those that waiting calls lack, else those of a lease ahead of need.
    pub(super) fn wanted(
        &self,
        waiting: &WaitingCalls,
        holdings: Holdings<'_>,
        now: Instant,
    ) -> Option<Vec<u64>> {
        let Holdings { quotas, leases, .. } = holdings;
        // One lease at a time is reserved for later, so that processes take turns.
        if self.full_until(now).is_some() || leases.has_later(now) {
            return None;
        }
        let left: Vec<u64> = (0..quotas.len()).map(|index| leases.left(index, now)).collect();
        let lacks = |cost: &CallCost| -> Vec<u64> {
            quotas.iter().zip(&left).map(|(quota, left)| cost.of(quota.unit).saturating_sub(*left)).collect()
        };
        let missing = lacks(&waiting.all);
        if missing.iter().any(|missing| *missing > 0) {
            // What is left may expire before the next lease begins, so that the first call is requested whole.
            let is_lacking = lacks(&waiting.first).iter().any(|lack| *lack > 0);
            let first = quotas.iter().map(|quota| if is_lacking { waiting.first.of(quota.unit) } else { 0 });
            if self.requests_first {
                return is_lacking.then(|| first.collect());
            }
            let part = holdings.within_slices(&missing, now);
            return Some(part.into_iter().zip(first).map(|(part, first)| part.max(first)).collect());
        }
        if self.calls_ahead == 0 || waiting.all.calls > 0 || !self.has_admitted {
            return None;
        }
        let ahead: Vec<u64> = quotas
            .iter()
            .map(|quota| self.last_cost.of(quota.unit).saturating_mul(self.calls_ahead))
            .collect();
        let ahead = holdings.within_slices(&ahead, now);
        let is_half_used = left.iter().zip(&ahead).any(|(left, ahead)| *left < ahead.div_ceil(2));
        (is_half_used && ahead.iter().any(|amount| *amount > 0)).then_some(ahead)
    }

    /// Records whether the next request is for a lease ahead of need.
    pub(super) fn set_ahead(&mut self, is_ahead: bool) {
        self.is_ahead = is_ahead;
    }

    /// A lease expired with something left.
    pub(super) fn on_unused(&mut self) {
        self.calls_ahead /= 2;
    }

    /// Records the reply of the store: the amounts are granted, or it has room for them after `wait`.
    pub(super) fn on_reply(&mut self, is_granted: bool, wait: Duration, now: Instant) {
        if is_granted {
            (self.full_until, self.requests_first) = (None, false);
        } else if self.is_ahead {
            self.calls_ahead = 0;
        } else if self.requests_first {
            let full = clock::after(wait, now);
            self.full_until = Some((full, clock::after(wait.min(FULL_FOR), now)));
            self.requests_first = false;
        } else {
            self.requests_first = true;
        }
    }

    /// Whether the store has room is not known.
    pub(super) fn forget_full(&mut self) {
        self.full_until = None;
    }
}

impl Holdings<'_> {
    /// The same part of all amounts, so that none is more than a slice of its quota: what refills in half of
    /// a lease, or an eighth of the share of this process in what is left; at most what the bucket holds,
    /// which would admit more at once.
    fn within_slices(&self, amounts: &[u64], now: Instant) -> Vec<u64> {
        let part =
            self.quotas.iter().zip(amounts).filter(|(_, amount)| **amount > 0).map(|(quota, amount)| {
                let share = quota.room(now) / u64::from(self.processes) / 8;
                let slice = quota.refilled_in(self.lease / 2).max(share).min(quota.burst);
                slice as f64 / *amount as f64
            });
        let part = part.fold(1.0, f64::min);
        amounts.iter().map(|amount| (*amount as f64 * part) as u64).collect()
    }
}
