//! The part of a rejection that all gates and services have in common.

use std::task::{Context, Poll, ready};

use http::Extensions;
use tokio::task::coop;

use crate::metrics::TargetMetrics;
use crate::{AttemptBudget, Error, Gate, Rejection, Trail};

/// Records in the trail of the call, in an event and in the metrics that the gate of `target` rejected, and returns the
/// rejection.
pub(crate) fn record_rejection(rejection: Rejection, target: &str, extensions: &Extensions) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.rejected(&rejection);
    }
    // A rejected attempt was not sent, so it is returned to the attempt budget.
    if let Some(attempts) = AttemptBudget::of(extensions) {
        attempts.give_back();
    }
    TargetMetrics::of(target).record_rejection(&rejection);
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

/// A call that was rejected at once.
///
/// It takes a part of the budget of its task, so that a loop over calls that are rejected yields to other tasks, as
/// one over calls that are sent does.
#[derive(Debug)]
pub(crate) struct RejectedCall(Option<Rejection>);

impl RejectedCall {
    pub(crate) fn new(rejection: Rejection) -> Self {
        Self(Some(rejection))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        ready!(coop::poll_proceed(cx)).made_progress();
        Poll::Ready(self.0.take().expect("polled after completion").into())
    }
}
