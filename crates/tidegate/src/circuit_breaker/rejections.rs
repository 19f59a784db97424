//! The rejections of the gate.

use std::time::Duration;

use crate::{ErrorCode, Gate, Rejection, RejectionReason};

/// The rejection of one attempt by the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CircuitRejection {
    pub(super) cause: RejectionCause,
    pub(super) retry_after: Option<Duration>,
}

/// The cause of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejectionCause {
    /// The circuit is open because of failures or slow calls.
    Failing,
    /// The circuit is open because the account's quota is exhausted.
    Quota,
    /// The circuit is forced open.
    ForcedOpen,
    /// The circuit is half-open, and all probes are in flight.
    Probing,
    /// The circuit has just closed, and this call exceeds the share that is admitted.
    Ramping,
}

impl CircuitRejection {
    /// The same rejection, which ends after `wait` if that is sooner.
    pub(super) fn or_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(self.retry_after.map_or(wait, |after| after.min(wait))), ..self }
    }
}

impl From<CircuitRejection> for Rejection {
    fn from(rejection: CircuitRejection) -> Self {
        let CircuitRejection { cause, retry_after } = rejection;
        let (code, reason) = match cause {
            RejectionCause::Failing => (ErrorCode::Overloaded, RejectionReason::CircuitOpen),
            RejectionCause::Quota => (ErrorCode::QuotaExhausted, RejectionReason::QuotaExhausted),
            RejectionCause::ForcedOpen => (ErrorCode::Overloaded, RejectionReason::CircuitForcedOpen),
            RejectionCause::Probing => (ErrorCode::Overloaded, RejectionReason::ProbesInFlight),
            RejectionCause::Ramping => (ErrorCode::Overloaded, RejectionReason::RampUp),
        };
        let rejection = Self::new(Gate::CircuitBreaker, code).because(reason);
        match retry_after {
            Some(wait) => rejection.with_retry_after(wait),
            None => rejection,
        }
    }
}
