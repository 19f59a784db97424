//! The calls that the benches measure: a request as an application sends it, and a provider that answers at once.

use std::future::{Ready, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tidegate::{BoxError, Payload};
use tower::util::ServiceFn;

/// What a provider answers that costs nothing.
pub type Answer = Result<Response<Full<Bytes>>, BoxError>;

/// A provider that answers at once.
#[must_use]
pub fn provider() -> ServiceFn<fn(Request<Payload>) -> Ready<Answer>> {
    tower::service_fn(|_| ready(Ok(Response::new(Full::new(Bytes::from_static(b"{}"))))))
}

/// A request without headers and with a small body.
#[must_use]
pub fn bare_request() -> Request<Payload> {
    Request::new(Payload::from("{}"))
}

/// A request as a client library sends it: six headers and 2 KiB of prompt.
#[must_use]
pub fn usual_request() -> Request<Payload> {
    static PROMPT: [u8; 2048] = [b'x'; 2048];
    Request::post("https://api.openai.com/v1/chat/completions")
        .header("authorization", "Bearer of-a-key-that-is-not-one")
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .header("user-agent", "tidegate-bench/1")
        .header("x-request-id", "6b1f1c3e-0001")
        .header("openai-organization", "org-example")
        .body(Payload::from(Bytes::from_static(&PROMPT)))
        .unwrap_or_else(|_| bare_request())
}
