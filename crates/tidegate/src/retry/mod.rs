//! Retries a failed attempt if the failure is transient, the deadline allows it and the retry budget covers
//! it.
//!
//! # When to use it
//! In front of everything that is acquired per attempt (permits, reservations, circuit admissions). Model
//! providers fail for seconds at a time; a retry hides most of these failures from the user.
//!
//! # Example
//! ```
//! use std::sync::atomic::{AtomicU16, Ordering};
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::{Payload, RetryLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! static ATTEMPTS: AtomicU16 = AtomicU16::new(0);
//! let flaky = service_fn(async |_: Request<Payload>| {
//!     let status = if ATTEMPTS.fetch_add(1, Ordering::Relaxed) < 2 { 503 } else { 200 };
//!     Ok::<_, tidegate::BoxError>(Response::builder().status(status).body(Payload::empty()).unwrap())
//! });
//! let retry = RetryLayer::exponential().max_retries(3).initial_delay(Duration::from_secs(1));
//! let response = ServiceBuilder::new().layer(retry).service(flaky).oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!((response.status().as_u16(), ATTEMPTS.load(Ordering::Relaxed)), (200, 3));
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! [`Settings`] is the part `retry` of a [configuration](crate::ResilienceConfig); most settings have a
//! setter of the same name.
//!
//! | setting | default | |
//! |---|---|---|
//! | `enabled` | `true` | `false`: no retries |
//! | `max_retries` | `3` | attempts after the first |
//! | `max_attempts` | `none` | attempts of the whole call, at all targets: more than those of the first |
//! | `strategy` | `"exponential"` | how the waits grow |
//! | `jitter` | `"full"` | the random part of the waits |
//! | `initial_delay` | `"1s"` | the wait that the waits grow from |
//! | `max_delay` | `"30s"` | the longest wait of the back-off; a longer one of the provider ends the retries |
//! | `backoff_multiplier` | `2.0` | each wait in multiples of the one before |
//! | `retry_on` | `none` | the codes that are retried; none: all retryable codes |
//! | `retry_rejections` | `false` | retries rejections by the gates |
//! | `budget` | `{ ratio = 0.2, floor = 10 }` | retries as a share of the calls, and retries a second on top |
//! | `reserve_for_fallback` | `"0s"` | time that is left to the other targets |
//! | `idempotency_key` | `false` | sends an `Idempotency-Key` |
//! | `attempt_header` | `false` | sends the number of the attempt |
//! | `body_cap` | `33_554_432` | bytes of a request body that are buffered |
//!
//! # Rejections
//! The layer does not reject when the attempts are used up: the last real response or error is returned
//! unchanged. The call has no response only in two cases: the deadline passes while the request body is still
//! being read, or no inner service becomes ready for another attempt, by the deadline or at all. It then ends
//! in a [`Rejection`](crate::Rejection) with E3003, or in the error of the service. The first attempt is
//! always started; the gates and timeouts below reject it if the deadline has passed.
//!
//! # What is retried
//! A failure is retried if its code is retryable (rate limited, server error, overloaded, timeout, conflict)
//! and the provider does not forbid it (`x-should-retry: false`). A failure with `x-should-retry: true` is
//! retried as well. A wait given by the provider replaces the back-off, and its jitter only ever lengthens
//! it. A wait of zero stands for the back-off, and is only lengthened as well. The attempt is *not* retried,
//! so that a fallback can act at once, if that wait exceeds `max_delay` or the deadline, or if the limit is a
//! daily or spend limit. A rejection by one of the gates is not retried either, unless
//! [`retry_rejections`](RetryLayer::retry_rejections) is set, the rejection has a wait of at most
//! `max_delay`, and the call has a deadline that allows this wait.
//!
//! The extensions of a request may hold a policy for this call, [`RetryOverride`], and a number of attempts
//! for its retries and fallbacks together, [`AttemptBudget`](crate::AttemptBudget). An error can be marked as
//! retryable or not, whatever its code and `retry_on`: [`RetryableError`], [`NonRetryableError`]. If a
//! fallback chain sends the request to a target again, after a cooldown or with a simplified prompt, that
//! target gets exactly one attempt and no retries.
//!
//! [`RetryLayer::run`] retries a function, which is not a service, by the same rules.
//!
//! # Waits
//! [`Strategy`] sets how the waits grow, and [`Jitter`] sets their random part. `max_delay` bounds the result
//! of both. The adaptive strategy waits longer while the layer's own recent attempts fail or are slow, or
//! while the load is high. A signal that is not measured changes nothing.
//!
//! # Why a budget
//! `max_retries` bounds one call. When every call fails, it multiplies the load on a provider that is
//! overloaded already. The retry budget bounds all calls together: retries add at most a fifth to the
//! traffic, plus a floor for times of low traffic. The attempt after a rejection by a gate is not paid for:
//! the rejected one was no load. An [`AttemptBudget`](crate::AttemptBudget) bounds one call over all its
//! targets: three retries at each of three targets are twelve attempts.
//!
//! # Streams
//! Nothing is retried once a successful head has arrived, since the caller may have read from the body. A
//! request body up to [`body_cap`](RetryLayer::body_cap) is buffered so that it can be sent again; a longer
//! one is sent once. A failed response is dropped before the wait, so that it holds neither a connection nor
//! a permit. Time that is reserved for a fallback
//! ([`reserve_for_fallback`](RetryLayer::reserve_for_fallback)) remains available to a response body that has
//! begun.
//!
//! # Common mistakes
//! - Retrying `insufficient_quota`.
//! - Retrying earlier than `retry-after` allows.
//! - Retrying in the client below and here as well.
//!
//! # Cost
//! A call that may be repeated has one allocation: its state, with a copy of the request, which is made
//! before it is sent, since a service consumes its request. A body in memory is shared and not copied. A call
//! that succeeds takes no lock.

mod backoff;
mod budget;
mod call;
mod errors;
mod future;
mod handle;
mod headers;
mod jitter;
mod layer;
mod load_signals;
mod policy;
mod retry_override;
mod run;
mod saved_request;
mod service;
mod settings;
mod shared;
mod statistics;
mod trail_source;

pub use backoff::Strategy;
pub use errors::{NonRetryableError, RetryableError};
pub use future::ResponseFuture;
pub use handle::Handle;
pub use jitter::Jitter;
pub use layer::RetryLayer;
pub use load_signals::LoadSignals;
pub use retry_override::RetryOverride;
#[cfg(feature = "config")]
pub(crate) use run::outcome_of_run;
pub use service::Retry;
pub use settings::{RetryBudget, Settings};
pub use statistics::{Configured, Statistics};

#[cfg(test)]
mod tests;
