//! Measurements that adaptive waits scale with.

use std::time::{Duration, Instant};

/// Signals at the moment when a wait is chosen. An unknown signal is `None`, and changes nothing.
///
/// Only [`Strategy::Adaptive`](super::Strategy) uses them. The layer measures the error rate and the response
/// time of its own attempts; the load comes from a gauge ([`RetryLayer::load`](super::RetryLayer::load)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSignals {
    /// The used part of the capacity, 1 being all of it. Above 0.8 the waits double.
    #[doc(alias = "system_load")]
    pub load: Option<f64>,
    /// The part of the recent attempts that failed, 0 to 1. Above 0.3 the waits grow by half.
    #[doc(alias = "recent_error_rate")]
    pub error_rate: Option<f64>,
    /// The average time of the recent attempts to the head of their responses, including the waits at the
    /// gates. Above 5 s the waits grow by 30 %.
    pub response_time: Option<Duration>,
}

impl LoadSignals {
    /// The factor by which the initial delay grows.
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

/// The attempts of the last 30 to 60 seconds, in constant space: the current window and the one before it.
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

/// With fewer attempts there is no error rate: the first failure alone would make it 100 %.
const MIN_ATTEMPTS: u32 = 10;

impl RecentAttempts {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, current: AttemptTally::default(), previous: AttemptTally::default() }
    }

    /// Records an attempt that ended at `now`, after `took`.
    pub(super) fn record(&mut self, is_failure: bool, took: Duration, now: Instant) {
        self.rotate(now);
        let AttemptTally { attempts, failures, time } = &mut self.current;
        *attempts = attempts.saturating_add(1);
        *failures = failures.saturating_add(u32::from(is_failure));
        *time = time.saturating_add(took);
    }

    /// The signals of the recent attempts at `now`, if there are enough of them.
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
    use crate::testing::SECOND;

    /// Seed item 54.
    #[test]
    fn too_few_and_too_old_attempts_give_no_signals() {
        let start = Instant::now();
        let mut recent = RecentAttempts::new(start);
        for _ in 0..9 {
            recent.record(true, 8 * SECOND, start);
        }
        assert_eq!(recent.load_signals(start), LoadSignals::default());
        recent.record(false, 28 * SECOND, start);
        let expected = LoadSignals { load: None, error_rate: Some(0.9), response_time: Some(10 * SECOND) };
        assert_eq!(recent.load_signals(start + 29 * SECOND), expected);
        let mut unused = recent;
        assert_eq!(unused.load_signals(start + 62 * SECOND), LoadSignals::default());
        assert_eq!(recent.load_signals(start + 31 * SECOND), expected, "the previous window still counts");
        assert_eq!(recent.load_signals(start + 62 * SECOND), LoadSignals::default());
    }
}
