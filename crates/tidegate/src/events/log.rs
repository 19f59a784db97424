//! The `tracing` event of each decision; `docs/events.md` lists them.

use tracing::field::display;

use super::Decision;
use super::decision::{AttemptSummary, millis};
use crate::circuit_breaker::State;
use crate::key::KeyId;
use crate::{ErrorCode, Gate, Rejection};

impl Decision {
    #[inline]
    pub(super) fn log(&self, target: &str, key: Option<KeyId>) {
        match self {
            Self::AttemptEnded(end) => end.log(target, key),
            rare => rare.log_rare(target, key),
        }
    }

    /// All decisions but the one that every call makes.
    #[cold]
    fn log_rare(&self, target: &str, key: Option<KeyId>) {
        let (layer, key) = (self.layer(), key.map(display));
        match self {
            Self::AttemptEnded(_) => {}
            Self::Rejected { rejection, .. } => log_rejection(rejection, target, key),
            Self::AdmittedInShadow(rejection) => {
                tracing::debug!(layer, target, key, "would have refused: {rejection}");
            }
            Self::Retried { attempt, code, wait } => {
                let (code, wait_ms) = (code.map(ErrorCode::code), millis(*wait));
                tracing::debug!(layer, target, attempt, code, wait_ms, "asking again");
            }
            Self::RetryDenied => tracing::debug!(layer, target, "retry budget is used up"),
            Self::SentAgain(reason) => {
                tracing::debug!(layer, target, %reason, "request was not processed, sending it again");
            }
            Self::FellBack { code, .. } => {
                let code = code.map(ErrorCode::code);
                tracing::info!(layer, target, code, "asking another target");
            }
            Self::Continued { code } => {
                let code = code.map(ErrorCode::code);
                tracing::info!(layer, target, code, "asking another target for the rest");
            }
            Self::Skipped(lack) => tracing::info!(layer, target, %lack, "passing over a target"),
            Self::CircuitChanged(transition) => {
                let (state, reason) = (transition.to.name(), transition.reason);
                let cooldown_ms = transition.cooldown.map(millis);
                match transition.to {
                    State::Open => {
                        tracing::error!(layer, target, key, state, %reason, cooldown_ms, "circuit opened");
                    }
                    _ => tracing::info!(layer, target, key, state, %reason, "circuit changed"),
                }
            }
            Self::LimitMoved { limit } => tracing::debug!(layer, target, key, limit, "limit moved"),
        }
    }
}

fn log_rejection(rejection: &Rejection, target: &str, key: Option<tracing::field::DisplayValue<KeyId>>) {
    let (layer, code, reason) = (rejection.gate().name(), rejection.code().code(), rejection.reason());
    let wait_ms = rejection.retry_after().map(millis);
    match rejection.gate() {
        Gate::CircuitBreaker => {
            tracing::warn!(layer, target, key, code, wait_ms, %reason, "circuit rejected an attempt");
        }
        _ => tracing::debug!(layer, target, key, code, wait_ms, "{reason}"),
    }
}

impl AttemptSummary {
    #[inline]
    fn log(&self, target: &str, key: Option<KeyId>) {
        let Self { attempt, success, code, slow, duration, .. } = *self;
        let (layer, key) = (Gate::CircuitBreaker.name(), key.map(display));
        let (code, head_ms) = (code.map(ErrorCode::code), duration.map(millis));
        match code {
            _ if success => tracing::debug!(layer, target, key, attempt, head_ms, "attempt succeeded"),
            None => {}
            code => tracing::warn!(layer, target, key, attempt, code, head_ms, "attempt failed"),
        }
        if slow {
            tracing::warn!(layer, target, key, attempt, head_ms, "attempt was slow");
        }
    }
}
