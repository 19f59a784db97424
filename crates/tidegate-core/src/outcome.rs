use std::borrow::Cow;
use std::error::Error;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use http::response::Parts;
use http::{Extensions, HeaderMap, Response, StatusCode};

use crate::{Clock, Elapsed, ErrorCode, HintSource, NotProcessed, Rejection, RetryHint, UploadError, chain};

/// The result of one attempt. The layers base their decisions on it alone.
///
/// The wire inserts the outcome of a failure into the extensions of the response. A success is not recorded
/// and costs nothing. [`Outcome::of`] and [`Outcome::of_error`] return the outcome of a response or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider served the request.
    Success,
    /// The provider, or the connection to it, failed.
    Failure(Failure),
    /// The attempt carries no information about the provider: a gate rejected it, or the caller cancelled it.
    Neutral,
}

/// A failed attempt. It is also an error type, so that any inner service can fail with a code of its choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The standard code, which decides about retry and fallback.
    pub code: ErrorCode,
    /// The kind of failure, where it matters beyond the code.
    pub kind: FailureKind,
    /// When the provider may be called again, as far as it has reported that.
    pub retry_hint: Option<RetryHint>,
    /// The provider's own error code, such as `rate_limit_exceeded`.
    pub provider_code: Option<Box<str>>,
}

/// The kind of a failure, which distinguishes failures with the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FailureKind {
    /// The provider sent a response that reports the failure.
    #[default]
    Response,
    /// The prompt does not fit the context of the model. A larger model might accept it.
    ContextLength,
    /// The content policy of the provider rejected the request. The policy of another provider may differ.
    ContentFilter,
    /// No response was received: the connection was refused, reset or cut off.
    Transport,
    /// The provider did not process the request ([`NotProcessed`]), or it could not be sent for lack of a
    /// file descriptor, or it costs more than what is left of an account that may serve others, or a network
    /// in front of the provider refused its client, or it named a service tier without room. Such a failure
    /// is neutral for the health of the provider: another target may be tried, but no circuit or
    /// limit counts it.
    NotProcessed,
    /// The request could not be sent: it is malformed, or its body ended in an error.
    Request,
    /// One of tidegate's timers expired.
    Timeout,
    /// The time passed that the caller has set for the call, or that of an attempt while a part of its
    /// response waited to be read. Neutral for the health of the provider, as if the caller had left.
    CallerTimeout,
    /// The response ended before its terminator.
    Truncated,
    /// The provider reported a failure inside the body of a response that had begun.
    InBand,
    /// The status was a success, but the body contains no answer: it is empty, a web page, or lacks a choice.
    NoAnswer,
    /// The model has generated what its provider could not parse, such as a malformed call of a tool, or its
    /// chat template refused the messages. Another attempt may succeed. Neutral for the health of the
    /// provider, since the request may be the cause.
    ModelOutput,
}

impl FailureKind {
    /// The name in events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::Transport => "transport",
            Self::NotProcessed => "not_processed",
            Self::Request => "request",
            Self::Timeout => "timeout",
            Self::CallerTimeout => "caller_timeout",
            Self::Truncated => "truncated",
            Self::InBand => "in_band",
            Self::NoAnswer => "no_answer",
            Self::ModelOutput => "model_output",
        }
    }
}

