use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::Response;

use crate::{ErrorBody, ErrorCode, chain};

/// One of our own layers said no. The provider was not asked, and nothing is counted against it.
///
/// Found in any error with [`Rejection::find`], however wrapped; becomes an HTTP answer with
/// [`Rejection::into_response`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    gate: Gate,
    code: ErrorCode,
    reason: &'static str,
    quota: Option<&'static str>,
    retry_after: Option<Duration>,
    follows_attempt: bool,
}

/// The layer that said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The circuit is open, or its probes are under way.
    CircuitBreaker,
    /// The rate gate has no room in time.
    RateLimit,
    /// Too many calls are in flight, and the queue is full or too slow.
    Backpressure,
    /// The deadline of the call leaves no time to ask.
    Deadline,
    /// The request cannot be said in the dialect of the target.
    Translate,
}

impl Rejection {
    /// `gate` said no, and a caller should see `code`.
    #[must_use]
    pub const fn new(gate: Gate, code: ErrorCode) -> Self {
        let reason = gate.usual_reason();
        Self { gate, code, reason, quota: None, retry_after: None, follows_attempt: false }
    }

    /// The same with a reason of its own: lower case, one clause.
    #[must_use]
    pub const fn because(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// The same, with the quota that lacks room: `tokens per minute`.
    #[must_use]
    pub const fn with_quota(self, quota: &'static str) -> Self {
        Self { quota: Some(quota), ..self }
    }

    /// The same, of a call that had reached its provider before: with an attempt that came to nothing.
    #[must_use]
    pub const fn after_attempt(self) -> Self {
        Self { follows_attempt: true, ..self }
    }

    /// The same, with the time after which asking again may succeed.
    #[must_use]
    pub const fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The rejection in `error` or in any of its sources: was it you or them?
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        chain(error).find_map(|error| error.downcast_ref())
    }

    /// The layer that said no.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.gate
    }

    /// The standard code a caller should see.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// Why, in a few words.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// The quota that lacks room, if it is for the lack of one.
    #[must_use]
    pub const fn quota(&self) -> Option<&'static str> {
        self.quota
    }

    /// Whether the call had reached its provider before it was refused, with an attempt that came to nothing.
    #[must_use]
    pub const fn follows_attempt(&self) -> bool {
        self.follows_attempt
    }

    /// When asking again may succeed, if that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The rejection as an HTTP answer: 429, 503 or 504, `Retry-After`, and the protocol's error envelope.
    #[must_use]
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        ErrorBody::from(&self).into_response(self.code.http_status())
    }
}

impl Gate {
    /// The name of the layer, as in events and metrics.
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

    const fn usual_reason(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "circuit open",
            Self::RateLimit => "rate limit reached",
            Self::Backpressure => "too many calls in flight",
            Self::Deadline => "deadline leaves no time to ask",
            Self::Translate => "request cannot be translated",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
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
    fn says_what_and_for_how_long() {
        assert_eq!(open().to_string(), "circuit open for another 11s");
        assert_eq!(
            open().with_retry_after(Duration::from_millis(40)).to_string(),
            "circuit open for another 40ms"
        );
    }

    #[test]
    fn names_the_quota_that_lacks_room() {
        let rejection = Rejection::new(Gate::RateLimit, ErrorCode::RateLimited)
            .with_quota("tokens per minute")
            .with_retry_after(Duration::from_secs(12));
        assert_eq!(rejection.to_string(), "rate limit reached (tokens per minute), retry after 12s");
    }

    #[test]
    fn is_found_in_a_boxed_error() {
        let error: BoxError = open().into();
        assert_eq!(Rejection::find(&*error), Some(&open()));
        let error: BoxError = "something else".into();
        assert_eq!(Rejection::find(&*error), None);
    }

    #[test]
    fn becomes_an_answer_with_retry_after_rounded_up() {
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
