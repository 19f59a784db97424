use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::clock;

/// An amount of every shared quota that this process may spend within some time.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// What is left, for each quota.
    pub(super) left: Vec<u64>,
    /// When the reply with it arrived. What is returned must not be older than the lease is in the store.
    pub(super) taken: Instant,
    pub(super) begins: Instant,
    pub(super) expires: Instant,
}

/// The leases that this process may spend from, in the order in which they begin.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldLeases(VecDeque<Lease>);

/// A lease that arrives late can be used for as long: the calls that wait for it have to be woken.
const MIN_USE: Duration = Duration::from_millis(5);

impl Lease {
    /// A lease that was requested at `sent`, and that begins after `wait` from `now`. The store took it at
    /// some time in between, so that its end is counted from the request, and its begin from the reply.
    pub(super) fn new(left: Vec<u64>, wait: Duration, length: Duration, sent: Instant, now: Instant) -> Self {
        let begins = clock::after(wait, now);
        let expires = clock::after(wait.saturating_add(length), sent);
        Self { left, taken: now, begins, expires: expires.max(clock::after(MIN_USE, begins)) }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.left.iter().all(|left| *left == 0)
    }
}

impl HeldLeases {
    pub(super) fn push(&mut self, lease: Lease) {
        self.0.push_back(lease);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of a quota in all leases.
    pub(super) fn left(&self, index: usize, now: Instant) -> u64 {
        let live = self.0.iter().filter(|lease| now < lease.expires);
        live.map(|lease| lease.left[index]).fold(0, u64::saturating_add)
    }

    /// What is left of the first quota, in leases that have expired as well.
    pub(super) fn first_left(&self) -> u64 {
        self.0.iter().map(|lease| lease.left.first().copied().unwrap_or_default()).sum()
    }

    /// Reduces the amounts that are lacking by what is left. Returns when the last lease that this takes
    /// begins.
    pub(super) fn cover(&self, lacks: &mut [u64], now: Instant) -> Instant {
        let mut begins = now;
        for lease in self.0.iter().filter(|lease| now < lease.expires) {
            if lacks.iter().all(|lack| *lack == 0) {
                break;
            }
            begins = begins.max(lease.begins);
            lacks.iter_mut().zip(&lease.left).for_each(|(lack, left)| *lack = lack.saturating_sub(*left));
        }
        begins
    }

    /// Spends an amount of a quota.
    pub(super) fn spend(&mut self, index: usize, mut amount: u64, now: Instant) {
        for lease in self.0.iter_mut().filter(|lease| lease.begins <= now && now < lease.expires) {
            let part = amount.min(lease.left[index]);
            lease.left[index] -= part;
            amount -= part;
        }
    }

    /// Removes leases of which nothing is left.
    pub(super) fn drop_used_up(&mut self) {
        while self.0.front().is_some_and(Lease::is_used_up) {
            self.0.pop_front();
        }
    }

    /// Removes the next lease that has expired, if there is one.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<Lease> {
        self.0.front().is_some_and(|lease| lease.expires <= now).then(|| self.0.pop_front()).flatten()
    }

    /// Removes all.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Lease> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }

    /// Removes the last lease if it is reserved for later.
    pub(super) fn take_later(&mut self, now: Instant) -> Option<Lease> {
        self.0.back().is_some_and(|lease| lease.begins > now).then(|| self.0.pop_back()).flatten()
    }

    /// Whether a lease is reserved for later.
    pub(super) fn has_later(&self, now: Instant) -> bool {
        self.0.iter().any(|lease| lease.begins > now)
    }

    /// When the next lease begins or expires.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        self.0.iter().map(|lease| if lease.begins > now { lease.begins } else { lease.expires }).min()
    }
}
