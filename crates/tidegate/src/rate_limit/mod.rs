//! Keeps to the provider's pace: waits for its turn instead of being told 429, and listens when told.
//!
//! # When
//! The provider has a limit and you know it, or it says so: a 429 costs a round trip and, at some providers,
//! counts against the limit itself.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::{Payload, RateLimitLayer, Rejection};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let provider = service_fn(async |_: Request<Payload>| Ok::<_, tidegate::BoxError>(Response::new(Payload::from("hi"))));
//! let mut service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::per_second(10).burst_size(1).max_wait(Duration::from_millis(50)))
//!     .service(provider);
//!
//! service.ready().await?.call(Request::new(Payload::empty())).await?;
//! let error = service.ready().await?.call(Request::new(Payload::empty())).await.unwrap_err();
//! let rejection = Rejection::find(&*error).expect("ours");
//! assert_eq!(rejection.retry_after(), Some(Duration::from_millis(100)));
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! The burst is the quota itself, a call waits at most 10 s, and at most 1024 wait. A 429 that names no time
//! closes the gate for 1 s.
//!
//! # When it says no
//! The wait would be longer than `max_wait` or than the deadline of the call (said at once, not after waiting),
//! too many wait already, or `on_limit` is `Reject`. A [`Rejection`](crate::Rejection) of
//! [`Gate::RateLimit`](crate::Gate::RateLimit) with E2001, 429, and the time after which there is room.
//!
//! # Streams
//! A request is spent when it is sent; bodies pass through untouched.
//!
//! # The algorithm
//! The generic cell rate algorithm, a token bucket in one number: no window, of any offset, admits more than
//! burst + rate x time (a fixed window admits twice its limit across the boundary). Callers wait in a queue,
//! first come first served; only the first in it sleeps, so nobody wakes in vain and nobody jumps ahead.
//! `Retry-After` and 429 close the gate for everyone, until the latest moment heard; a quota of up to a minute then
//! opens with a single request and refills from there, since the burst was the provider's to give.
//!
//! # Mistakes people make
//! One limiter per worker where the provider counts per account. A limit in front of the retries: then second
//! attempts pass unlimited.

mod ahead;
mod future;
mod handle;
mod heard;
mod layer;
mod limits;
mod line;
mod quota;
mod ramp;
mod reservation;
mod service;
mod settings;
mod turn;

pub use future::ResponseFuture;
pub use handle::Handle;
pub use layer::RateLimitLayer;
pub use reservation::Reservation;
pub use service::RateLimit;
pub use settings::OnLimit;

/// The body of an answer, which settles what was reserved for it when it ends.
pub type ResponseBody<B> = crate::Watched<B, Reservation>;

#[cfg(test)]
mod tests;
