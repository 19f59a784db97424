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
//! A fixed limit of 50 in flight; 64 of each priority queued, first come first served, 10 s at most; one limit for all
//! calls.
//!
//! # When it says no
//! The queue is full or nobody may queue (at once, in nanoseconds), the queue time-out ran out, or the deadline of the
//! call does not leave enough time. A [`Rejection`](crate::Rejection) of
//! [`Gate::Backpressure`](crate::Gate::Backpressure) with E3002, 503; of [`Gate::Deadline`](crate::Gate::Deadline)
//! with E3003, 504, where the deadline came first. The provider is not asked, and nothing is counted against it.
//!
//! # Who goes first
//! The [`Priority`](crate::Priority) in the extensions of a request says if somebody waits for it. While both kinds
//! queue, four interactive calls go for each of batch: batch costs people at most a fifth of the
//! provider, whoever is first in the interactive queue is passed by at most once, and batch always moves. Each has a
//! queue of its own, as long as the other's. A permit that is free goes to whoever comes, of either kind; once
//! somebody waits, nobody passes the queue.
//!
//! [`Order::NewestFirstUnderOverload`] turns the interactive queue round while it is more than half full: the oldest of
//! a long queue have most likely given up, and serving them first serves nobody (adaptive LIFO: B. Maurer, "Fail at
//! Scale", ACM Queue 13(8), 2015).
//!
//! # A limit that finds itself
//! The right limit changes with the provider's load, so it can be left to an algorithm:
//! `BackpressureLayer::max_inflight(200).adaptive(Gradient::new())`.
//!
//! | algorithm | | source |
//! |---|---|---|
//! | [`Aimd`] | one more a round, a tenth less at trouble; for providers that say 429 or 503 | Chiu and Jain 1989 |
//! | [`Gradient`] | in proportion to how much slower than at ease; follows a fall quickest | Netflix concurrency-limits, 2018 |
//! | [`Vegas`] | keeps one to three calls waiting at the provider; the steadiest | Brakmo and Peterson 1995 |
//!
//! Any other is a [`Limit`]: one function. What they are told is the same for all. The round trip is the time to the
//! head of the answer, and for a stream that the wire holds that is its first token; a prompt of a hundred thousand
//! bytes is not held against the provider, because times are compared with what a prompt of that size usually takes.
//! A 429, 503 or 529, a time-out and an answer that breaks off are losses, one a call, and one a round trip whatever
//! their number; other failures, our own refusals and callers who left say nothing. A round is judged by its mean
//! without the extremes, less what may be chance, since times to the first token spread widely. One round in 33 has
//! half of the limit, to see what the provider is like at ease: without it, a provider that is always busy would come
//! to look like one. The limit is raised only while it is used.
//!
//! # Bulkheads
//! With [`key_by`](BackpressureLayer::key_by) each tenant, model, host or credential has a limit and a queue of its own,
//! and a key that fills them leaves the others alone. At most 10 000 keys are remembered; those with calls under way
//! always are.
//!
//! # Streams
//! The permit travels with the body and is given back when the body ends, fails or is dropped. An adaptive limit hears of
//! a stream at its head, and once more only if it breaks off.
//!
//! # Mistakes people make
//! Giving the permit back at the response head: fifty live streams then pass through a limit of one. Keeping a
//! response without reading or dropping its body: its permit is in use all that time. A long queue with a long
//! time-out: under overload everybody waits for nearly all of it and is then refused; short queues refuse early, while a
//! fallback still has time. An adaptive limit for five calls an hour: it learns from rounds of sixteen answers or
//! more. Marking everything as interactive: then nothing is.

mod adaptive;
mod bulkhead;
mod future;
mod gate;
mod layer;
mod limit;
mod permit;
mod permit_future;
mod prompt_size;
mod service;
mod trimmed_mean;

pub use future::ResponseFuture;
#[cfg(feature = "stack")]
pub(crate) use gate::Availability;
pub use gate::Handle;
pub use layer::BackpressureLayer;
pub use limit::{Aimd, Gradient, Limit, Round, Vegas};
pub use permit::Permit;
pub use service::Backpressure;

pub use crate::priority_semaphore::Order;

/// The body of an answer, with its permit.
pub type ResponseBody<B> = crate::GuardedBody<B, Permit>;

#[cfg(test)]
mod tests;
