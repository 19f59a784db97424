use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::Response;

use crate::{ErrorBody, ErrorCode, RejectionReason, chain};

/// A request was rejected by one of tidegate's own layers. It was not sent to the provider, and nothing is
/// counted against the provider.
///
/// [`Rejection::find`] finds it in any error, however wrapped. [`Rejection::into_response`] converts it into
/// an HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias("CircuitBreakerOpenException", "CircuitBreakerException"))]
pub struct Rejection {
    gate: Gate,
    code: ErrorCode,
    reason: RejectionReason,
    quota: Option<&'static str>,
    retry_after: Option<Duration>,
    follows_attempt: bool,
}

/// The layer that rejected the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The circuit is open, or all its probes are in flight.
    CircuitBreaker,
    /// The rate limit leaves no capacity in time.
    RateLimit,
    /// Too many calls are in flight, and the queue is full or too slow.
    Backpressure,
    /// The deadline of the call leaves no time for an attempt.
    Deadline,
    /// The request cannot be expressed in the dialect of the target.
    Translate,
}

impl Rejection {
    /// A rejection by `gate`, reported to the caller as `code`.
    #[must_use]
    pub const fn new(gate: Gate, code: ErrorCode) -> Self {
        let reason = gate.default_reason();
        Self { gate, code, reason, quota: None, retry_after: None, follows_attempt: false }
    }

    /// Replaces the default reason of the gate.
    #[must_use]
    pub const fn because(self, reason: RejectionReason) -> Self {
        Self { reason, ..self }
    }

    /// Sets the quota that has no capacity left, such as `tokens per minute`.
    #[must_use]
    pub const fn with_quota(self, quota: &'static str) -> Self {
        Self { quota: Some(quota), ..self }
    }

    /// Marks that an earlier attempt of the call reached the provider and failed.
    #[must_use]
    pub const fn after_attempt(self) -> Self {
        Self { follows_attempt: true, ..self }
    }

    /// Sets the time after which a retry may succeed.
    #[must_use]
    pub const fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The rejection in `error` or in any of its sources. It distinguishes a rejection by tidegate from a
    /// failure of the provider.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        chain(error).find_map(|error| error.downcast_ref())
    }

    /// The layer that rejected the request.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.gate
    }

    /// The standard code that is reported to the caller.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The reason, which can be matched.
    #[must_use]
    pub const fn reason(&self) -> RejectionReason {
        self.reason
    }

    /// The quota that has no capacity left, if a quota is the reason.
    #[must_use]
    pub const fn quota(&self) -> Option<&'static str> {
        self.quota
    }

    /// Whether an earlier attempt of the call reached the provider and failed.
    #[must_use]
    pub const fn follows_attempt(&self) -> bool {
        self.follows_attempt
    }

    /// The time after which a retry may succeed, if it is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Converts the rejection into an HTTP response: the status of its code, `Retry-After`, and the error
    /// body of the AI-Protocol.
    #[must_use]
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        ErrorBody::from(&self).into_response(self.code.http_status())
    }
}

impl Gate {
    /// The name of the layer in events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "circuit_breaker",
            Self::RateLimit => "rate_limit",
            Self::Backpressure => "backpressure",
            Self::Deadline => "deadline",
            Self::Translate => "translate",
        }
    }

    const fn default_reason(self) -> RejectionReason {
        match self {
            Self::CircuitBreaker => RejectionReason::CircuitOpen,
            Self::RateLimit => RejectionReason::RateLimitReached,
            Self::Backpressure => RejectionReason::TooManyInFlight,
            Self::Deadline => RejectionReason::DeadlineExceeded,
            Self::Translate => RejectionReason::Untranslatable,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        if let Some(quota) = self.quota {
            write!(f, " ({quota})")?;
        }
        let Some(wait) = self.retry_after else { return Ok(()) };
        f.write_str(match self.gate {
            Gate::CircuitBreaker => " for another ",
            Gate::RateLimit | Gate::Backpressure | Gate::Deadline | Gate::Translate => ", retry after ",
        })?;
        match wait.as_secs() {
            10.. => write!(f, "{}s", wait.as_secs()),
            _ => write!(f, "{}ms", wait.as_millis()),
        }
    }
}

impl Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxError;

    fn open() -> Rejection {
        Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded)
            .with_retry_after(Duration::from_millis(11_200))
    }

    #[test]
    fn the_message_states_the_reason_and_the_wait() {
        assert_eq!(open().to_string(), "circuit open for another 11s");
        assert_eq!(
            open().with_retry_after(Duration::from_millis(40)).to_string(),
            "circuit open for another 40ms"
        );
    }

    #[test]
    fn the_message_names_the_exhausted_quota() {
        let rejection = Rejection::new(Gate::RateLimit, ErrorCode::RateLimited)
            .with_quota("tokens per minute")
            .with_retry_after(Duration::from_secs(12));
        assert_eq!(rejection.to_string(), "rate limit reached (tokens per minute), retry after 12s");
    }

    #[test]
    fn a_rejection_is_found_in_a_boxed_error() {
        let error: BoxError = open().into();
        assert_eq!(Rejection::find(&*error), Some(&open()));
        let error: BoxError = "something else".into();
        assert_eq!(Rejection::find(&*error), None);
    }

    #[test]
    fn the_response_has_retry_after_rounded_up() {
        let response: Response<String> = open().into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "12");
        assert_eq!(response.headers()["content-type"], "application/json");
        let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        let expected = serde_json::json!({"error": {
            "code": "E3002", "name": "overloaded", "message": "circuit open for another 11s",
            "retryable": true, "fallbackable": true, "retry_after_ms": 11_200,
        }});
        assert_eq!(body, expected);
    }
}
