//! Limits the number of calls in flight, so that a slow provider does not exhaust memory.
//!
//! # When to use it
//! In front of every service that can be slow. A response of a model takes seconds to minutes; without a
//! limit every pending call holds a connection, a task and a prompt.
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
//! let response = service.oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!(gate.in_flight(), 1); // until the body has been read, or dropped
//! drop(response);
//! assert_eq!(gate.in_flight(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! [`Settings`] is the part `backpressure` of a [configuration](crate::ResilienceConfig); most settings have
//! a setter of the same name.
//!
//! | setting | default | |
//! |---|---|---|
//! | `enabled` | `true` | `false`: no limit and no queue |
//! | `max_inflight` | `50` | calls in flight; the upper bound of an adaptive limit |
//! | `max_queued` | `64` | calls of each priority that may be queued |
//! | `queue_timeout` | `"10s"` | the longest time in the queue |
//! | `order` | `"fifo"` | the order of the queue |
//! | `adaptive` | `none` | the algorithm of an adaptive limit; none: the limit is fixed |
//! | `min_inflight` | `1` | the lower bound of an adaptive limit |
//! | `key_by` | `none` | a limit and a queue for each key |
//! | `max_keys` | `10_000` | keys that are kept |
//!
//! # Rejections
//! A call is rejected when the queue is full or disabled (at once, in nanoseconds), when the queue timeout
//! has elapsed, or when the deadline of the call leaves less time than recent answers took. The error is a
//! [`Rejection`](crate::Rejection) of [`Gate::Backpressure`](crate::Gate::Backpressure) with E3002, 503,
//! since another target may be faster; if the deadline itself has passed, of
//! [`Gate::Deadline`](crate::Gate::Deadline) with E3003, 504. With [`KeyBy::model`](crate::KeyBy::model), a
//! request without a model is rejected with E1001, 400. No request is sent to the provider, and nothing is
//! counted against its health.
//!
//! # Priorities
//! The [`Priority`](crate::Priority) in the extensions of a request marks it as interactive or batch. Each
//! priority has a queue of its own, of the same length. While both queues are in use, permits are granted
//! four to one: batch takes at most a fifth of the capacity, at most one batch call overtakes the first
//! interactive call, and batch is never starved. A free permit goes to the next arrival of either priority;
//! while any call is queued, new arrivals do not overtake the queue.
//!
//! [`Order::NewestFirstUnderOverload`] reverses the interactive queue while it is more than half full: the
//! callers of the oldest calls in a long queue have most likely given up, so that permits granted to them are
//! wasted (adaptive LIFO: B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015).
//!
//! A queued call has to be polled to use the permit that it is granted. If it is not polled for half a second
//! to a second after that, as a `select!` arm that is kept for later, the permit goes to the next call, and
//! the first queues again when it is polled. A queued call whose time is up is passed over.
//!
//! A queued call with a deadline is rejected (`no permit in time`, E3002) once less time is left than seven
//! of eight of the latest 32 answers to queued calls took, plus a sixteenth of that time: it would be cut
//! off, and its permit wasted. So a queue that is as long as the deadline does not turn overload into a
//! collapse. An answer that was cut off counts with half of its time added. The times expire when no queued
//! call was answered for half a minute, or for four times as long as answers took.
//!
//! # Tenants
//! In each queue the [tenants](crate::Tenant) take turns, and all requests without one are one tenant. A
//! tenant with a hundred queued calls does not delay the call of another by more than one of its own. If the
//! queue is full, a call whose turn comes sooner takes the place of the last one, which is rejected. So a
//! flood leaves every other tenant its share of the permits and of the queue. With
//! [`Order::NewestFirstUnderOverload`] there are no turns while it is in force.
//!
//! # Adaptive limits
//! The best limit changes with the provider's load, so an algorithm can adjust it:
//! `BackpressureLayer::max_inflight(200).adaptive(Gradient::new())`.
//!
//! | algorithm | | source |
//! |---|---|---|
//! | [`Aimd`] | slow start, then plus one per round, minus a tenth on overload; for providers that respond with 429 or 503 | Chiu and Jain 1989 |
//! | [`Gradient`] | in proportion to the slowdown against the unloaded provider; follows a decrease fastest | Netflix concurrency-limits, 2018 |
//! | [`Vegas`] | keeps one to three calls queued at the provider; the most stable | Brakmo and Peterson 1995 |
//!
//! Any other algorithm implements [`Limit`], which is one function. The input is the same for all of them:
//!
//! - The round trip is the time to the response head; for a stream that the wire holds back, the time to its
//!   first token. It is normalized by the size of the prompt, so that a prompt of a hundred thousand bytes
//!   does not look like a slow provider.
//! - A 429, 503 or 529, a timeout and a response that breaks off are losses: one per call, and at most one
//!   per round trip. Other failures, our own rejections and cancelled calls are ignored.
//! - Losses do not lower the limit below the mean of the calls in flight that succeed: a provider that fails
//!   half of the requests at any load keeps the calls that it serves. After an outage the limit grows by a
//!   quarter with each round trip (TCP's slow start, RFC 5681).
//! - A round is summarized by its trimmed mean, less a margin for chance, because times to the first token
//!   vary widely.
//! - One round in 33 runs with half of the limit, to measure the unloaded provider (min-RTT probe). Without
//!   it, a provider that is always busy would be taken for an unloaded one. If a slower provider has lowered
//!   the limit to half of that at the latest probe, another one follows at once: at this limit there was no
//!   queue.
//! - The limit is raised only while it is used.
//!
//! # Bulkheads
//! With [`key_by`](BackpressureLayer::key_by) each tenant, model, host or credential has a limit and a queue
//! of its own, and a key that fills them does not affect the others. By default at most 10 000 keys are kept;
//! keys with calls in flight are never dropped.
//!
//! # Streams
//! The permit moves into the response body and is released when the body ends, fails or is dropped. An
//! adaptive limit records a stream at its head, again as served when its body ends or is dropped, and as a
//! loss if it breaks off.
//!
//! # Common mistakes
//! - Releasing the permit at the response head: fifty live streams then pass through a limit of one.
//! - Keeping a response without reading or dropping its body: its permit stays in use all that time.
//! - A long queue with a long timeout: under overload every call waits for nearly all of it and is then
//!   rejected. A short queue rejects early, while a fallback still has time.
//! - An adaptive limit for five calls an hour: it needs rounds of sixteen responses or more.
//! - A limit of callers in front of several targets that follows their responses: turn off
//!   [`follow_responses`](BackpressureLayer::follow_responses).
//! - Marking every call as interactive: the priority then has no effect.
//!
//! # Cost
//! One compare-and-swap to take a permit and one to return it, and no lock, clock or allocation as long as
//! permits are free. A call that is queued and every call under an adaptive limit read the clock, and have
//! one allocation.

mod adaptive;
mod answer_times;
mod bulkhead;
mod gate;
mod handle;
mod layer;
mod limit;
mod peek;
mod pending_permit;
mod permit;
mod rejections;
mod settings;
mod wait_deadline;

pub use handle::Handle;
pub use layer::BackpressureLayer;
pub use limit::{Aimd, Gradient, Limit, Round, Vegas};
pub use pending_permit::PendingPermit;
pub use permit::Permit;
pub use settings::{Algorithm, Settings};

pub use crate::priority_semaphore::Order;

use crate::attempt::{self, Attempt, ByThread, NoWire, UnchangedBody};

/// Limits the calls of `S` in flight; see the [module page](self).
pub type Backpressure<S> = Attempt<S, ByThread<Handle>>;

/// Waits for a permit, then for the response.
pub type ResponseFuture<S, F, R, B> = attempt::ResponseFuture<S, F, R, ByThread<Handle>, NoWire, B>;

/// The response body, which holds the permit of its call.
pub type ResponseBody<B> = attempt::GuardedBody<UnchangedBody<B>, Permit>;

#[cfg(test)]
mod tests;
