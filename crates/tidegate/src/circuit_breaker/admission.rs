//! The admission of an attempt, and what a circuit admits that is not closed, where there is no other target.

use std::num::NonZeroU64;
use std::time::Instant;

use http::Extensions;

use super::attempt_result::Latency;
use super::open_attempts::{OpenAttempts, Opening};
use super::rejections::{CircuitRejection, RejectionCause};
use super::{Handle, State, Transition};
use crate::chain_position::ChainPosition;
use crate::clock;
use crate::events::Decision;

impl Handle {
    /// Admits an attempt from the budget of the open circuit, in place of this rejection.
    #[cold]
    pub(super) fn admit_while_open(
        &self,
        rejection: CircuitRejection,
        extensions: &Extensions,
        now: Instant,
    ) -> Result<CircuitAdmission, CircuitRejection> {
        let Some(open) = self.open_attempts(rejection.cause, extensions) else { return Err(rejection) };
        open.take(now).map_err(|wait| rejection.or_after(wait))?;
        self.0.admitted_while_open.add(1);
        Decision::AdmittedWhileOpen(rejection.into()).emit(self.0.target(), self.0.key());
        Ok(CircuitAdmission::WHILE_OPEN)
    }

    /// The budget for a call with these extensions, that the open circuit rejects for this cause.
    pub(super) fn open_attempts(
        &self,
        cause: RejectionCause,
        extensions: &Extensions,
    ) -> Option<&OpenAttempts> {
        let is_failing = matches!(cause, RejectionCause::Failing | RejectionCause::Probing);
        self.0
            .open_attempts
            .as_ref()
            .filter(|_| is_failing && !self.settings().shadow && ChainPosition::is_last(extensions))
    }

    /// Adds the attempts of a success, at its head, unless it is slow or the circuit is closed. Returns the
    /// opening for which it adds any.
    #[inline]
    pub(super) fn add_open_attempts(&self, latency: Latency) -> Option<Opening> {
        let open = self.0.open_attempts.as_ref()?;
        if latency == Latency::Slow || self.admits_all() { None } else { open.record_success(clock::now()) }
    }

    /// Takes back the attempts of a success whose body has failed.
    pub(super) fn take_back_open_attempts(&self, added_for: Opening) {
        if let Some(open) = &self.0.open_attempts {
            open.take_back(added_for, clock::now());
        }
    }

    /// Successes from before the circuit opened are no reason for attempts.
    pub(super) fn renew_open_attempts(&self, transition: &Transition) {
        match (&self.0.open_attempts, transition.from, transition.to) {
            (Some(open), State::Closed, State::Open) => open.clear(transition.at),
            (Some(open), _, State::Open) => open.forget_rejected(transition.at),
            _ => {}
        }
    }
}

/// The admission of one attempt by the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CircuitAdmission {
    pub(super) generation: u64,
    /// The number of the probe, if the circuit is half-open.
    pub(super) probe: Option<NonZeroU64>,
}

impl CircuitAdmission {
    /// The admission of an attempt beside an open circuit, whose result does not change the state.
    pub(super) const WHILE_OPEN: Self = Self { generation: u64::MAX, probe: None };
}
