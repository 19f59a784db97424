use std::fmt;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tidegate::ErrorCode;
use tidegate::provider::{Category, ErrorBody};

use crate::endpoint::ApiDialect;
use crate::error_format::{MODEL_NOT_FOUND, error_body};
use crate::open_calls::EndReason;

pub(crate) const CODE: HeaderName = HeaderName::from_static("x-tidegate-code");

/// An error response of the gateway itself, for a request that cannot be forwarded.
#[derive(Debug)]
pub(crate) struct GatewayError {
    status: StatusCode,
    body: ErrorBody,
    api_code: Option<&'static str>,
    headers: HeaderMap,
    logged: Option<String>,
}

impl GatewayError {
    /// An error with the default status of `code`.
    pub(crate) fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self {
            status: code.http_status(),
            body: ErrorBody::new(code, message.to_string()),
            api_code: None,
            headers: HeaderMap::new(),
            logged: None,
        }
    }

    /// An error with this body.
    pub(crate) fn from_body(body: ErrorBody) -> Self {
        Self { status: body.status(), body, api_code: None, headers: HeaderMap::new(), logged: None }
    }

    /// A 404 for a model that is not served.
    pub(crate) fn model_not_found(message: impl fmt::Display) -> Self {
        Self { api_code: Some(MODEL_NOT_FOUND), ..Self::new(ErrorCode::NotFound, message) }
    }

    /// The status of the response.
    pub(crate) fn http_status(&self) -> StatusCode {
        self.status
    }

    /// Whether the request is at fault.
    pub(crate) fn is_of_request(&self) -> bool {
        self.body.code().category() == Category::Client
    }

    /// The message for the caller.
    pub(crate) fn message(&self) -> &str {
        self.body.message()
    }

    /// The message for the log, which is that for the caller unless there is another.
    pub(crate) fn logged(&self) -> &str {
        self.logged.as_deref().unwrap_or(self.message())
    }

    /// Adds a message for the log.
    pub(crate) fn logged_as(self, message: String) -> Self {
        Self { logged: Some(message), ..self }
    }

    /// Replaces the status by a more specific one.
    pub(crate) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Adds a header to the response.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The response for callers of `dialect`.
    pub(crate) fn into_response(self, dialect: ApiDialect) -> Response<Body> {
        let text = error_body(&self.body, dialect, self.api_code).to_string();
        let code = HeaderValue::from_static(self.body.code().code());
        // The head has the headers of the protocol, such as `Retry-After`.
        let mut response = self.body.into_response::<String>(self.status).map(|_| Body::from(text));
        response.headers_mut().insert(CODE, code);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<EndReason> for GatewayError {
    fn from(reason: EndReason) -> Self {
        Self::new(reason.code(), reason)
    }
}
