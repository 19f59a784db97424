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
//! In tokens as well, which is what the big providers limit first:
//! ```
//! use tidegate::RateLimitLayer;
//!
//! let limit = RateLimitLayer::per_minute(500).tokens_per_minute(30_000).default_output_tokens(800);
//! ```
//!
//! # Defaults
//! The burst is the quota itself, a call waits at most 10 s, and at most 1024 of each priority wait. An answer is
//! taken for 500 tokens where the request names no maximum. A 429 that names no time closes the gate for 1 s. What
//! the provider announces is listened to, and kept to.
//!
//! # When it says no
//! The wait would be longer than `max_wait` or than the deadline of the call (said at once, not after waiting, and
//! what those ahead will take counts), too many wait already, or `on_limit` is `Reject`. A
//! [`Rejection`](crate::Rejection) of [`Gate::RateLimit`](crate::Gate::RateLimit) with E2001, 429, the quota that
//! lacks room longest (`tokens per minute`), and the time after which there is room.
//!
//! # Tokens
//! A call *reserves* before it is sent: one request, the tokens of its prompt as an [`Estimate`](crate::Estimate)
//! tells them, and the most that its answer may have. When the answer has ended, what it really took is kept and
//! the rest goes back; what it took beyond is owed, and those who come after wait it off. So however wrong the
//! estimate, a quota is neither overrun for long nor left unused, and calls that go out together cannot each spend
//! the same tokens. What costs more than a whole quota passes when that is full.
//!
//! What was taken is told by the wire ([`ClassifyLayer`](crate::ClassifyLayer) below) through the
//! [`UsageMeter`](crate::UsageMeter) that the request carries:
//!
//! | the attempt | costs |
//! |---|---|
//! | answers, and the provider says what it counted | that |
//! | answers, and the provider does not say | the estimate of the prompt, and the tokens seen; all that was reserved if it is no stream |
//! | breaks off, or is dropped, as a stream | the estimate of the prompt, and the tokens seen |
//! | fails with 4xx | a request, no tokens |
//! | fails with 5xx | a request and its prompt |
//! | gets no answer at all | all that was reserved: it may have been written nevertheless |
//! | is refused below | nothing |
//! | leaves before it is sent | no tokens; the request itself only where a quota is in tokens |
//!
//! Without a wire below all that was reserved is kept. Where no quota is in tokens nothing is estimated and no body
//! is watched.
//!
//! # Streams
//! A reservation settles when the last byte of the answer has been read, or when its body is dropped. Bodies pass
//! through untouched.
//!
//! # What it learns
//! `Retry-After` and 429 close the gate for everyone, until the latest moment heard. Then it opens with one call
//! after the other, the first a little late by chance: others were told the same moment. A quota of requests of up
//! to a minute refills from there, since the burst was the provider's to give.
//!
//! Every answer, good or bad, may say how the limits stand ([`ReportedLimits`](crate::ReportedLimits), in the words of the
//! provider where a classifier knows them). That is counted beside the configured quotas, and a call needs room in
//! both: a lower count lowers what may be sent, and a higher one never raises it above what was configured. What
//! was sent since the call that was answered is taken off. Of a limit in tokens a twentieth is held back, since the
//! provider estimates in its own way. "Nothing left, reset in 1.5 s" closes the gate for 1.5 s, unless the limit is
//! known to refill evenly; then its rate is kept. A quota that nobody configured is adopted: at once where its
//! period is told, else once the period follows from two answers.
//!
//! What was told holds for as long as it is told. Once good answers have said nothing of a limit for its whole period
//! (for a minute, if that is shorter, since not every answer tells of all), it is forgotten, and what was configured
//! holds alone: whatever was spent of it then has come back, so that all it could still do is to slow calls down by a
//! number that may be nobody's any more. Failures, and time in which nobody asks, do not count as silence.
//!
//! An answer that was overtaken by another, counts that contradict themselves, waits above a day, units that were
//! lost on the way: all that is ignored, and [counted](Handle::ignored).
//!
//! # The algorithm
//! The generic cell rate algorithm, a token bucket in one number: no window, of any offset, admits more than burst
//! plus rate times time (a fixed window admits twice its limit across the boundary). Callers wait in a queue, first come
//! first served within their [`Priority`](crate::Priority), batch calls every fifth turn; only the first in it
//! sleeps, so nobody wakes in vain and nobody jumps ahead.
//!
//! All that is decided lies in plain values under a lock that is held for some dozen nanoseconds: what is asked of
//! the limits is `spend`, `settle`, `refund`, `hear` and `close`, each with data in and a verdict out. They do not
//! know whose numbers they are: those of one process, of one key, or, where a limit is to be shared by many
//! processes, of a store that is asked in their place.
//!
//! # Mistakes people make
//! One limiter per worker where the provider counts per account. A limit in front of the retries: then second
//! attempts pass unlimited. A quota in tokens without `ClassifyLayer` below: then every call costs what it might have
//! cost. `max_tokens` at the model's maximum for answers of a line: most providers count it in full, whatever was
//! written. Calls that are started and then not polled: the first in the queue holds the turn, and those behind it
//! are refused when their own time is up. One limit where callers bring their own keys: [`key_by`](RateLimitLayer::key_by) the credential.

mod backlog;
mod future;
mod handle;
mod reported_quotas;
mod layer;
mod quota_set;
mod queue;
mod quota;
mod reopen_ramp;
mod reservation;
mod service;
mod settings;
mod queue_head;

pub use future::ResponseFuture;
pub use handle::Handle;
pub use layer::RateLimitLayer;
pub use reservation::Reservation;
pub use service::RateLimit;
pub use settings::OnLimit;

/// The body of an answer, which settles what was reserved for it when it ends.
pub type ResponseBody<B> = crate::GuardedBody<B, Box<Reservation>>;

#[cfg(test)]
mod tests;
