use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tidegate_core::{MissingCapability, NotProcessedReason};

use crate::circuit_breaker::Transition;
use crate::durations::millis;
use crate::fallback::FallbackKind;
use crate::{ErrorCode, FailureKind, Rejection};

/// A decision of a layer, or the result of an attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// An attempt was rejected, and not sent.
    #[non_exhaustive]
    Rejected {
        /// The gate, its reason and the wait.
        rejection: Rejection,
        /// The number of the attempt in its call, from 1.
        attempt: u32,
    },
    /// A circuit in shadow mode admitted an attempt that it would have rejected.
    AdmittedInShadow(Rejection),
    /// An open circuit admitted an attempt from its budget, in place of this rejection.
    AdmittedWhileOpen(Rejection),
    /// A failed attempt will be retried.
    #[non_exhaustive]
    Retried {
        /// The number of the attempt that failed.
        attempt: u32,
        /// The code of its failure, or of the rejection.
        code: Option<ErrorCode>,
        /// The wait before the next attempt.
        wait: Duration,
    },
    /// The retry budget does not cover a retry.
    RetryDenied,
    /// The provider did not process the request, which is sent once more.
    SentAgain(NotProcessedReason),
    /// A call falls back to the target of this event.
    #[non_exhaustive]
    FellBack {
        /// How the target answers.
        kind: FallbackKind,
        /// The code of the failure before, if there was one.
        code: Option<ErrorCode>,
    },
    /// The target of this event is sent a request that has no first token yet elsewhere.
    #[non_exhaustive]
    Hedged {
        /// The time that the attempt in progress has taken.
        wait: Duration,
    },
    /// A hedge at the target of this event has ended.
    #[non_exhaustive]
    HedgeEnded {
        /// Its response is that of the call. If not, the hedge has failed, or the other attempt was faster.
        won: bool,
    },
    /// The budget does not cover a hedge of a call that is late at the target of this event.
    HedgeDenied,
    /// A stream broke, and the target of this event continues it.
    #[non_exhaustive]
    Continued {
        /// The code of the failure that ended the stream.
        code: Option<ErrorCode>,
    },
    /// The target of this event is skipped, because it lacks a capability.
    Skipped(MissingCapability),
    /// All targets of a chain are cooling down, and the call waits; the target of this event is available
    /// first.
    #[non_exhaustive]
    Waiting {
        /// The time of the wait.
        wait: Duration,
    },
    /// The member of this event has failed, and its group leaves it out.
    #[non_exhaustive]
    MemberLeftOut {
        /// The code of the failure.
        code: ErrorCode,
        /// The time for which it is left out.
        cooldown: Duration,
    },
    /// The member of this event has succeeded after a failure, and takes calls of its group again.
    MemberReturned,
    /// An attempt behind a circuit has ended. The circuit may not count its result: see `attempt failed` in
    /// `docs/events.md`.
    AttemptEnded(AttemptSummary),
    /// A circuit has changed its state.
    CircuitChanged(Transition),
    /// An adaptive limit of calls in flight has changed.
    #[non_exhaustive]
    LimitMoved {
        /// The calls that may be in flight.
        limit: usize,
    },
}

/// The end of an attempt, as a circuit sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptSummary {
    /// The number of the attempt in its call, from 1.
    pub attempt: u32,
    /// Whether it succeeded. An attempt that was dropped did not, and has no code.
    pub success: bool,
    /// The code of its failure.
    pub code: Option<ErrorCode>,
    /// The kind of its failure.
    pub kind: Option<FailureKind>,
    /// The time to the first token, or to a failure before it; `None` if the attempt was dropped before.
    pub duration: Option<Duration>,
    /// Whether that time reached the threshold of slow calls.
    pub slow: bool,
    /// The bytes of the response body that were read.
    pub response_size: u64,
}