impl Outcome {
    /// The outcome of a response: as classified by the wire, else by its status and headers.
    ///
    /// The wall clock is read only for a failure that the wire has not classified, since its `Retry-After`
    /// may be a date.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Self {
        Self::borrow(response).into_owned()
    }

    /// The outcome of a response like [`of`](Self::of), borrowed where the wire has classified it.
    #[must_use]
    pub fn borrow<B>(response: &Response<B>) -> Cow<'_, Self> {
        Self::borrow_of(response.status(), response.headers(), response.extensions())
    }

    /// The same of a response that is taken apart.
    #[must_use]
    pub fn borrow_head(head: &Parts) -> Cow<'_, Self> {
        Self::borrow_of(head.status, &head.headers, &head.extensions)
    }

    fn borrow_of<'a>(status: StatusCode, headers: &HeaderMap, extensions: &'a Extensions) -> Cow<'a, Self> {
        match extensions.get() {
            Some(outcome) => Cow::Borrowed(outcome),
            None if !is_failure(status) => Cow::Owned(Self::Success),
            None => Cow::Owned(Self::of_head(status, headers, SystemTime::now())),
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

    /// The outcome of an attempt, or of a response body, that ended in an error.
    ///
    /// The first match in the chain of sources decides. A [`Rejection`] is neutral. A [`Failure`] is used as
    /// it is. An [`Elapsed`] and an I/O timeout are E3003; the former is neutral for the health of the
    /// provider if the caller has set the time, or did not read the response in time. An [`UploadError`] is
    /// attributed to the caller, E1001. A [`NotProcessed`] is E3001. An I/O error that reports that this
    /// process has run out of file descriptors, ports or memory is E3002 and neutral for the health of the
    /// provider, since the request was not sent. With the feature `tower`, which `tidegate` sets, a timeout of
    /// tower or tokio is E3003, and a request that tower's `LoadShed` refused is E3002 and neutral. All other
    /// errors, which are transport errors, are E3001.
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
            if error.is::<NotProcessed>() {
                let kind = FailureKind::NotProcessed;
                return Failure { kind, ..Failure::new(ErrorCode::ServerError) }.into();
            }
            if let Some(failure) = error.downcast_ref::<Failure>() {
                return failure.clone().into();
            }
            if is_exhausted(error) {
                let kind = FailureKind::NotProcessed;
                return Failure { kind, ..Failure::new(ErrorCode::Overloaded) }.into();
            }
            if let Some(elapsed) = error.downcast_ref::<Elapsed>() {
                let kind = match elapsed.clock() {
                    _ if elapsed.is_unread() => FailureKind::CallerTimeout,
                    Clock::CallerDeadline => FailureKind::CallerTimeout,
                    _ => FailureKind::Timeout,
                };
                return Failure { kind, ..Failure::new(ErrorCode::Timeout) }.into();
            }
            #[cfg(feature = "tower")]
            if let Some(failure) = failure_of_tower(error) {
                return failure.into();
            }
            if is_io_timeout(error) {
                return Failure { kind: FailureKind::Timeout, ..Failure::new(ErrorCode::Timeout) }.into();
            }
        }
        Failure { kind: FailureKind::Transport, ..Failure::new(ErrorCode::ServerError) }.into()
    }

    /// The failure, if the outcome is one.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Success | Self::Neutral => None,
        }
    }
}

impl Failure {
    /// A failure with `code` and without further details.
    #[must_use]
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, kind: FailureKind::Response, retry_hint: None, provider_code: None }
    }

    /// The same failure after which the provider may be called again in `wait`, at most
    /// [`RetryHint::MAX_WAIT`], as if it had reported that.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { retry_hint: Some(RetryHint::after(wait, HintSource::Body)), ..self }
    }

    /// Whether the failure counts against the health of the provider: by its code, unless it is
    /// [neutral](Self::is_neutral).
    #[must_use]
    pub fn counts_against_health(&self) -> bool {
        !self.is_neutral() && self.code.counts_against_health()
    }

    /// Whether the failure shows nothing about the provider, whatever its code: it did not process the
    /// request, the caller has set the time that passed or did not read in time, or the output of the model
    /// could not be parsed.
    #[must_use]
    pub const fn is_neutral(&self) -> bool {
        matches!(self.kind, FailureKind::NotProcessed | FailureKind::CallerTimeout | FailureKind::ModelOutput)
    }

    /// The failure of a response that has the status of a success and contains no answer.
    #[must_use]
    pub fn no_answer() -> Self {
        Self { kind: FailureKind::NoAnswer, ..Self::new(ErrorCode::ServerError) }
    }

    /// The failure of a response without content, because the content policy of the provider withheld it.
    #[must_use]
    pub fn content_filter() -> Self {
        Self { kind: FailureKind::ContentFilter, ..Self::new(ErrorCode::InvalidRequest) }
    }

    /// The time to wait that the provider reported. Zero is no report.
    #[must_use]
    pub fn wait(&self) -> Option<std::time::Duration> {
        self.retry_hint.and_then(|hint| hint.wait).filter(|wait| !wait.is_zero())
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
            FailureKind::NotProcessed => write!(f, "request was not processed: {}", self.code),
            FailureKind::Request => write!(f, "request could not be sent: {}", self.code),
            FailureKind::Timeout | FailureKind::CallerTimeout => {
                write!(f, "no answer in time: {}", self.code)
            }
            FailureKind::Truncated => write!(f, "answer broke off: {}", self.code),
            FailureKind::InBand => write!(f, "provider failed in the middle of its answer: {}", self.code),
            FailureKind::NoAnswer => write!(f, "provider sent a success without an answer: {}", self.code),
            FailureKind::ModelOutput => write!(f, "output of the model could not be parsed: {}", self.code),
        }
    }
}

