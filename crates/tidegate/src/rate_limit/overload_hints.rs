use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::clock;
use crate::sync::unpoisoned;

/// The waits that a provider reports with failures other than a 429, as `Retry-After` in a 529.
///
/// The first closes the gate. If the provider serves calls after that, the overload is partial, and the waits
/// apply only to the calls that received them: a provider that rejects half of the calls would otherwise get
/// none most of the time.
#[derive(Debug, Default)]
pub(super) struct OverloadHints {
    /// Whether there is a latest hint. Read without the lock.
    has_latest: AtomicBool,
    latest: Mutex<Option<OverloadHint>>,
}

#[derive(Clone, Copy, Debug)]
struct OverloadHint {
    /// When it is out of date.
    until: Instant,
    /// When the gate reopens that the first recent hint closed.
    reopens: Instant,
    /// The next hints that do not close the gate.
    spared: u32,
}

/// The hints after a success that do not close the gate: it stays open if more than one call in so many is
/// served.
const SPARED: u32 = 10;

/// A hint is out of date after so many times its wait.
const MEMORY: u32 = 4;

impl OverloadHints {
    /// Whether a hint closes the gate.
    pub(super) fn closes(&self, wait: Duration, now: Instant) -> bool {
        let mut latest = self.lock();
        let until = clock::after(wait.saturating_mul(MEMORY), now);
        let new = OverloadHint { until, reopens: clock::after(wait, now), spared: 0 };
        let known = latest.filter(|hint| hint.until > now);
        *latest = Some(known.map_or(new, |hint| OverloadHint {
            until: until.max(hint.until),
            spared: hint.spared.saturating_sub(1),
            ..hint
        }));
        self.has_latest.store(true, Ordering::Relaxed);
        known.is_none_or(|hint| hint.spared == 0)
    }

    /// Another process has closed the gate.
    pub(super) fn note_closed(&self, wait: Duration, now: Instant) {
        if self.lock().is_none_or(|hint| hint.until <= now) {
            self.closes(wait, now);
        }
    }

    /// Forgets all hints.
    pub(super) fn clear(&self) {
        *self.lock() = None;
        self.has_latest.store(false, Ordering::Relaxed);
    }

    /// A call that started at `started` was served.
    #[inline]
    pub(super) fn record_success(&self, started: Instant) {
        if self.has_latest.load(Ordering::Relaxed) {
            self.spare_after(started);
        }
    }

    #[cold]
    fn spare_after(&self, started: Instant) {
        let mut latest = self.lock();
        match &mut *latest {
            Some(hint) if started > hint.until => {
                *latest = None;
                self.has_latest.store(false, Ordering::Relaxed);
            }
            // Earlier calls may have been at the provider before it was overloaded.
            Some(hint) if started >= hint.reopens => hint.spared = SPARED,
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<OverloadHint>> {
        unpoisoned(self.latest.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SECOND;

    #[test]
    fn hints_close_the_gate_until_a_later_call_is_served() {
        let (hints, start) = (OverloadHints::default(), Instant::now());
        hints.record_success(start);
        assert!(hints.closes(2 * SECOND, start) && hints.closes(2 * SECOND, start));
        hints.record_success(start + SECOND);
        assert!(hints.closes(2 * SECOND, start + SECOND), "it began while the gate was closed");
        hints.record_success(start + 3 * SECOND);
        let closes = [(); 12].map(|()| hints.closes(2 * SECOND, start + 3 * SECOND));
        assert_eq!(closes.iter().position(|closes| *closes), Some(10), "ten for a success");
        // It was sent before the gate closed again.
        hints.record_success(start + 3 * SECOND);
        assert!(!hints.closes(2 * SECOND, start + 5 * SECOND));
        assert!(hints.closes(2 * SECOND, start + 13 * SECOND), "eight seconds later it is a new overload");
    }

    #[test]
    fn a_gate_that_another_process_closed_is_not_closed_again() {
        let (hints, start) = (OverloadHints::default(), Instant::now());
        hints.note_closed(2 * SECOND, start);
        hints.record_success(start + 3 * SECOND);
        hints.note_closed(2 * SECOND, start + 3 * SECOND);
        assert!(!hints.closes(2 * SECOND, start + 3 * SECOND));
        hints.clear();
        assert!(hints.closes(2 * SECOND, start + 3 * SECOND));
    }

    #[test]
    fn a_success_after_the_wait_clears_the_hint() {
        let (hints, start) = (OverloadHints::default(), Instant::now());
        hints.closes(SECOND, start);
        hints.record_success(start + 5 * SECOND);
        assert!(!hints.has_latest.load(Ordering::Relaxed));
    }
}
