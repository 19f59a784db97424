use std::time::{Duration, Instant};

use crate::durations::spread;

/// Spreads the calls after a closed gate reopens, so that they do not all pass at once.
///
/// Other clients got the same `Retry-After` and wake at the same time. The first call is therefore delayed by
/// a random time, and the waiting calls share the rest of the spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReopenRamp {
    next: Instant,
    ends: Instant,
}

/// The least number of calls that share the spread. Otherwise one without others behind it would take all of
/// it.
const LEAST_SHARES: u32 = 8;

impl ReopenRamp {
    /// Creates the ramp of a gate that is closed for `wait`, until `until`. The spread only adds to
    /// the wait, as jitter does for retries. `random` is in 0..1.
    pub(crate) fn new(wait: Duration, until: Instant, random: f64) -> Self {
        const MAX_SPREAD: Duration = Duration::from_secs(10);
        let spread = spread(wait).min(MAX_SPREAD);
        let later = |time| until.checked_add(time).unwrap_or(until);
        Self { next: later(spread.mul_f64(random.clamp(0.0, 1.0) / 2.0)), ends: later(spread) }
    }

    /// The ramp in which each call passes at the later of two times. The rest of a closed time, as the store
    /// has it, is short at its end: the ramp that belongs to all of it stays.
    pub(crate) fn later(self, other: Self) -> Self {
        Self { next: self.next.max(other.next), ends: self.ends.max(other.ends) }
    }

    /// How long until the next call may pass.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Advances the ramp by one call. The `behind` calls that wait share the rest of the spread with those
    /// that may still come.
    pub(crate) fn step(self, behind: usize, now: Instant) -> Option<Self> {
        let left = self.ends.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let shares = u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(1).max(LEAST_SHARES);
        Some(Self { next: now + left / shares, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_calls_share_the_spread_and_none_passes_early() {
        let until = Instant::now();
        let mut now = until;
        for random in [0.0, 0.5, 1.0] {
            let mut ramp = Some(ReopenRamp::new(Duration::from_secs(2), until, random));
            now = until;
            for behind in (0..100).rev() {
                let Some(it) = ramp else { break };
                now += it.wait(now);
                ramp = it.step(behind, now);
            }
        }
        let spread = now - until;
        assert!(spread > Duration::from_millis(190) && spread <= Duration::from_millis(200), "{spread:?}");
    }

    /// Regression: the second call of one that makes its calls one after the other waited for the whole
    /// spread.
    #[test]
    fn a_call_without_others_behind_it_takes_a_part_of_the_spread() {
        let until = Instant::now();
        let ramp = ReopenRamp::new(Duration::from_secs(100), until, 0.0);
        let next = ramp.step(0, until).unwrap();
        assert_eq!(next.wait(until), Duration::from_millis(1_250));
    }

    #[test]
    fn an_absurd_wait_is_spread_over_seconds_and_not_over_years() {
        let until = Instant::now();
        let ramp = ReopenRamp::new(Duration::MAX, until, 1.0);
        assert_eq!(ramp.ends - until, Duration::from_secs(10));
        assert_eq!(ReopenRamp::new(Duration::ZERO, until, 0.0).ends - until, Duration::from_millis(50));
    }
}
