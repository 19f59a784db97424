//! The `tracing` event of each decision; `docs/events.md` lists them. Values are computed in the macros,
//! which do so only if the event is wanted.

use tracing::field::display;

use super::Decision;
use super::decision::AttemptSummary;
use crate::circuit_breaker::{State, Transition};
use crate::durations::millis;
use crate::key::KeyId;
use crate::{ErrorCode, FailureKind, Gate, Rejection};

const CIRCUIT_BREAKER: &str = Gate::CircuitBreaker.name();

impl Decision {
    #[inline(always)]
    pub(super) fn log(&self, target: &str, key: Option<KeyId>) {
        let layer = self.layer();
        match self {
            Self::AttemptEnded(end) => end.log(target, key),
            Self::CircuitChanged(transition) => log_transition(transition, target, key),
            // `emit_rejected` has logged it.
            Self::Rejected { .. } => {}
            Self::AdmittedInShadow(rejection) => {
                tracing::debug!(layer, target, key = key.map(display), "would have rejected: {rejection}");
            }
            Self::AdmittedWhileOpen(rejection) => {
                tracing::debug!(layer, target, key = key.map(display), "admitted although {rejection}");
            }
            Self::Retried { attempt, code, wait } => tracing::debug!(
                layer,
                target,
                attempt,
                code = code.map(ErrorCode::code),
                wait_ms = millis(*wait),
                "retrying",
            ),
            Self::RetryDenied => tracing::debug!(layer, target, "retry budget is used up"),
            Self::SentAgain(reason) => {
                tracing::debug!(layer, target, %reason, "request was not processed, sending it again");
            }
            Self::FellBack { code, .. } => {
                tracing::info!(layer, target, code = code.map(ErrorCode::code), "calling another target");
            }
            Self::Hedged { wait } => {
                tracing::debug!(layer, target, wait_ms = millis(*wait), "sending a late request once more");
            }
            Self::HedgeEnded { won: true } => tracing::debug!(layer, target, "hedge won"),
            Self::HedgeEnded { won: false } => tracing::debug!(layer, target, "hedge lost"),
            Self::HedgeDenied => tracing::debug!(layer, target, "hedge budget is used up"),
            Self::Continued { code } => tracing::info!(
                layer,
                target,
                code = code.map(ErrorCode::code),
                "continuing at another target",
            ),
            Self::Skipped(lack) => tracing::info!(layer, target, %lack, "passing over a target"),
            Self::Waiting { wait } => {
                tracing::info!(layer, target, wait_ms = millis(*wait), "all targets cool down, waiting");
            }
            Self::MemberLeftOut { code, cooldown } => tracing::warn!(
                layer,
                target,
                code = code.code(),
                cooldown_ms = millis(*cooldown),
                "member failed, leaving it out",
            ),
            Self::MemberReturned => tracing::info!(layer, target, "member is back"),
            Self::LimitMoved { limit } => {
                tracing::debug!(layer, target, key = key.map(display), limit, "limit moved");
            }
        }
    }
}

fn log_transition(transition: &Transition, target: &str, key: Option<KeyId>) {
    let Transition { to, reason, cooldown, .. } = transition;
    let (layer, key, state) = (CIRCUIT_BREAKER, key.map(display), to.name());
    match to {
        State::Open => {
            let cooldown_ms = cooldown.map(millis);
            tracing::error!(layer, target, key, state, %reason, cooldown_ms, "circuit opened");
        }
        _ => tracing::info!(layer, target, key, state, %reason, "circuit changed"),
    }
}

#[inline]
pub(super) fn log_rejection(rejection: &Rejection, target: &str, key: Option<KeyId>) {
    let (layer, key, reason) = (rejection.gate().name(), key.map(display), rejection.reason());
    let code = || rejection.code().code();
    let wait_ms = || rejection.retry_after().map(millis);
    if let Gate::CircuitBreaker = rejection.gate() {
        tracing::warn!(
            layer, target, key, code = code(), wait_ms = wait_ms(), %reason, "circuit rejected an attempt",
        );
    } else {
        tracing::debug!(layer, target, key, code = code(), wait_ms = wait_ms(), "{reason}");
    }
}

impl AttemptSummary {
    #[inline]
    fn log(&self, target: &str, key: Option<KeyId>) {
        let Self { attempt, success, code, kind, slow, duration, .. } = *self;
        let (layer, key) = (CIRCUIT_BREAKER, key.map(display));
        let head_ms = || duration.map(millis);
        if success {
            tracing::debug!(layer, target, key, attempt, head_ms = head_ms(), "attempt succeeded");
        } else if let Some(code) = code.map(ErrorCode::code) {
            let kind = kind.map(FailureKind::name);
            tracing::warn!(layer, target, key, attempt, code, kind, head_ms = head_ms(), "attempt failed");
        }
        if slow {
            tracing::warn!(layer, target, key, attempt, head_ms = head_ms(), "attempt was slow");
        }
    }
}
