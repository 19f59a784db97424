//! An inner service that holds a layer to Tower's contract.
//!
//! # When
//! In the tests of a layer: put it where the HTTP client would be, tell it what to answer, and look
//! afterwards at what it was asked and at what is still alive.
//!
//! # Example
//! ```
//! use http::Request;
//! use tidegate_testkit::strict;
//! use tower_service::Service;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (mut service, handle) = strict::service();
//! handle.answer(503).header("retry-after", "2");
//! handle.fail("connection reset");
//! handle.hang();
//!
//! std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
//! let response = service.call(Request::new("prompt")).await.unwrap();
//! assert_eq!(response.status(), 503);
//! assert_eq!(handle.calls(), 1);
//! # }
//! ```
//!
//! # What it insists on
//! It panics, and [`Handle::violations`] keeps the reason, when it is
//! - called without a successful `poll_ready` of that same instance,
//! - called twice on one readiness,
//! - called as a clone on the readiness of the original,
//! - or when its response future is polled after it has completed.
//!
//! # Defaults
//! Always ready; 200 with an empty body once the script is used up ([`Handle::otherwise`] changes that).
//!
//! # Mistakes people make
//! A layer that spawns hides the panic in a task: assert that [`Handle::violations`] is empty as well.

mod answer;
mod body;
mod future;
mod handle;
mod service;
mod state;

pub use answer::Answer;
pub use body::StrictBody;
pub use future::ResponseFuture;
pub use handle::{Handle, Seen};
pub use service::{Strict, service};
