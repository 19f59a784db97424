use serde::Serialize;
use tidegate::provider::{ErrorBody, Failure, FailureKind};
use tidegate::{Error, ErrorCode, Outcome};

use crate::open_calls::EndReason;

/// How the body of a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallEnd {
    /// It is complete.
    Finished,
    /// The provider reported a failure in the stream.
    Failed,
    /// The connection to the provider broke, or its response ended too early.
    Cut,
    /// One of the timers of the policy expired.
    Stalled,
    /// The gateway stopped.
    Stopped,
    /// The caller did not read it in time.
    Unread,
    /// The caller closed the connection before the end, possibly before the head.
    Dropped,
}

impl CallEnd {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::Unread => "unread",
            Self::Dropped => "dropped",
        }
    }

    /// The end and the code of a body that failed with `error`.
    pub(super) fn of_error(error: &Error) -> (Self, ErrorCode) {
        if let Some(reason) = error.downcast_ref::<EndReason>() {
            let end = match reason {
                EndReason::Stopping => Self::Stopped,
                EndReason::Unread => Self::Unread,
            };
            return (end, reason.code());
        }
        let outcome = Outcome::of_error(&**error);
        let code = ErrorBody::of_error(&**error).code();
        outcome.failure().map_or((Self::Cut, code), |failure| (Self::of_failure(failure), code))
    }

    pub(super) fn of_failure(failure: &Failure) -> Self {
        match failure.kind {
            FailureKind::InBand | FailureKind::ModelOutput => Self::Failed,
            FailureKind::Timeout | FailureKind::CallerTimeout => Self::Stalled,
            _ => Self::Cut,
        }
    }
}
