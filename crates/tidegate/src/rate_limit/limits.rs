//! What there is room for, as plain data.

use std::time::{Duration, Instant};

use super::layer::Settings;
use crate::bucket::{Bucket, Rate};

/// All quotas of one gate, and the moment until which the provider closed it.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    buckets: Vec<Bucket>,
    /// Whether the finest bucket is fine enough to set the pace after the gate was closed.
    sets_pace: bool,
    closed_until: Option<Instant>,
}

/// A bucket of a longer period says how much there is, not how fast it may come: a pause of a second must not
/// cost the rest of the day.
const LONGEST_PACE: Duration = Duration::from_secs(60);

impl Limits {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        let finest = settings.quotas.first().map(|quota| quota.period);
        let rate = |quota: &super::layer::Quota| {
            let burst = settings.burst.filter(|_| Some(quota.period) == finest).unwrap_or(quota.requests);
            Rate::new(quota.requests, quota.period, burst)
        };
        let buckets = settings.quotas.iter().map(|quota| Bucket::new(rate(quota), now)).collect();
        Self { buckets, sets_pace: finest.is_some_and(|period| period <= LONGEST_PACE), closed_until: None }
    }

    /// Spends one request of every quota, or of none and says how long until all have one.
    pub(super) fn spend(&mut self, now: Instant) -> Result<(), Duration> {
        match self.wait(0, now) {
            Duration::ZERO => {
                self.closed_until = None;
                for bucket in &mut self.buckets {
                    bucket.spend(now)?;
                }
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long until there is room for a call with `ahead` others before it.
    pub(super) fn wait(&self, ahead: u32, now: Instant) -> Duration {
        let closed = self.closed_for(now).unwrap_or_default();
        self.buckets.iter().map(|bucket| bucket.wait(ahead, now)).fold(closed, Duration::max)
    }

    /// Gives back a request that was spent at `spent` and never reached the wire.
    pub(super) fn refund(&mut self, spent: Instant, now: Instant) {
        // What was there when the gate was closed is gone with the rest.
        if self.closed_until.is_none() {
            self.buckets.iter_mut().for_each(|bucket| bucket.refund(spent, now));
        }
    }

    /// Lets nobody through before `until`. Of several such moments the latest holds. Then the finest quota opens
    /// with one request and refills from there.
    pub(super) fn close(&mut self, until: Instant) {
        self.closed_until = self.closed_until.max(Some(until));
        if let Some(finest) = self.buckets.first_mut().filter(|_| self.sets_pace) {
            finest.drain_until(until);
        }
    }

    /// How much longer the provider wants to be left alone.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        self.closed_until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// How many requests could be sent now; `None` if no quota says.
    pub(super) fn remaining(&self, now: Instant) -> Option<u32> {
        match self.closed_for(now) {
            Some(_) => Some(0),
            None => self.buckets.iter().map(|bucket| bucket.remaining(now)).min(),
        }
    }
}
