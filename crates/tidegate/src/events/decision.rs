use std::time::Duration;

use serde::{Serialize, Serializer};
use tidegate_core::{MissingCapability, NotProcessedReason};

use crate::circuit_breaker::Transition;
use crate::durations::millis;
use crate::fallback::FallbackKind;
use crate::{ErrorCode, Rejection};

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
    /// An attempt has ended, and a circuit has recorded its result.
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
    /// The time to the first token, or to a failure before it; `None` if the attempt was dropped before.
    pub duration: Option<Duration>,
    /// Whether that time reached the threshold of slow calls.
    pub slow: bool,
    /// The bytes of the response body that were read.
    pub response_size: u64,
}

/// A decision as it is serialised: the fields of its `tracing` event, and the same names.
#[derive(Default, Serialize)]
struct Fields {
    decision: &'static str,
    layer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lack: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_ms: Option<u64>,
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

    fn fields(&self) -> Fields {
        let of = Fields { decision: self.name(), layer: self.layer(), ..Fields::default() };
        let code = |code: &Option<ErrorCode>| code.map(ErrorCode::code);
        let rejected = |rejection: &Rejection, attempt: Option<u32>, of: Fields| Fields {
            attempt,
            code: Some(rejection.code().code()),
            reason: Some(rejection.reason().to_string()),
            wait_ms: rejection.retry_after().map(millis),
            ..of
        };
        match self {
            Self::Rejected { rejection, attempt } => rejected(rejection, Some(*attempt), of),
            Self::AdmittedInShadow(rejection) | Self::AdmittedWhileOpen(rejection) => {
                rejected(rejection, None, of)
            }
            Self::Retried { attempt, code: failure, wait } => {
                Fields { attempt: Some(*attempt), code: code(failure), wait_ms: Some(millis(*wait)), ..of }
            }
            Self::RetryDenied | Self::HedgeEnded { .. } | Self::HedgeDenied => of,
            Self::SentAgain(reason) => Fields { reason: Some(reason.to_string()), ..of },
            Self::FellBack { kind, code: failure } => {
                Fields { kind: Some(kind.name()), code: code(failure), ..of }
            }
            Self::Continued { code: failure } => Fields { code: code(failure), ..of },
            Self::Skipped(missing) => Fields { lack: Some(missing.to_string()), ..of },
            Self::MemberLeftOut { code, cooldown } => {
                Fields { code: Some(code.code()), cooldown_ms: Some(millis(*cooldown)), ..of }
            }
            Self::MemberReturned => of,
            Self::Waiting { wait } | Self::Hedged { wait } => Fields { wait_ms: Some(millis(*wait)), ..of },
            Self::AttemptEnded(end) => Fields {
                attempt: Some(end.attempt),
                success: Some(end.success),
                slow: Some(end.slow),
                code: code(&end.code),
                bytes: Some(end.response_size),
                head_ms: end.duration.map(millis),
                ..of
            },
            Self::CircuitChanged(transition) => Fields {
                from: Some(transition.from.name()),
                state: Some(transition.to.name()),
                reason: Some(transition.reason.to_string()),
                cooldown_ms: transition.cooldown.map(millis),
                recovery_ms: transition.recovery.map(millis),
                ..of
            },
            Self::LimitMoved { limit } => Fields { limit: Some(*limit), ..of },
        }
    }
}

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}
