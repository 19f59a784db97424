//! Bounds the time of every attempt, to the last byte of the response.
//!
//! # When to use it
//! Innermost, in front of the client or of its [`ClassifyLayer`](crate::ClassifyLayer): an attempt that is
//! cut off is recorded in the [`Trail`](crate::Trail) here. An outer timeout drops the inner future, which
//! the layers below cannot distinguish from a cancelled call; a circuit breaker then never counts the hanging
//! provider.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::provider::Elapsed;
//! use tidegate::{Payload, TimeoutLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let silent = service_fn(|_: Request<Payload>| std::future::pending::<Result<Response<Payload>, tidegate::BoxError>>());
//! let service = ServiceBuilder::new().layer(TimeoutLayer::new(Duration::from_secs(30))).service(silent);
//!
//! let error = service.oneshot(Request::new(Payload::empty())).await.err().expect("no response");
//! assert_eq!(error.to_string(), "attempt timed out after 30s");
//! assert!(error.is::<Elapsed>());
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! The limit of a [`TimeoutLayer`] is a parameter. [`Settings`] is the part `timeout` of a
//! [configuration](crate::ResilienceConfig), and has the defaults of the stack. They are patient, since a
//! reasoning model may take minutes.
//!
//! | setting | default | |
//! |---|---|---|
//! | `total` | `none` | the whole call |
//! | `header` | `none` | the header with which a caller can shorten `total` |
//! | `attempt` | `"10m"` | one attempt, to the last byte of its response |
//! | `first_token` | `"2m"` | to the first token of a stream |
//! | `token_gap` | `"2m"` | between two tokens |
//! | `frame_gap` | `"2m"` | between two events |
//! | `byte_gap` | `"2m"` | between two chunks |
//!
//! # Rejections
//! None. The error is [`Elapsed`](crate::Elapsed), a failure of the provider with E3003.
//!
//! # Streams
//! The timer starts at the first poll that is pending, and continues through the body. If it elapses there,
//! the body ends in the same error; it does not count against the provider if a part of the body was there
//! and had not been read yet. A [`Deadline`](crate::Deadline) of the request is enforced here as well,
//! so that it counts as a timeout and not as a cancelled call. If part of it is [reserved for a
//! fallback](crate::Deadline::reserve), a response body may use that part too.
//!
//! # Common mistakes
//! A timeout for the whole call only: one attempt without a response then uses up the time of all the others.
//!
//! # Cost
//! An attempt that is pending, or that has a deadline, has one timer, in one allocation, which its body takes
//! over. One with a trail has another allocation, so that it is recorded once.

mod attempt_trail;
mod body;
mod layer;
mod settings;
mod timer;
mod wire;

pub(crate) use attempt_trail::AttemptTrail;
pub(crate) use body::TimedBody;
pub use layer::TimeoutLayer;
pub use settings::Settings;
pub(crate) use timer::AttemptTimer;

use self::wire::TimeLimit;
use crate::attempt::{self, Attempt, GuardedBody, NoGate, UnchangedBody};

/// Bounds the time of every attempt; see the [module page](self).
pub type Timeout<S> = Attempt<S, NoGate, TimeLimit>;

/// Waits for the head of the response, until the time of the attempt has elapsed.
pub type ResponseFuture<S, F, R, B> = attempt::ResponseFuture<S, F, R, NoGate, TimeLimit, B>;

/// A response body that ends in [`Elapsed`](crate::Elapsed) when the time of its attempt has elapsed.
pub type ResponseBody<B> = GuardedBody<TimedBody<UnchangedBody<B>>, ()>;

#[cfg(test)]
mod tests;
