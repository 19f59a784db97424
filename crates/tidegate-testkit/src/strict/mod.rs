//! An inner service that enforces Tower's contract.
//!
//! # When to use it
//! In the tests of a layer: put it where the HTTP client would be, script its responses, and inspect
//! afterwards which requests it received and which futures and bodies are alive.
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
//! # What it checks
//! It panics, and [`Handle::violations`] records the reason, when
//! - it is called without a successful `poll_ready` of that same instance,
//! - it is called twice on one readiness,
//! - a clone is called on the readiness of the original,
//! - its response future is polled after completion.
//!
//! # Defaults
//! It is always ready, and responds with 200 and an empty body once the script is used up
//! ([`Handle::otherwise`] changes that).
//!
//! # Common mistakes
//! A layer that spawns hides the panic in a task. Assert that [`Handle::violations`] is empty as well.

mod answer;
mod body;
mod future;
mod handle;
mod service;
mod state;

pub use answer::Answer;
pub use body::StrictBody;
pub use future::ResponseFuture;
pub use handle::{Handle, ReceivedRequest};
pub use service::{Strict, service};
