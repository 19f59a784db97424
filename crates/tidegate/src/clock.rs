//! The clock of all layers: tokio's, so that tests with a paused clock control every time.

use std::time::Instant;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
