use std::fmt;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tidegate::provider::ErrorBody;
use tidegate::{Error, ErrorCode};

pub(crate) const CODE: HeaderName = HeaderName::from_static("x-tidegate-code");

/// An error response of the gateway itself, for a request that cannot be forwarded.
#[derive(Debug)]
pub(crate) struct GatewayError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
}

impl GatewayError {
    /// An error with the default status of `code`.
    pub(crate) fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { status: code.http_status(), code, message: message.to_string() }
    }

    /// Replaces the status by a more specific one.
    pub(crate) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        respond(ErrorBody::new(self.code, self.message), self.status)
    }
}

/// The response to a call that ended in an error: a rejection by a gate, a timeout, or a transport error.
pub(super) fn of_error(error: &Error) -> Response<Body> {
    let body = ErrorBody::of_error(&**error);
    let status = match body.code() {
        // The provider failed, or the connection to it, and not the gateway.
        ErrorCode::ServerError => StatusCode::BAD_GATEWAY,
        code => code.http_status(),
    };
    respond(body, status)
}

fn respond(body: ErrorBody, status: StatusCode) -> Response<Body> {
    let code = HeaderValue::from_static(body.code().code());
    let mut response = body.into_response(status);
    response.headers_mut().insert(CODE, code);
    response
}
