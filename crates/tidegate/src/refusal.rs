//! What all gates do when they say no.

use http::Extensions;

use crate::{Rejection, Trail};

/// Tells the trail of the call and whoever listens that the gate of `target` said no; hands the rejection on.
pub(crate) fn refuse(rejection: Rejection, target: &str, extensions: &Extensions) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.refused(&rejection);
    }
    tracing::debug!(
        layer = rejection.gate().name(),
        target,
        code = rejection.code().code(),
        wait_ms = rejection.retry_after().map(|wait| wait.as_millis() as u64),
        "{}",
        rejection.reason(),
    );
    rejection
}
