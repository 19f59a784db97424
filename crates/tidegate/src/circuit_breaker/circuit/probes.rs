use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::clock;

/// The probes of a half-open circuit.
#[derive(Debug, Default)]
pub(super) struct Probes {
    in_flight: Vec<Probe>,
    started: u64,
    /// The number of successful probes.
    pub(super) successes: u32,
}

#[derive(Debug)]
struct Probe {
    number: NonZeroU64,
    lease_ends: Instant,
}

impl Probes {
    /// How long until the lease of one probe ends, if `max` probes are in flight. A probe with an
    /// expired lease is not waited for.
    pub(super) fn full_for(&self, max: u32, now: Instant) -> Option<Duration> {
        let live = self.in_flight.iter().filter(|probe| now < probe.lease_ends);
        let soonest = live.clone().map(|probe| probe.lease_ends - now).min();
        soonest.filter(|_| live.count() >= max as usize)
    }

    /// Starts a probe and returns its number.
    pub(super) fn start(&mut self, lease: Duration, now: Instant) -> NonZeroU64 {
        self.in_flight.retain(|probe| now < probe.lease_ends);
        let number = NonZeroU64::MIN.saturating_add(self.started);
        self.started += 1;
        self.in_flight.push(Probe { number, lease_ends: clock::after(lease, now) });
        number
    }

    /// Ends a probe. Returns the end of its lease, if it still held its slot.
    pub(super) fn complete(&mut self, number: NonZeroU64) -> Option<Instant> {
        let at = self.in_flight.iter().position(|probe| probe.number == number)?;
        Some(self.in_flight.swap_remove(at).lease_ends)
    }

    /// How many probes are in flight, including those with an expired lease.
    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }
}
