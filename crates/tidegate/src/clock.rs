//! The one place that reads the time: tokio's, so that a paused test moves everything.

use std::time::Instant;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