impl Error for Failure {}

fn is_failure(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Whether an I/O error reports that this process, and not its peer, has run out of file descriptors, ports
/// or memory.
pub(crate) fn is_exhausted(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
            || error.raw_os_error().is_some_and(|code| OUT_OF_DESCRIPTORS.contains(&code))
    })
}

/// `ENFILE` and `EMFILE`.
#[cfg(not(windows))]
const OUT_OF_DESCRIPTORS: [i32; 2] = [23, 24];

/// `WSAEMFILE` and `WSAENOBUFS`.
#[cfg(windows)]
const OUT_OF_DESCRIPTORS: [i32; 2] = [10_024, 10_055];

/// The failure that a timeout of tokio or tower is, or a request that tower's `LoadShed` refused.
#[cfg(feature = "tower")]
fn failure_of_tower(error: &(dyn Error + 'static)) -> Option<Failure> {
    let (kind, code) =
        if error.is::<tokio::time::error::Elapsed>() || error.is::<tower::timeout::error::Elapsed>() {
            (FailureKind::Timeout, ErrorCode::Timeout)
        } else if error.is::<tower::load_shed::error::Overloaded>() {
            (FailureKind::NotProcessed, ErrorCode::Overloaded)
        } else {
            return None;
        };
    Some(Failure { kind, ..Failure::new(code) })
}

fn is_io_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{BoxError, Clock, Gate, NotProcessedReason};

    #[test]
    fn a_response_without_a_recorded_outcome_is_a_success() {
        assert_eq!(Outcome::of(&Response::new(())), Outcome::Success);
    }

    #[test]
    fn the_outcome_of_the_wire_outweighs_the_status() {
        let mut response = Response::new(());
        response.extensions_mut().insert(Outcome::from(Failure::new(ErrorCode::Overloaded)));
        assert_eq!(Outcome::of(&response), Failure::new(ErrorCode::Overloaded).into());
    }

    #[test]
    fn a_response_that_was_not_classified_is_classified_by_status_and_headers() {
        let response = Response::builder().status(429).header("retry-after", "7").body(()).unwrap();
        let Outcome::Failure(failure) = Outcome::of(&response) else { panic!("a 429 is a failure") };
        assert_eq!((failure.code, failure.wait()), (ErrorCode::RateLimited, Some(Duration::from_secs(7))));
    }

    #[test]
    fn the_source_of_an_error_is_found_at_any_depth() {
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
        let unread = elapsed.while_unread();
        assert_eq!(code(unread.into()), Some((ErrorCode::Timeout, FailureKind::CallerTimeout)));
        let refused = NotProcessed::new(NotProcessedReason::StreamRefused, io::Error::other("refused"));
        assert_eq!(code(refused.into()), Some((ErrorCode::ServerError, FailureKind::NotProcessed)));
        assert_eq!(
            code(Failure::new(ErrorCode::Conflict).into()),
            Some((ErrorCode::Conflict, FailureKind::Response))
        );
        assert_eq!(
            code(io::Error::from(io::ErrorKind::TimedOut).into()),
            Some((ErrorCode::Timeout, FailureKind::Timeout))
        );
        for error in OUT_OF_DESCRIPTORS.map(io::Error::from_raw_os_error) {
            assert_eq!(code(error.into()), Some((ErrorCode::Overloaded, FailureKind::NotProcessed)));
        }
        assert_eq!(
            code(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Some((ErrorCode::ServerError, FailureKind::Transport))
        );
    }

    #[test]
    fn a_request_that_was_not_processed_does_not_count_against_health() {
        let failed = |kind| Failure { kind, ..Failure::new(ErrorCode::ServerError) };
        assert!(failed(FailureKind::Transport).counts_against_health());
        assert!(!failed(FailureKind::NotProcessed).counts_against_health());
        assert!(!Failure::new(ErrorCode::RateLimited).counts_against_health());
    }
}
