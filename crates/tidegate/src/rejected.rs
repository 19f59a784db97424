//! The part of a rejection that all gates have in common.

use http::Extensions;

use crate::{AttemptBudget, Gate, Rejection, Trail};

/// Records in the trail of the call and in an event that the gate of `target` rejected, and returns the
/// rejection.
pub(crate) fn record_rejection(rejection: Rejection, target: &str, extensions: &Extensions) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.rejected(&rejection);
    }
    // A rejected attempt was not sent, so it is returned to the attempt budget.
    if let Some(attempts) = AttemptBudget::of(extensions) {
        attempts.give_back();
    }
    let (layer, code, reason) = (rejection.gate().name(), rejection.code().code(), rejection.reason());
    let wait_ms = rejection.retry_after().map(|wait| wait.as_millis() as u64);
    match rejection.gate() {
        Gate::CircuitBreaker => {
            tracing::warn!(layer, target, code, wait_ms, %reason, "circuit rejected an attempt");
        }
        _ => tracing::debug!(layer, target, code, wait_ms, "{reason}"),
    }
    rejection
}
