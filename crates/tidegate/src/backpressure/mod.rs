//! Bounds how many calls are in flight, so that a slow provider does not fill your memory.
//!
//! # When
//! Always, in front of anything that can be slow. A model's answer takes seconds to minutes; without a bound
//! each of those holds a connection, a task and a prompt.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::{BackpressureLayer, Payload};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let provider = service_fn(async |_: Request<Payload>| Ok::<_, tidegate::BoxError>(Response::new(Payload::from("hi"))));
//! let layer = BackpressureLayer::max_inflight(50).max_queued(64).queue_timeout(Duration::from_secs(10));
//! let gate = layer.handle();
//! let service = ServiceBuilder::new().layer(layer).service(provider);
//!
//! let answer = service.oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!(gate.in_flight(), 1); // until the body has been read, or dropped
//! drop(answer);
//! assert_eq!(gate.in_flight(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! 50 in flight, 64 queued, 10 s in the queue.
//!
//! # When it says no
//! The queue is full (at once), the queue time-out ran out, or the deadline of the call does not leave enough
//! time. A [`Rejection`](crate::Rejection) of [`Gate::Backpressure`](crate::Gate::Backpressure) with E3002, 503.
//!
//! # Streams
//! The permit travels with the body and is given back when the body ends, fails or is dropped.
//!
//! # Mistakes people make
//! Giving the permit back at the response head: fifty live streams then pass through a limit of one. Keeping a
//! response without reading or dropping its body: its permit is in use all that time.

mod adaptive;
mod bulkhead;
mod future;
mod gate;
mod layer;
mod limit;
mod permit;
mod queued;
mod service;
mod typical;
mod yardstick;

pub use future::ResponseFuture;
pub use gate::Handle;
pub use layer::BackpressureLayer;
pub use limit::{Aimd, Gradient, Limit, Round, Vegas};
pub use permit::Permit;
pub use service::Backpressure;

pub use crate::slots::Order;

/// The body of an answer, with its permit.
pub type ResponseBody<B> = crate::Watched<B, Permit>;

#[cfg(test)]
mod tests;
