use std::time::Duration;

use crate::{ErrorCode, Gate, Rejection};

/// The way through the circuit for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) generation: u64,
    /// The number of the probe, in half-open.
    pub(super) probe: Option<u64>,
}

/// No way through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    pub(super) retry_after: Option<Duration>,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Failures or slowness.
    Failing,
    /// The account's quota ran out.
    Quota,
    /// Somebody holds it open.
    Held,
    /// All probes are under way.
    Probing,
    /// It is another call's turn.
    Ramping,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = match refusal.cause {
            Cause::Failing => (ErrorCode::Overloaded, "circuit open"),
            Cause::Quota => (ErrorCode::QuotaExhausted, "quota exhausted, circuit open"),
            Cause::Held => (ErrorCode::Overloaded, "circuit held open"),
            Cause::Probing => (ErrorCode::Overloaded, "circuit half-open, probes under way"),
            Cause::Ramping => (ErrorCode::Overloaded, "circuit just closed, traffic held back"),
        };
        let rejection = Self::new(Gate::CircuitBreaker, code).because(reason);
        match refusal.retry_after {
            Some(wait) => rejection.with_retry_after(wait),
            None => rejection,
        }
    }
}
