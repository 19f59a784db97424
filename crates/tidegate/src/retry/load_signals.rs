//! What is measured, for waits that adapt to it.

use std::time::{Duration, Instant};

/// What is known of the moment in which a wait is chosen. What is not known is `None`, and changes nothing.
///
/// Of interest to [`Strategy::Adaptive`](super::Strategy) alone. The layer measures the error rate and the response
/// time of its own attempts; the load is told by whoever knows it ([`RetryLayer::load`](super::RetryLayer::load)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSignals {
    /// How much of what we may use is in use, 1 being all. Above 0.8 the waits double.
    pub load: Option<f64>,
    /// The part of the recent attempts that failed, 0 to 1. Above 0.3 the waits grow by half.
    pub error_rate: Option<f64>,
    /// How long the recent attempts took on average, to the head of their answers, the waits at our own gates included.
    /// Above 5 s the waits grow by 30 %.
    pub response_time: Option<Duration>,
}

impl LoadSignals {
    /// By how much the initial delay grows.
    pub(super) fn scale(&self) -> f64 {
        let mut scale = 1.0;
        if self.load.is_some_and(|load| load > 0.8) {
            scale *= 2.0;
        }
        if self.error_rate.is_some_and(|rate| rate > 0.3) {
            scale *= 1.5;
        }
        if self.response_time.is_some_and(|time| time > Duration::from_secs(5)) {
            scale *= 1.3;
        }
        scale
    }
}

/// The attempts of the last 30 to 60 seconds, in constant space: a span that fills, and the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecentAttempts {
    began: Instant,
    current: AttemptTally,
    previous: AttemptTally,
}

#[derive(Clone, Copy, Debug, Default)]
struct AttemptTally {
    attempts: u32,
    failures: u32,
    time: Duration,
}

const WINDOW: Duration = Duration::from_secs(30);

/// Fewer attempts than this say nothing: the first failure alone would be an error rate of 100 %.
const MIN_ATTEMPTS: u32 = 10;

impl RecentAttempts {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, current: AttemptTally::default(), previous: AttemptTally::default() }
    }

    /// An attempt ended at `now`, after `took`.
    pub(super) fn record(&mut self, is_failure: bool, took: Duration, now: Instant) {
        self.rotate(now);
        let AttemptTally { attempts, failures, time } = &mut self.current;
        *attempts = attempts.saturating_add(1);
        *failures = failures.saturating_add(u32::from(is_failure));
        *time = time.saturating_add(took);
    }

    /// What the recent attempts tell at `now`, if there are enough of them.
    pub(super) fn load_signals(&mut self, now: Instant) -> LoadSignals {
        self.rotate(now);
        let attempts = self.current.attempts.saturating_add(self.previous.attempts);
        if attempts < MIN_ATTEMPTS {
            return LoadSignals::default();
        }
        let failures = self.current.failures.saturating_add(self.previous.failures);
        let time = self.current.time.saturating_add(self.previous.time);
        LoadSignals {
            load: None,
            error_rate: Some(f64::from(failures) / f64::from(attempts)),
            response_time: Some(time / attempts),
        }
    }

    fn rotate(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed >= WINDOW {
            self.previous = if elapsed < 2 * WINDOW { self.current } else { AttemptTally::default() };
            (self.current, self.began) = (AttemptTally::default(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn item_54_a_few_attempts_say_nothing_and_old_ones_nothing_any_more() {
        let start = Instant::now();
        let mut recent = RecentAttempts::new(start);
        for _ in 0..9 {
            recent.record(true, 8 * SECOND, start);
        }
        assert_eq!(recent.load_signals(start), LoadSignals::default());
        recent.record(false, 28 * SECOND, start);
        let expected = LoadSignals { load: None, error_rate: Some(0.9), response_time: Some(10 * SECOND) };
        assert_eq!(recent.load_signals(start + 29 * SECOND), expected);
        assert_eq!(recent.load_signals(start + 31 * SECOND), expected, "the span before still counts");
        assert_eq!(recent.load_signals(start + 62 * SECOND), LoadSignals::default());
    }
}
