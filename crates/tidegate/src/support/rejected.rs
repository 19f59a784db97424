//! The part of a rejection that all gates and services have in common.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Extensions;
use tokio::task::coop;

use crate::chain_position::{AttemptNumber, ChainPosition};
use crate::events::Decision;
use crate::key::KeyId;
use crate::{AttemptBudget, Error, ErrorCode, Gate, Rejection, Trail};

/// Records a rejection by a gate of `target` in the trail and emits its event; `key` is the key whose state
/// rejected. The attempt is returned to the attempt budget.
pub(crate) fn record_rejection(
    rejection: Rejection,
    target: &str,
    key: Option<KeyId>,
    extensions: &Extensions,
) -> Rejection {
    // A rejected attempt was not sent.
    if let Some(attempts) = AttemptBudget::of(extensions) {
        attempts.give_back();
    }
    trace_rejection(rejection, target, key, extensions)
}

/// As [`record_rejection`], before the stack of `target` is called, which is entered in the trail.
pub(crate) fn record_rejection_of(
    rejection: Rejection,
    target: &Arc<str>,
    extensions: &Extensions,
) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.enter(target);
    }
    record_rejection(rejection, target, None, extensions)
}

/// As [`record_rejection`], for a layer that returns the attempt to its budget itself.
pub(crate) fn trace_rejection(
    rejection: Rejection,
    target: &str,
    key: Option<KeyId>,
    extensions: &Extensions,
) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.rejected(&rejection);
    }
    // A hedge that cannot be sent at once is not made.
    if !ChainPosition::is_of_hedge(extensions) {
        Decision::emit_rejected(&rejection, || AttemptNumber::of(extensions).number, target, key);
    }
    rejection
}

/// Whether no attempt was sent before this error.
pub(crate) fn is_unsent(error: &Error) -> bool {
    error.rejection().is_some_and(|rejection| !rejection.follows_attempt())
}

/// The rejection of a call whose deadline has passed.
pub(crate) fn deadline_passed() -> Rejection {
    Rejection::new(Gate::Deadline, ErrorCode::Timeout)
}

/// A call that was rejected at once.
///
/// It takes a part of the budget of its task, so that a loop over calls that are rejected yields to other
/// tasks, as one over calls that are sent does.
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
