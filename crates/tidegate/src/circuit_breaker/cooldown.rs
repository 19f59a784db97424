use std::time::{Duration, Instant};

use super::settings::Settings;

/// How long a circuit stays open: longer each time that it opens again, if so set.
///
/// To open again is to open from half-open, or before the circuit has been closed for as long as it was open:
/// a provider that answers one probe and then fails as before has not recovered. So does Envoy, whose outlier
/// detection takes back its growth only while a host behaves.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    /// Openings in a row.
    consecutive_openings: u32,
    /// The latest one, before jitter and without regard to what was told.
    last_base: Duration,
    closed_at: Option<Instant>,
}

impl Cooldown {
    /// The circuit opens: for how long. `random` is from 0 to 1.
    ///
    /// A wait that the provider told is never shortened, by no cap either. Jitter comes on top, also of a told
    /// wait and of the cap: where all clients are told the same is where they must not come back at once.
    pub(super) fn next_cooldown(
        &mut self,
        retry_after: Option<Duration>,
        settings: &Settings,
        now: Instant,
        random: f64,
    ) -> Duration {
        if self.has_decayed(now) {
            self.consecutive_openings = 0;
        }
        let growth = settings.cooldown_growth.powi(i32::try_from(self.consecutive_openings).unwrap_or(i32::MAX));
        self.last_base = scale(settings.cooldown, growth).min(settings.max_cooldown.max(settings.cooldown));
        self.consecutive_openings = self.consecutive_openings.saturating_add(1);
        self.closed_at = None;
        jittered(self.last_base.max(retry_after.unwrap_or_default()), settings, random)
    }

    /// The circuit opens for a reason that says nothing of the provider's health: that time does not count as one in which
    /// it was well.
    pub(super) fn on_quota_opening(&mut self, now: Instant) {
        if !self.has_decayed(now) {
            self.closed_at = None;
        }
    }

    /// The circuit closes.
    pub(super) fn on_close(&mut self, now: Instant) {
        self.closed_at = Some(now);
    }

    /// Whether the circuit has been closed for long enough that the next opening is like the first.
    pub(super) fn has_decayed(&self, now: Instant) -> bool {
        self.consecutive_openings == 0
            || self.closed_at.is_some_and(|closed_at| now.saturating_duration_since(closed_at) >= self.last_base)
    }
}

/// `wait`, and up to so much of it again as the settings say.
pub(super) fn jittered(wait: Duration, settings: &Settings, random: f64) -> Duration {
    match settings.cooldown_jitter * random {
        more if more > 0.0 => wait.saturating_add(scale(wait, more)),
        _ => wait,
    }
}

/// Exact where nothing grows, and never past what a duration can hold.
fn scale(duration: Duration, factor: f64) -> Duration {
    match factor {
        1.0 => duration,
        _ => Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX),
    }
}