impl Decision {
    /// The name of the decision, in `snake_case`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::AdmittedInShadow(_) => "admitted_in_shadow",
            Self::AdmittedWhileOpen(_) => "admitted_while_open",
            Self::Retried { .. } => "retried",
            Self::RetryDenied => "retry_denied",
            Self::SentAgain(_) => "sent_again",
            Self::FellBack { .. } => "fell_back",
            Self::Hedged { .. } => "hedged",
            Self::HedgeEnded { won: true } => "hedge_won",
            Self::HedgeEnded { won: false } => "hedge_lost",
            Self::HedgeDenied => "hedge_denied",
            Self::Continued { .. } => "continued",
            Self::Skipped(_) => "skipped",
            Self::Waiting { .. } => "waiting",
            Self::MemberLeftOut { .. } => "member_left_out",
            Self::MemberReturned => "member_returned",
            Self::AttemptEnded(_) => "attempt_ended",
            Self::CircuitChanged(_) => "circuit_changed",
            Self::LimitMoved { .. } => "limit_moved",
        }
    }

    /// The layer that decided: `retry`, `fallback`, `hedge`, `reconnect`, or the
    /// [gate](crate::provider::Gate).
    #[must_use]
    #[inline]
    pub const fn layer(&self) -> &'static str {
        match self {
            Self::Rejected { rejection, .. } => rejection.gate().name(),
            Self::Retried { .. } | Self::RetryDenied => "retry",
            Self::Hedged { .. } | Self::HedgeEnded { .. } | Self::HedgeDenied => "hedge",
            Self::SentAgain(_) => "reconnect",
            Self::FellBack { .. } | Self::Continued { .. } | Self::Skipped(_) | Self::Waiting { .. } => {
                "fallback"
            }
            Self::MemberLeftOut { .. } | Self::MemberReturned => "group",
            Self::AdmittedInShadow(_)
            | Self::AdmittedWhileOpen(_)
            | Self::AttemptEnded(_)
            | Self::CircuitChanged(_) => "circuit_breaker",
            Self::LimitMoved { .. } => "backpressure",
        }
    }
}

/// The fields of the `tracing` event of the decision, with the same names.
impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("decision", self.name())?;
        fields.serialize_entry("layer", self.layer())?;
        match self {
            Self::Rejected { rejection, attempt } => {
                fields.serialize_entry("attempt", attempt)?;
                put_rejection(&mut fields, rejection)?;
            }
            Self::AdmittedInShadow(rejection) | Self::AdmittedWhileOpen(rejection) => {
                put_rejection(&mut fields, rejection)?;
            }
            Self::Retried { attempt, code, wait } => {
                fields.serialize_entry("attempt", attempt)?;
                put(&mut fields, "code", code.map(ErrorCode::code))?;
                fields.serialize_entry("wait_ms", &millis(*wait))?;
            }
            Self::RetryDenied | Self::HedgeEnded { .. } | Self::HedgeDenied | Self::MemberReturned => {}
            Self::SentAgain(reason) => fields.serialize_entry("reason", &reason.to_string())?,
            Self::FellBack { kind, code } => {
                put(&mut fields, "code", code.map(ErrorCode::code))?;
                fields.serialize_entry("kind", kind.name())?;
            }
            Self::Continued { code } => put(&mut fields, "code", code.map(ErrorCode::code))?,
            Self::Skipped(missing) => fields.serialize_entry("lack", &missing.to_string())?,
            Self::MemberLeftOut { code, cooldown } => {
                fields.serialize_entry("code", code.code())?;
                fields.serialize_entry("cooldown_ms", &millis(*cooldown))?;
            }
            Self::Waiting { wait } | Self::Hedged { wait } => {
                fields.serialize_entry("wait_ms", &millis(*wait))?
            }
            Self::AttemptEnded(end) => {
                fields.serialize_entry("attempt", &end.attempt)?;
                fields.serialize_entry("success", &end.success)?;
                fields.serialize_entry("slow", &end.slow)?;
                put(&mut fields, "code", end.code.map(ErrorCode::code))?;
                put(&mut fields, "kind", end.kind.map(FailureKind::name))?;
                fields.serialize_entry("bytes", &end.response_size)?;
                put(&mut fields, "head_ms", end.duration.map(millis))?;
            }
            Self::CircuitChanged(transition) => {
                fields.serialize_entry("reason", &transition.reason.to_string())?;
                fields.serialize_entry("from", transition.from.name())?;
                fields.serialize_entry("state", transition.to.name())?;
                put(&mut fields, "cooldown_ms", transition.cooldown.map(millis))?;
                put(&mut fields, "recovery_ms", transition.recovery.map(millis))?;
            }
            Self::LimitMoved { limit } => fields.serialize_entry("limit", limit)?,
        }
        fields.end()
    }
}

/// Serialises a field that has a value.
fn put<M: SerializeMap>(fields: &mut M, name: &str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| fields.serialize_entry(name, &value))
}

fn put_rejection<M: SerializeMap>(fields: &mut M, rejection: &Rejection) -> Result<(), M::Error> {
    fields.serialize_entry("code", rejection.code().code())?;
    fields.serialize_entry("reason", &rejection.reason().to_string())?;
    put(fields, "wait_ms", rejection.retry_after().map(millis))
}
