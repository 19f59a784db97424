//! The time that a circuit of another crate stays open, on tokio's clock.
//!
//! tower-resilience and recloser read the clock of the machine, which stands still in virtual time. In a run
//! in virtual time their own wait is zero, and this one is in front of them: a circuit that has opened
//! rejects until the wait has passed, and decides again after that. Over sockets they keep their own time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When a circuit opened for the last time. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct CircuitCooldown(Arc<Mutex<Option<Instant>>>);

impl CircuitCooldown {
    /// Records that the circuit has opened.
    pub(super) fn start(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the circuit opened less than `wait` ago.
    pub(super) fn is_on(&self, wait: Duration) -> bool {
        let opened = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.is_some_and(|opened| opened.elapsed() < wait)
    }
}
