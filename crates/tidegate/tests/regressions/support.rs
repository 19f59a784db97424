//! A strict provider, calls to it, and their duration.

use std::time::{Duration, Instant};

use tidegate::Payload;
use tidegate_testkit::strict::{self, Handle, Strict};

pub(crate) use tidegate_testkit::calls::{call, complete, rejection, request};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn strict() -> (Strict<Payload>, Handle) {
    strict::service()
}

/// The clock that the layers read.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The result of a call that must end within an hour, and its duration.
pub(crate) async fn in_time<F: Future>(call: F) -> (F::Output, Duration) {
    let start = now();
    let result = tokio::time::timeout(3_600 * SECOND, call).await;
    (result.expect("still waiting after an hour"), now() - start)
}
