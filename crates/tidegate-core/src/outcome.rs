use std::error::Error;
use std::time::SystemTime;
use std::{fmt, io};

use http::{HeaderMap, Response, StatusCode};

use crate::{Elapsed, ErrorCode, Rejection, RetryHint, UploadError, chain};

/// What one attempt came to. The layers decide on this alone.
///
/// The wire writes a failure into the extensions of the response; a plain success is not written
/// anywhere and costs nothing. [`Outcome::of`] and [`Outcome::of_error`] read it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider did what was asked.
    Success,
    /// The provider, or the way to it, failed.
    Failure(Failure),
    /// Says nothing about the provider: our own refusal, or the caller left.
    Neutral,
}

/// How an attempt failed. Also an error, so that any service below can fail with a code of its choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What may be done about it.
    pub code: ErrorCode,
    /// What kind of failure it was, where that matters beyond the code.
    pub kind: FailureKind,
    /// When the provider said to come back.
    pub retry_hint: Option<RetryHint>,
    /// The provider's own word for it, such as `rate_limit_exceeded`.
    pub provider_code: Option<Box<str>>,
}

/// What kind of failure, where two failures of one code are not alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FailureKind {
    /// The provider answered, and the answer says so.
    #[default]
    Response,
    /// The prompt does not fit the model; a larger model might take it.
    ContextLength,
    /// The provider's content policy; another provider's may differ.
    ContentFilter,
    /// No answer came: refused, reset, cut off.
    Transport,
    /// The request could not be sent as it was: it is malformed, or its body broke off.
    Request,
    /// A clock of ours ran out.
    Timeout,
    /// The answer ended before the provider had said that it was done.
    Truncated,
    /// The provider failed in the middle of its answer, and said so there.
    InBand,
}

impl Outcome {
    /// The outcome of a response: as judged by the wire, else by its status and headers.
    ///
    /// The wall clock is read only for a failure that nobody judged (its `Retry-After` may be a date).
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Self {
        match response.extensions().get::<Self>() {
            Some(outcome) => outcome.clone(),
            None if !is_failure(response.status()) => Self::Success,
            None => Self::of_head(response.status(), response.headers(), SystemTime::now()),
        }
    }

    /// The outcome of a response by its status and headers alone.
    #[must_use]
    pub fn of_head(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        match ErrorCode::from_status(status) {
            None => Self::Success,
            Some(code) => {
                Failure { retry_hint: RetryHint::from_headers(headers, now), ..Failure::new(code) }.into()
            }
        }
    }

    /// The outcome of an attempt that ended in an error, or of a body that did.
    ///
    /// A [`Rejection`] anywhere in the chain is neutral. A [`Failure`] or an [`Elapsed`] speaks for
    /// itself. An [`UploadError`] is the caller's, E1001. An I/O time-out is E3003, and all other errors are E3001: the way to the provider broke.
    #[must_use]
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        for error in chain(error) {
            if error.is::<Rejection>() {
                return Self::Neutral;
            }
            if error.is::<UploadError>() {
                return Failure { kind: FailureKind::Request, ..Failure::new(ErrorCode::InvalidRequest) }
                    .into();
            }
            if let Some(failure) = error.downcast_ref::<Failure>() {
                return failure.clone().into();
            }
            if error.is::<Elapsed>() || is_io_timeout(error) {
                return Failure { kind: FailureKind::Timeout, ..Failure::new(ErrorCode::Timeout) }.into();
            }
        }
        Failure { kind: FailureKind::Transport, ..Failure::new(ErrorCode::ServerError) }.into()
    }

    /// The failure, if it is one.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Success | Self::Neutral => None,
        }
    }
}

impl Failure {
    /// A failure of which nothing but the code is known.
    #[must_use]
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, kind: FailureKind::Response, retry_hint: None, provider_code: None }
    }

    /// How long the provider said to stay away.
    #[must_use]
    pub fn wait(&self) -> Option<std::time::Duration> {
        self.retry_hint.and_then(|hint| hint.wait)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FailureKind::Response => write!(f, "provider failed: {}", self.code),
            FailureKind::ContextLength => write!(f, "prompt does not fit the model: {}", self.code),
            FailureKind::ContentFilter => write!(f, "refused by the content policy: {}", self.code),
            FailureKind::Transport => write!(f, "no answer from the provider: {}", self.code),
            FailureKind::Request => write!(f, "request could not be sent: {}", self.code),
            FailureKind::Timeout => write!(f, "no answer in time: {}", self.code),
            FailureKind::Truncated => write!(f, "answer broke off: {}", self.code),
            FailureKind::InBand => write!(f, "provider failed in the middle of its answer: {}", self.code),
        }
    }
}

impl Error for Failure {}

fn is_failure(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

fn is_io_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{BoxError, Clock, Gate};

    #[test]
    fn a_plain_success_leaves_no_trace() {
        assert_eq!(Outcome::of(&Response::new(())), Outcome::Success);
    }

    #[test]
    fn the_judgement_of_the_wire_wins_over_the_status() {
        let mut response = Response::new(());
        response.extensions_mut().insert(Outcome::from(Failure::new(ErrorCode::Overloaded)));
        assert_eq!(Outcome::of(&response), Failure::new(ErrorCode::Overloaded).into());
    }

    #[test]
    fn an_unjudged_response_is_read_by_status_and_headers() {
        let response = Response::builder().status(429).header("retry-after", "7").body(()).unwrap();
        let Outcome::Failure(failure) = Outcome::of(&response) else { panic!("a 429 is a failure") };
        assert_eq!((failure.code, failure.wait()), (ErrorCode::RateLimited, Some(Duration::from_secs(7))));
    }

    #[test]
    fn an_error_tells_who_said_no_however_deep_it_is_wrapped() {
        #[derive(Debug)]
        struct Wrapped(BoxError);
        impl fmt::Display for Wrapped {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("wrapped")
            }
        }
        impl Error for Wrapped {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&*self.0)
            }
        }
        let code = |error: BoxError| {
            Outcome::of_error(&Wrapped(Box::new(Wrapped(error)))).failure().map(|f| (f.code, f.kind))
        };
        let elapsed = Elapsed::new(Clock::Attempt, Duration::from_secs(1));
        assert_eq!(code(Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into()), None);
        assert_eq!(code(elapsed.into()), Some((ErrorCode::Timeout, FailureKind::Timeout)));
        assert_eq!(
            code(Failure::new(ErrorCode::Conflict).into()),
            Some((ErrorCode::Conflict, FailureKind::Response))
        );
        assert_eq!(
            code(io::Error::from(io::ErrorKind::TimedOut).into()),
            Some((ErrorCode::Timeout, FailureKind::Timeout))
        );
        assert_eq!(
            code(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Some((ErrorCode::ServerError, FailureKind::Transport))
        );
    }
}
