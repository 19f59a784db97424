//! All layers in protocol order: the front door.
//!
//! # When
//! For one provider, or one `provider/model`; a chain of them is a stack with
//! [`fallback`](ResilienceBuilder::fallback)s.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::{
//!     BackpressureLayer, CircuitBreakerLayer, Payload, RateLimitLayer, ResilienceBuilder, RetryLayer,
//! };
//! use tower::{ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let provider = service_fn(async |_: Request<Payload>| Ok::<_, tidegate::BoxError>(Response::new(Payload::from("hi"))));
//! let openai = ResilienceBuilder::new("openai/gpt-4o")
//!     .retry(RetryLayer::exponential().max_retries(3).initial_delay(Duration::from_secs(1)))
//!     .backpressure(BackpressureLayer::max_inflight(50))
//!     .rate_limit(RateLimitLayer::per_second(10).burst_size(20))
//!     .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(5).cooldown(Duration::from_secs(30)))
//!     .service(provider);
//! let signals = openai.signals();
//!
//! let answer = openai.oneshot(Request::new(Payload::from("{}"))).await?;
//! assert_eq!(answer.status(), 200);
//! assert_eq!(signals.snapshot().current_inflight, 1);
//! assert!(signals.preflight(None).is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! A part that is not asked for is off and costs a branch. An attempt has 600 s; a call has as long as it takes.
//! What came back is judged by the provider's own rules, found by the part of the name before the `/`.
//!
//! # One call, one budget
//! [`CallLimits`] hold for a call as a whole. Its time, from [`total_timeout`](ResilienceBuilder::total_timeout), from the
//! caller's own [`TimeoutHeader`] or from a [`Deadline`](crate::Deadline) in the extensions of the request, whichever
//! is earliest, is one for the queue, the waits, the attempts, the fallbacks and the stream; what cannot fit is not
//! begun, and what does not end in time is cut off at the wire. The provider is not told: the only convention that
//! there is, `X-Server-Timeout`, is one vendor's. Its attempts, from
//! [`max_attempts`](ResilienceBuilder::max_attempts), are one number for retries and targets together.
//!
//! # When it says no
//! As its parts do. Before an attempt queues for anything, a *preflight* looks at the three gates, circuit,
//! rate and in-flight in that order, and refuses at once what is bound to be refused.
//!
//! # Streams
//! As its parts: what a call holds it holds until the last byte of its answer.
//!
//! # Mistakes people make
//! A stack per request: it forgets everything each time. One stack for several providers: the worst of them
//! speaks for all.

mod call_limits;
mod builder;
mod preflight;
mod service;
mod signals;
mod timeout_header;

pub use call_limits::CallLimits;
pub use builder::{ResilienceBuilder, ResilienceLayer};
pub use preflight::Preflight;
pub use service::{Resilience, ResponseBody, ResponseFuture};
pub use signals::{Signals, SignalsSnapshot};
pub use timeout_header::TimeoutHeader;

#[cfg(test)]
mod tests;
