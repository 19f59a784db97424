//! Gives every attempt its time, to the last byte of the answer.
//!
//! # When
//! Innermost, in front of the client or of the [`ClassifyLayer`](crate::ClassifyLayer) that judges it: an attempt that
//! is cut off here is written into the [`Trail`](crate::Trail) here. A time-out further out cuts off the call without a word to the
//! layers below, and a circuit breaker then never learns that the provider hangs.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::{Elapsed, Payload, TimeoutLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let silent = service_fn(|_: Request<Payload>| std::future::pending::<Result<Response<Payload>, tidegate::BoxError>>());
//! let service = ServiceBuilder::new().layer(TimeoutLayer::new(Duration::from_secs(30))).service(silent);
//!
//! let error = service.oneshot(Request::new(Payload::empty())).await.err().expect("no answer");
//! assert_eq!(error.to_string(), "attempt timed out after 30s");
//! assert!(error.is::<Elapsed>());
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! None: the time is asked for. In the stack an attempt has 600 s, since reasoning models think for minutes.
//!
//! # When it says no
//! Never. Its error is [`Elapsed`](crate::Elapsed), a failure of the provider with E3003.
//!
//! # Streams
//! The clock starts when there is first something to wait for, and runs on through the body. When it runs out there, the body ends in the same error. A
//! [`Deadline`](crate::Deadline) of the request is kept here as well, so that its end is a time-out and not a
//! caller that left. Where a part of it is [kept for a fallback](crate::Deadline::reserve), a body may use that too.
//!
//! # Mistakes people make
//! A time for the whole call only: one silent attempt then eats the time of all the others.

mod body;
mod future;
mod layer;
mod service;
mod timer;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use layer::TimeoutLayer;
pub use service::Timeout;

#[cfg(test)]
mod tests;
