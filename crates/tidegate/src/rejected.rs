//! What all gates do when they say no.

use http::Extensions;

use crate::{AttemptBudget, Rejection, Trail};

/// Tells the trail of the call and whoever listens that the gate of `target` said no; hands the rejection on.
pub(crate) fn record_rejection(rejection: Rejection, target: &str, extensions: &Extensions) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.refused(&rejection);
    }
    // What we refuse has not been asked of anybody.
    if let Some(attempts) = AttemptBudget::of(extensions) {
        attempts.give_back();
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
