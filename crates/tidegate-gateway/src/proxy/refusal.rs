use std::fmt;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tidegate::{BoxError, ErrorBody, ErrorCode};

pub(crate) const CODE: HeaderName = HeaderName::from_static("x-tidegate-code");

/// A request that the gateway answers itself, because it cannot be asked of anybody.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    message: String,
}

impl Refusal {
    /// A refusal with the status that usually stands for `code`.
    pub(crate) fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { status: code.http_status(), code, message: message.to_string() }
    }

    /// The same with a status that says it better.
    pub(crate) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        respond(ErrorBody::new(self.code, self.message), self.status)
    }
}

/// The answer to a call that ended in an error: a refusal of a gate, a time-out, or no connection.
pub(super) fn of_error(error: &BoxError) -> Response<Body> {
    let envelope = ErrorBody::of_error(&**error);
    let status = match envelope.code() {
        // It is the provider who failed, or the way there.
        ErrorCode::ServerError => StatusCode::BAD_GATEWAY,
        code => code.http_status(),
    };
    respond(envelope, status)
}

fn respond(envelope: ErrorBody, status: StatusCode) -> Response<Body> {
    let code = HeaderValue::from_static(envelope.code().code());
    let mut response = envelope.into_response(status);
    response.headers_mut().insert(CODE, code);
    response
}
