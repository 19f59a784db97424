//! Asks again when that makes sense: the failure is one that passes, there is time, and it can be afforded.
//!
//! # When
//! In front of everything that is taken per attempt. Model providers fail for seconds at a time; most of those
//! failures never need to reach a person.
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
//! static ASKED: AtomicU16 = AtomicU16::new(0);
//! let flaky = service_fn(async |_: Request<Payload>| {
//!     let status = if ASKED.fetch_add(1, Ordering::Relaxed) < 2 { 503 } else { 200 };
//!     Ok::<_, tidegate::BoxError>(Response::builder().status(status).body(Payload::empty()).unwrap())
//! });
//! let retry = RetryLayer::exponential().max_retries(3).initial_delay(Duration::from_secs(1));
//! let answer = ServiceBuilder::new().layer(retry).service(flaky).oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!((answer.status().as_u16(), ASKED.load(Ordering::Relaxed)), (200, 3));
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! 3 retries; 1 s doubled each time up to 30 s, with full jitter; a budget of 20 % of the calls and 10 a second. No
//! time is kept for a fallback, and no header is added.
//!
//! # When it asks again
//! The code is retryable (rate limited, server error, overloaded, timeout, conflict) and the provider does not
//! forbid it (`x-should-retry`), or it demands it. A wait that the provider told replaces the back-off, and only
//! ever grows by its jitter. It does *not* ask again, so that a fallback can act at once, when that wait passes
//! `max_delay` or the deadline, or speaks of a daily or spend limit. A refusal of our own is not
//! retried either, unless [`retry_rejections`](RetryLayer::retry_rejections) is set and it fits the deadline.
//!
//! A call may bring its own policy in the extensions of its request, a [`RetryOverride`], and its own number of
//! attempts, retries and fallbacks together, an [`AttemptBudget`](crate::AttemptBudget). An error may say itself
//! whether asking again makes sense: [`RetryableError`], [`NonRetryableError`]. A target to which a chain comes back,
//! after a rest or with a simplified prompt, has had its retries and gets one attempt.
//!
//! What is not a service is retried by the same rules with [`RetryLayer::run`].
//!
//! # How long it waits
//! [`Strategy`] says how the waits grow, [`Jitter`] what is random about them; `max_delay` holds after both. The
//! adaptive strategy waits longer while the layer's own recent attempts fail or are slow, or while much of what
//! may be used is in use. Where nothing is measured, nothing is assumed.
//!
//! # When it says no
//! Out of attempts it does not: the last real answer or error goes through as it came. Only where the deadline passes
//! while the body of the request is still coming, or where no service below can be made ready for another attempt, by the
//! deadline or at all, there is no answer: the call ends in a [`Rejection`](crate::Rejection) with E3003, or in the error of
//! the service. The first attempt is begun whatever the time is: the gates and clocks below refuse what is too late.
//!
//! # Streams
//! Once a good head has arrived the bytes are the caller's; nothing is retried after that. A request body up to
//! [`body_cap`](RetryLayer::body_cap) is kept to be sent again; a longer one is sent once. A failed response is
//! dropped before the wait, so that it holds neither connection nor permit. Where time is kept for a fallback
//! ([`reserve_for_fallback`](RetryLayer::reserve_for_fallback)), an answer that has begun does not have to leave it.
//!
//! # Why a budget
//! A count bounds one call; when everything fails it multiplies the load on a provider that has too much of it.
//! A budget bounds all calls together: retries add at most a fifth to the traffic, plus a floor for quiet times.
//! Another one bounds what a call may do at all its targets: three retries at each of three are twelve attempts.
//!
//! # Mistakes people make
//! Retrying `insufficient_quota`. Retrying earlier than told. Retrying in the client below and here as well.

mod gate_peek;
mod backoff;
mod budget;
mod call;
mod codes;
mod shared;
mod load_signals;
mod errors;
mod future;
mod handle;
mod headers;
mod jitter;
mod policy;
mod layer;
mod override_policy;
mod run;
mod service;
mod statistics;

pub(crate) use gate_peek::GatesBelow;
#[cfg(feature = "stack")]
pub(crate) use gate_peek::GatePeek;
pub use backoff::Strategy;
pub use load_signals::LoadSignals;
pub use errors::{NonRetryableError, RetryableError};
pub use future::ResponseFuture;
pub use handle::Handle;
pub use jitter::Jitter;
pub use layer::RetryLayer;
pub use override_policy::RetryOverride;
pub use service::Retry;
pub use statistics::{Configured, Statistics};

#[cfg(test)]
mod tests;
