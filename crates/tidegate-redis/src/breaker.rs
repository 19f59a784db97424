//! The circuit breaker in front of the server, as plain data: results and a `now` in, verdicts out.
//!
//! It is not that of [`tidegate::circuit_breaker`], whose events and metrics are about providers.

use std::time::{Duration, Instant};

/// Opens after some failures in a row; then admits one operation after each cooldown.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

const FAILURE_THRESHOLD: u32 = 3;
const COOLDOWN: Duration = Duration::from_millis(200);

impl Breaker {
    /// Whether an operation may start. The first one after a cooldown is a probe: others wait for its result,
    /// at most for another cooldown.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until = Some(now + COOLDOWN);
                true
            }
        }
    }

    /// Records the result of an operation. Returns whether the server is available now and was not before, or
    /// the reverse.
    pub(crate) fn record(&mut self, is_ok: bool, now: Instant) -> bool {
        let was_available = self.is_available();
        if is_ok {
            *self = Self::default();
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= FAILURE_THRESHOLD {
                self.open_until = Some(now + COOLDOWN);
            }
        }
        was_available != self.is_available()
    }

    /// Whether so many operations in a row have failed that few are admitted.
    pub(crate) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// Whether the latest operation succeeded.
    pub(crate) fn is_available(&self) -> bool {
        self.failures == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_admits_one_probe_after_each_cooldown() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.record(false, start) && !breaker.record(false, start));
        assert!(breaker.record(true, start) && breaker.is_available());
        for _ in 0..3 {
            assert!(breaker.admits(start));
            breaker.record(false, start);
        }
        assert!(!breaker.admits(start) && !breaker.is_available());
        let later = start + COOLDOWN;
        assert!(breaker.admits(later) && !breaker.admits(later));
        breaker.record(false, later);
        assert!(!breaker.admits(later + COOLDOWN / 2));
        assert!(breaker.admits(later + COOLDOWN));
        assert!(breaker.record(true, later + COOLDOWN));
        assert!(breaker.admits(later + COOLDOWN) && breaker.admits(later + COOLDOWN));
    }
}
