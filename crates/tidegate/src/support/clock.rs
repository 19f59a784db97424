//! The clock of all layers: tokio's, so that tests with a paused clock control every time.

use std::time::{Duration, Instant};

use crate::Deadline;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The instant `wait` after `now`. A wait that overflows the clock counts as a century.
pub(crate) fn after(wait: Duration, now: Instant) -> Instant {
    Deadline::after(wait, now).instant()
}

/// The time of one decision. The clock is read once, when the time is first needed.
#[derive(Debug, Default)]
pub(crate) struct Now(Option<Instant>);

impl Now {
    pub(crate) fn get(&mut self) -> Instant {
        *self.0.get_or_insert_with(now)
    }
}
