//! All layers in one order: the main entry point.
//!
//! # When to use it
//! For one provider, or one `provider/model`. A chain of targets is a stack with a
//! [`fallback`](ResilienceBuilder::fallback) layer.
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
//! let response = openai.oneshot(Request::new(Payload::from("{}"))).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(signals.snapshot().current_inflight, 1);
//! assert!(signals.preflight(None).is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! A part that is not configured is off and costs a branch. An attempt has a timeout of 600 s, and a stream
//! the four idle timeouts of [`StreamClocks`](crate::classify::StreamClocks), 120 s each; a call has none.
//! Responses are classified by the rules of the provider, which is the part of the name before the `/`.
//!
//! # One call, one budget
//! [`CallLimits`] apply to a call as a whole. Its deadline is the earliest of
//! [`total_timeout`](ResilienceBuilder::total_timeout), the [`TimeoutHeader`] of the caller and the
//! [`Deadline`](crate::Deadline) in the extensions of the request. It bounds the queue, the waits, the
//! attempts, the fallbacks and the stream. A wait or an attempt that does not fit is not started, and an
//! attempt that does not end in time is cut off at the wire. The deadline is not sent to the provider: the
//! only convention for that, `X-Server-Timeout`, is one vendor's. The number of attempts,
//! [`max_attempts`](ResilienceBuilder::max_attempts), counts retries and fallbacks together.
//!
//! # Rejections
//! Those of its parts. Before an attempt queues, a *preflight* peeks at the three gates, circuit, rate and
//! in-flight in that order, and rejects at once what is certain to be rejected.
//!
//! # Streams
//! As for its parts: permits, reservations and circuit admissions are held until the last byte of the
//! response body.
//!
//! # Common mistakes
//! - A stack per request: it loses its state each time.
//! - One stack for several providers: they share one circuit and one rate limit, so a failing provider blocks
//!   the others.

mod body;
mod builder;
mod call_limits;
mod future;
mod key_signals;
mod service;
mod signals;
mod timeout_header;

pub use body::ResponseBody;
pub use builder::{ResilienceBuilder, ResilienceLayer};
pub use call_limits::CallLimits;
pub use future::ResponseFuture;
pub(crate) use key_signals::CircuitForAlerts;
pub use key_signals::KeySignals;
pub use service::Resilience;
pub use signals::{Signals, SignalsSnapshot};
pub use timeout_header::TimeoutHeader;

pub use crate::send::SendFuture;
pub use crate::settings::ConfigError;

#[cfg(test)]
mod tests;
