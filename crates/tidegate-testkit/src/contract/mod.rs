//! A suite that checks the contract that every layer keeps, as one call in the layer's tests.
//!
//! # When to use it
//! Once for every layer, in each configuration that changes its behaviour: disabled, with the smallest
//! limits, keyed, and so on.
//!
//! # Example
//! ```
//! use tidegate_testkit::contract;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // In a `#[tokio::test(start_paused = true)]`, with `|inner| BackpressureLayer::new(1).layer(inner)`
//! // or the like. The identity layer is the simplest example:
//! contract::check(|inner| inner).await;
//! # }
//! ```
//!
//! # What it checks
//! - [`readiness`]: the readiness of the inner service and its errors are reflected. The instance made ready
//!   is the one called. A clone is not ready. The inner service is not called before `call`.
//! - [`drops`]: nothing stays alive after the response future is dropped at any await point (the inner
//!   service hangs, is not ready, or failed once so that a retry waits) or the body is dropped after any
//!   frame. The service then serves the next request.
//! - [`responses`]: status, headers, extensions, frames, trailers, length and end of a successful response
//!   pass unchanged, and so does an error response of the provider. The request reaches the inner service as
//!   it was sent.
//!
//! The bounds of [`Subject`] check the rest at compile time: service and future are `Send`, and the service
//! is `Clone + Sync`.
//!
//! # Common mistakes
//! - Build the layer *inside* the closure, so that each part starts with fresh state.
//! - The layer must allow one call at a time, and a call after one failure.
//! - The clock must be paused. Otherwise back-offs take real time.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tidegate_core::{BoxError, Payload};
use tower_service::Service;

use crate::strict::Strict;

mod drops;
mod probe;
mod readiness;
mod responses;

pub use drops::drops;
pub use readiness::readiness;
pub use responses::responses;

/// A service that the suite can test: what a layer of tidegate makes of the strict service.
pub trait Subject:
    Service<Request<Payload>, Response = Response<Self::Body>, Error: Into<BoxError>, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

impl<S, RB> Subject for S
where
    S: Service<Request<Payload>, Response = Response<RB>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + Sync + 'static,
    RB: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Body = RB;
}

/// Runs all parts of the suite. It needs a runtime with a paused clock.
///
/// # Panics
///
/// If the layer breaks the contract. The message names the broken rule.
pub async fn check<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    readiness(&layer).await;
    drops(&layer).await;
    responses(&layer).await;
}
