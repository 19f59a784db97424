//! The promises that every layer keeps, as one call in its tests.
//!
//! # When
//! Once for every layer, in each of the ways in which it can be set up that change what it does: disabled,
//! with the smallest limits, keyed, and so on.
//!
//! # Example
//! ```
//! use tidegate_testkit::contract;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // In a `#[tokio::test(start_paused = true)]`, with `|inner| BackpressureLayer::new(1).layer(inner)`
//! // or the like. Here the layer that does nothing:
//! contract::check(|inner| inner).await;
//! # }
//! ```
//!
//! # What it asks
//! - [`readiness`]: the inner service's readiness and its errors come through; the instance made ready is the
//!   one called; a clone carries no readiness; nothing is called before `call`.
//! - [`drops`]: the response future dropped at any await (the inner one hanging, not ready, or failed once so
//!   that a retry waits) and the body dropped after any frame leave nothing alive, and the service serves again.
//! - [`answers`]: status, headers, extensions, frames, trailers, length and end of a successful answer, and a
//!   refusal of the provider's, come through untouched; the request arrives as it was sent.
//!
//! That it compiles says the rest: service and future are `Send`, the service is `Clone + Sync` ([`Subject`]).
//!
//! # Mistakes people make
//! Build the layer *inside* the closure, so that each part begins without a past. The layer must allow one call
//! at a time, and a call after one failure. The clock must be paused, or back-offs are waited for in real time.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tidegate_core::{BoxError, Payload};
use tower_service::Service;

use crate::strict::Strict;

mod answers;
mod drops;
mod probe;
mod readiness;

pub use answers::answers;
pub use drops::drops;
pub use readiness::readiness;

/// A service that can be put to the test: what every layer of tidegate makes of the strict service.
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

/// Asks all of it. Needs a runtime whose clock is paused.
///
/// # Panics
///
/// If a promise is broken, with a message that names it.
pub async fn check<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    readiness(&layer).await;
    drops(&layer).await;
    answers(&layer).await;
}
