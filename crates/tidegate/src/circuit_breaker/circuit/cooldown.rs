use std::time::{Duration, Instant};

use crate::circuit_breaker::settings::Settings;
use crate::durations::scaled;

/// Computes how long a circuit stays open. The cooldown may grow each time that the circuit opens again.
///
/// The circuit opens again if it opens from half-open, or before it has been closed for as long as it was
/// open: a provider that passes one probe and then fails as before has not recovered. Envoy does the same:
/// its outlier detection reduces the growth only while a host behaves.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    /// The number of openings in a row.
    consecutive_openings: u32,
    /// The latest cooldown, before jitter and without the wait that the provider sent.
    last_base: Duration,
    closed_at: Option<Instant>,
}

impl Cooldown {
    /// How long the circuit stays open from now. `random` is from 0 to 1.
    ///
    /// Jitter is added on top of the cap as well: clients that fail together must not all come back at once.
    pub(super) fn next_cooldown(&mut self, settings: &Settings, now: Instant, random: f64) -> Duration {
        if self.has_decayed(now) {
            self.consecutive_openings = 0;
        }
        let growth =
            settings.cooldown_growth.powi(i32::try_from(self.consecutive_openings).unwrap_or(i32::MAX));
        self.record_opening(scaled(settings.cooldown, growth).min(settings.longest_cooldown()));
        jittered(self.last_base, settings, random)
    }

    /// Another process has opened the circuit for `wait`, which counts as an opening of this one.
    pub(super) fn on_opening_elsewhere(&mut self, wait: Duration, settings: &Settings, now: Instant) {
        if self.has_decayed(now) {
            self.consecutive_openings = 0;
        }
        self.record_opening(wait.clamp(settings.cooldown, settings.longest_cooldown()));
    }

    fn record_opening(&mut self, base: Duration) {
        self.last_base = base;
        self.consecutive_openings = self.consecutive_openings.saturating_add(1);
        self.closed_at = None;
    }

    /// The circuit opens for a reason that carries no information about the provider's health. This open time
    /// does not count as a healthy time.
    pub(super) fn on_quota_opening(&mut self, now: Instant) {
        if !self.has_decayed(now) {
            self.closed_at = None;
        }
    }

    /// The circuit closes.
    pub(super) fn on_close(&mut self, now: Instant) {
        self.closed_at = Some(now);
    }

    /// Whether the circuit has been closed for so long that the next cooldown starts without growth.
    pub(super) fn has_decayed(&self, now: Instant) -> bool {
        self.consecutive_openings == 0
            || self
                .closed_at
                .is_some_and(|closed_at| now.saturating_duration_since(closed_at) >= self.last_base)
    }
}

/// Adds a random part of `wait` to it, up to the configured share.
pub(super) fn jittered(wait: Duration, settings: &Settings, random: f64) -> Duration {
    match settings.cooldown_jitter * random {
        more if more > 0.0 => wait.saturating_add(scaled(wait, more)),
        _ => wait,
    }
}
