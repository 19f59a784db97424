//! The rejections of the gate.

use crate::{ErrorCode, Gate, Rejection, RejectionReason};

pub(super) fn queue_is_full() -> Rejection {
    rejection(RejectionReason::QueueFull)
}

pub(super) fn queue_timeout() -> Rejection {
    rejection(RejectionReason::QueueTimeout)
}

fn rejection(reason: RejectionReason) -> Rejection {
    Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).because(reason)
}
