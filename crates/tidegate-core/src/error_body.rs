use std::error::Error;
use std::io;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::outcome::is_exhausted;
use crate::{ConnectError, ErrorCode, FailureKind, Outcome, Rejection, Untranslatable, chain};

/// The error body of the AI-Protocol: `{"error":{"code":"E2001","name":"rate_limited","message":...}}`.
///
/// Unless it is [replaced](Self::with_message), the message is written by tidegate and never contains text of
/// a provider or of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    error: ErrorObject,
    #[serde(skip)]
    kind: FailureKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ErrorObject {
    code: ErrorCode,
    name: &'static str,
    message: String,
    retryable: bool,
    fallbackable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<ErrorDetails>,
}

/// The fields that the target does not support.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ErrorDetails {
    error_code: &'static str,
    unsupported: Vec<String>,
}

impl ErrorBody {
    /// An error with `code` and `message`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let (retryable, fallbackable) = (code.is_retryable(), code.is_fallbackable());
        let message = message.into();
        Self {
            error: ErrorObject {
                code,
                name: code.name(),
                message,
                retryable,
                fallbackable,
                retry_after_ms: None,
                details: None,
            },
            kind: FailureKind::default(),
        }
    }

    /// The error body for a call that ended in `error`. The text of a transport error is not included,
    /// because it may contain addresses and credentials.
    #[must_use]
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        if let Some(untranslatable) = chain(error).find_map(<dyn Error>::downcast_ref::<Untranslatable>) {
            let body = Self::new(untranslatable.rejection().code(), untranslatable.to_string());
            return body.with_details(untranslatable);
        }
        if let Some(rejection) = Rejection::find(error) {
            return rejection.into();
        }
        match Outcome::of_error(error) {
            Outcome::Failure(failure) if chain(error).any(is_exhausted) => {
                Self::new(failure.code, "no file descriptor, port or memory is left for a connection")
            }
            Outcome::Failure(failure) => {
                let message = match transport_reason(error) {
                    Some(reason) => format!("{failure}, {reason}"),
                    None => failure.to_string(),
                };
                let body = Self::new(failure.code, message).with_retry_after(failure.wait());
                Self { kind: failure.kind, ..body }
            }
            Outcome::Success | Outcome::Neutral => Self::new(ErrorCode::Unknown, "call failed"),
        }
    }

    /// The response to a call that ended in `error`: the status of its code, or 502 if the provider failed
    /// without a response that could be passed on.
    ///
    /// ```
    /// use http::Response;
    /// use tidegate_core::{BoxError, ErrorBody};
    ///
    /// let error: BoxError = std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
    /// let response: Response<String> = ErrorBody::response_of(&*error);
    /// assert_eq!(response.status(), 502);
    /// ```
    #[must_use]
    pub fn response_of<B: From<String>>(error: &(dyn Error + 'static)) -> Response<B> {
        let body = Self::of_error(error);
        let status = body.status();
        body.into_response(status)
    }

    /// The status of a response to a call that ended in an error: that of its code, 400 if the prompt does
    /// not fit the model, or 502 if the provider failed.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match (self.kind, self.error.code) {
            // As providers report it. Clients shorten the conversation then, and take a 413 for an error in
            // the transfer.
            (FailureKind::ContextLength, _) => StatusCode::BAD_REQUEST,
            // The provider failed, or the connection to it, and not the program that calls it.
            (_, ErrorCode::ServerError) => StatusCode::BAD_GATEWAY,
            (_, code) => code.http_status(),
        }
    }

    /// Adds what clients need to send the request in another form.
    fn with_details(mut self, untranslatable: &Untranslatable) -> Self {
        self.error.details = untranslatable.error_code().map(|error_code| ErrorDetails {
            error_code,
            unsupported: vec![untranslatable.field().to_owned()],
        });
        self
    }

    /// Sets the time after which a retry may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.error.retry_after_ms =
            retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Replaces the message, as by that of the provider.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.error.message = message.into();
        self
    }

    /// The kind of the failure with which the call ended.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The standard code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.error.code
    }

    /// The message for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.error.message
    }

    /// The body as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Converts the body into a response with `status`, and with `Retry-After` in whole seconds, rounded up.
    #[must_use]
    pub fn into_response<B: From<String>>(self, status: StatusCode) -> Response<B> {
        let mut response = Response::new(B::from(self.to_json()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(ms) = self.error.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        response
    }
}

/// Why a transport failed, in one of a few texts; the error itself may contain an address.
fn transport_reason(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(connect) = chain(error).find_map(<dyn Error>::downcast_ref::<ConnectError>) {
        return Some(connect.reason().to_owned());
    }
    let kind = chain(error).find_map(<dyn Error>::downcast_ref::<io::Error>)?.kind();
    (kind != io::ErrorKind::Other).then(|| kind.to_string())
}

impl From<&Rejection> for ErrorBody {
    fn from(rejection: &Rejection) -> Self {
        Self::new(rejection.code(), rejection.to_string()).with_retry_after(rejection.retry_after())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Clock, Elapsed};

    #[test]
    fn the_text_of_a_transport_error_is_not_included() {
        let error: BoxError = "connect to https://user:secret@host failed".into();
        let body = ErrorBody::of_error(&*error);
        assert_eq!(body.code(), ErrorCode::ServerError);
        assert_eq!(body.message(), "no answer from the provider: E3001 server_error");
    }

    #[test]
    fn the_kind_of_an_io_error_is_included() {
        let error: BoxError = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        let message = "no answer from the provider: E3001 server_error, connection refused";
        assert_eq!(ErrorBody::of_error(&*error).message(), message);
        let error: BoxError = io::Error::other("https://user:secret@host").into();
        assert_eq!(ErrorBody::of_error(&*error).message(), "no answer from the provider: E3001 server_error");
    }

    #[test]
    fn the_reason_of_a_connector_is_included() {
        let secret = io::Error::new(io::ErrorKind::InvalidData, "https://user:secret@host");
        let error: BoxError = io::Error::other(ConnectError::new("name not found", secret)).into();
        let message = "no answer from the provider: E3001 server_error, name not found";
        assert_eq!(ErrorBody::of_error(&*error).message(), message);
    }

    #[test]
    fn a_timeout_is_e3003() {
        let error: BoxError = Elapsed::new(Clock::Attempt, Duration::from_secs(2)).into();
        assert_eq!(ErrorBody::of_error(&*error).code(), ErrorCode::Timeout);
    }
}
