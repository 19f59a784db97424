use std::time::{Duration, Instant};

/// The mean number of calls in flight that succeed, of the last few round trips.
///
/// By Little's law it is the time that successful calls held their permits, for each second. What is served
/// is no overload, whatever else fails.
#[derive(Debug, Default)]
pub(super) struct ServedCalls {
    /// The moving average of the time that a call holds its permit, in seconds.
    held: f64,
    /// The decayed sum of the times that successful calls held their permits, in windows.
    sum: f64,
    /// The decayed sum of the time that has passed meanwhile, in windows.
    weight: f64,
    /// When the latest successful call ended.
    at: Option<Instant>,
}

/// The window, the time constant of the mean, as a multiple of the time that a call holds its permit.
const HOLD_TIMES_PER_WINDOW: f64 = 4.0;

/// The shortest and the longest window, in seconds.
const WINDOW_SECONDS: (f64, f64) = (2.0, 120.0);

impl ServedCalls {
    /// Records a successful call that held its permit for `held` until now.
    pub(super) fn record(&mut self, held: Duration, now: Instant) {
        let held = held.as_secs_f64();
        let age = self.at.map_or(held, |at| now.saturating_duration_since(at).as_secs_f64());
        self.held = if self.at.is_none() { held } else { self.held + (held - self.held) / 16.0 };
        let window = self.window();
        let decay = (-age / window).exp();
        self.sum = self.sum * decay + held / window;
        self.weight = self.weight * decay + (1.0 - decay);
        self.at = Some(now);
    }

    pub(super) fn mean(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let age = now.saturating_duration_since(at).as_secs_f64();
        let decay = (-age / self.window()).exp();
        let weight = self.weight * decay + (1.0 - decay);
        if weight > 0.0 { self.sum * decay / weight } else { 0.0 }
    }

    /// Whether the mean is still of the time of `then`.
    pub(super) fn covers(&self, then: Instant, now: Instant) -> bool {
        now.saturating_duration_since(then).as_secs_f64() <= self.window()
    }

    fn window(&self) -> f64 {
        (HOLD_TIMES_PER_WINDOW * self.held).clamp(WINDOW_SECONDS.0, WINDOW_SECONDS.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_number_in_flight_from_the_first_round_trips_on_and_decays() {
        let second = Duration::from_secs(1);
        for held in [second / 10, 2 * second, 30 * second] {
            let start = Instant::now();
            let mut served = ServedCalls::default();
            assert!(served.mean(start) == 0.0);
            served.record(Duration::ZERO, start);
            assert!(served.mean(start) == 0.0);
            let mut served = ServedCalls::default();
            // Eight calls at any time: one ends in each eighth of the time that it takes.
            let mut now = start;
            for call in 1..=200 {
                now += held / 8;
                served.record(held, now);
                assert!(
                    call < 64 || (6.0..10.0).contains(&served.mean(now)),
                    "{held:?}: {}",
                    served.mean(now)
                );
            }
            assert!(served.mean(now + 40 * held + 20 * second) < 0.1, "{}", served.mean(now + 40 * held));
        }
    }
}
