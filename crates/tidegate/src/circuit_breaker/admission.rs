use std::time::Duration;

use crate::{ErrorCode, Gate, Rejection};

/// The way through the circuit for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) generation: u64,
    /// The number of the probe, in half-open.
    pub(super) probe: Option<u64>,
}

/// No way through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CircuitRejection {
    pub(super) cause: RejectionCause,
    pub(super) retry_after: Option<Duration>,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejectionCause {
    /// Failures or slowness.
    Failing,
    /// The account's quota ran out.
    Quota,
    /// Somebody holds it open.
    ForcedOpen,
    /// All probes are under way.
    Probing,
    /// It is another call's turn.
    Ramping,
}

impl From<CircuitRejection> for Rejection {
    fn from(rejection: CircuitRejection) -> Self {
        let CircuitRejection { cause, retry_after } = rejection;
        let (code, reason) = match cause {
            RejectionCause::Failing => (ErrorCode::Overloaded, "circuit open"),
            RejectionCause::Quota => (ErrorCode::QuotaExhausted, "quota exhausted, circuit open"),
            RejectionCause::ForcedOpen => (ErrorCode::Overloaded, "circuit held open"),
            RejectionCause::Probing => (ErrorCode::Overloaded, "circuit half-open, probes under way"),
            RejectionCause::Ramping => (ErrorCode::Overloaded, "circuit just closed, traffic held back"),
        };
        let rejection = Self::new(Gate::CircuitBreaker, code).because(reason);
        match retry_after {
            Some(wait) => rejection.with_retry_after(wait),
            None => rejection,
        }
    }
}
