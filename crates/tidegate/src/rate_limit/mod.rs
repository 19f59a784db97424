//! Keeps to a provider's rate limits: calls wait in a queue instead of getting a 429, and the limits that the
//! provider reports are followed.
//!
//! # When to use it
//! The provider has a rate limit that you know or that it reports. A 429 costs a round trip, and at some
//! providers it counts against the limit itself.
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
//! Token quotas, which the large providers limit first:
//! ```
//! use tidegate::RateLimitLayer;
//!
//! let limit = RateLimitLayer::per_minute(500).tokens_per_minute(30_000).default_output_tokens(800);
//! ```
//!
//! # Defaults
//! [`Settings`] is the part `rate_limiter` of a [configuration](crate::ResilienceConfig); most settings have
//! a setter of the same name.
//!
//! | setting | default | |
//! |---|---|---|
//! | `enabled` | `true` | `false`: every call is admitted, and reports are ignored |
//! | `requests_per_second` | `none` | a quota, fractions allowed |
//! | `requests_per_minute` | `none` | a quota, fractions allowed |
//! | `requests_per_day` | `none` | a quota, fractions allowed |
//! | `tokens_per_second` | `none` | a quota of prompt and response together |
//! | `tokens_per_minute` | `none` | a quota of prompt and response together |
//! | `tokens_per_day` | `none` | a quota of prompt and response together |
//! | `input_tokens_per_minute` | `none` | a quota of the prompts |
//! | `output_tokens_per_minute` | `none` | a quota of the responses |
//! | `quotas` | `[]` | further quotas, each with `unit`, `amount` and `period` |
//! | `burst_size` | `none` | requests that may pass at once; none: the whole quota |
//! | `default_output_tokens` | `500` | reserved for a response if the request sets no maximum |
//! | `follow_headers` | `true` | whether the limits in response headers are read |
//! | `adopt_reported_quotas` | `true` | whether a reported quota that is not configured is enforced |
//! | `default_retry_after` | `"1s"` | how long a 429 without a wait closes the gate |
//! | `max_wait` | `"10s"` | the longest wait of a call |
//! | `max_waiting` | `1024` | calls of each priority that may wait |
//! | `on_limit` | `"wait"` | `"wait"` or `"reject"` |
//! | `key_by` | `none` | a limit for each key |
//! | `max_keys` | `10_000` | keys that are kept |
//!
//! # Rejections
//! A call is rejected in these cases:
//! - Its wait would be longer than `max_wait`, or than the deadline of the call. It is rejected at once and
//!   not after waiting, and the cost of the calls ahead of it counts.
//! - Too many calls wait already.
//! - `on_limit` is `Reject`.
//!
//! The error is a [`Rejection`](crate::Rejection) of [`Gate::RateLimit`](crate::Gate::RateLimit) with E2001,
//! 429, the quota with the longest wait (`tokens per minute`), and the time until there is room. If the
//! deadline is the reason, it is one of [`Gate::Deadline`](crate::Gate::Deadline) with E3003, 504. With
//! [`KeyBy::model`](crate::KeyBy::model), a request without a model is rejected with E1001, 400.
//!
//! # Tokens
//! A call *reserves* before it is sent: one request, the prompt tokens according to the
//! [`Estimate`](crate::Estimate), and the most tokens that its response may have, up to a full quota. When
//! the response has ended, the reservation is settled to the real use: the rest is returned, and use beyond
//! the reservation is charged, so that later calls wait for it. However wrong the estimate is, a quota is
//! therefore neither overrun for long nor left unused, and concurrent calls cannot each spend the same
//! tokens. A call that costs more than a whole quota passes when that quota is full.
//!
//! The wire ([`ClassifyLayer`](crate::ClassifyLayer) below) records the use in the
//! [`UsageMeter`](crate::UsageMeter) that the request carries. A request of this layer costs one request, with
//! or without a token quota: in a stack an attempt, and in front of retries or of a chain a call with all its
//! attempts, whose tokens all count.
//!
//! | the request | costs |
//! |---|---|
//! | gets a response that reports its usage | that usage |
//! | gets a response that does not report its usage | the estimate of the prompt, and the tokens seen; the whole reservation if it is no stream |
//! | breaks off, or is dropped, as a stream | the estimate of the prompt, and the tokens seen |
//! | fails with 4xx | a request, no tokens |
//! | fails with 5xx | a request and its prompt |
//! | gets no response at all | the whole reservation: the request may have been processed nevertheless |
//! | is rejected by a layer below | nothing |
//! | is answered by a layer below without an attempt, as by a last resort of a chain | a request, no tokens; a layer used alone without a chain keeps its whole reservation until its wire has recorded an attempt |
//! | is dropped before it is sent | nothing in a stack; for a layer used alone, nothing if a quota counts tokens and its wire has recorded an attempt before, else its whole reservation |
//!
//! Of the tokens that a provider reports to have read from its cache of prompts, a quota counts those that
//! count against the limits of the provider: OpenAI, DeepSeek, Gemini and Cohere report them as a part of the
//! prompt and count them; Anthropic and Bedrock report them apart and do not. What Anthropic and Bedrock
//! write to the cache counts. Groq does not count what was read, but reports it as a part of the prompt, so
//! that a quota there settles to more than was used.
//!
//! Without a wire below the whole reservation is kept. Without a token quota nothing is estimated and no body
//! is watched.
//!
//! # Tenants
//! In the queue the [tenants](crate::Tenant) take turns, as in that of
//! [`backpressure`](crate::backpressure#tenants), and all requests without one are one tenant. They get equal
//! parts of the quota that is short, in however many calls: of tokens, if those are short. A call is rejected
//! because of the calls that are served before it, not because of those of a flood. The calls that it passes
//! wait longer than they expected when they arrived, and are rejected when their wait exceeds `max_wait`.
//!
//! # Reported limits
//! `Retry-After` and 429 close the gate for all calls, until the latest time received. After that calls pass
//! one by one. The first is delayed by a short random time, because other clients got the same `Retry-After`.
//! A request quota with a period of up to a minute refills from there, because how large a burst may be
//! depends on the provider. A `Retry-After` of another status than 429 is one of an overload. If calls that
//! were sent after it are served, the overload is partial: the next ten such waits apply only to the calls
//! that received them. A 429 for a request that names another service tier closes nothing
//! ([`classify`](crate::classify#service-tiers)).
//!
//! Every response, successful or not, may report the state of the limits
//! ([`ReportedLimits`](crate::ReportedLimits), read by the provider's classifier where there is one).
//! Reported limits are counted beside the configured quotas, and a call needs room in both: a lower reported
//! count lowers what may be sent, and a higher one never raises it above the configured quota. Calls sent
//! after the one that is answered are subtracted. A twentieth of a token limit is held back, because the
//! provider estimates tokens in its own way. "Nothing left, reset in 1.5 s" closes the gate for 1.5 s, unless
//! the limit is known to refill evenly; in that case its rate is kept, or, as long as the quota is not
//! adopted, the gate closes until the next call has room. A reported quota that is not configured is adopted:
//! at once if its period is reported, else once two responses imply the same period.
//!
//! A reported limit holds as long as it is reported. It expires when successful responses have not reported
//! it for its whole period, and for at least a minute, since not every response reports every limit. From
//! then on only the configured quotas hold: everything spent of the limit has refilled by then, so that it
//! could only slow calls down by a number that may be obsolete. Failures, and time without calls, do not
//! count.
//!
//! A report is ignored, and [counted](Handle::ignored), if a later response was applied first, if it
//! contradicts itself, if it contains a wait above a day, or if its units are missing.
//!
//! # The algorithm
//! The generic cell rate algorithm, a token bucket in one number: no window, of any offset, admits more than
//! burst plus rate times time (a fixed window admits twice its limit across the boundary). Callers wait in a
//! queue, first come, first served within their [`Priority`](crate::Priority) and tenant. While both
//! priorities wait, batch calls get a fifth of the quota that is short, by what the calls cost and not by
//! their number. A large batch call collects its part while interactive calls pass it, and holds up none of
//! them. Only the first call in the queue sleeps, so no call wakes in vain and none overtakes another of its
//! priority and tenant.
//!
//! All decisions are made on plain values under a lock that is held for some dozen nanoseconds.
//!
//! From 80 000 requests a second on, a thread admits up to 64 calls on credit without the lock, within what
//! is left of the quota. They are charged before any call waits or is rejected, and before anything is read.
//! Because they are charged late, a call may be admitted later than by an exact count, by at most the calls
//! of 0.1 ms for each thread.
//!
//! # Streams
//! A reservation settles when the last byte of the response has been read, or when its body is dropped.
//! Bodies pass through unchanged. A rate limit that is reported inside a stream closes the gate as a 429
//! does.
//!
//! # Common mistakes
//! - One limiter per worker while the provider counts per account.
//! - A limit of requests in front of the retries: repeated attempts then pass without limit.
//! - A token quota without [`ClassifyLayer`](crate::ClassifyLayer) below: every call then costs its whole
//!   reservation.
//! - `max_tokens` at the model's maximum for responses of one line: most providers count it in full, whatever
//!   was generated.
//! - Calls that are started and then not polled: the first in the queue holds its head, and those behind it
//!   are rejected when their own time is up.
//! - A limit of callers in front of several targets that follows their responses: a 429 of one provider then
//!   closes it, although another target has room. Turn off
//!   [`follow_responses`](RateLimitLayer::follow_responses).
//! - One limit while callers bring their own keys: use [`key_by`](RateLimitLayer::key_by) with the
//!   credential.
//!
//! # Cost
//! A decision in integers, under a lock. Quotas of at least 80 000 calls a second admit on credit, which each
//! thread counts for itself. Nothing is allocated, unless a quota counts tokens: then each prompt is read, in
//! some ten microseconds for 100 KiB, and each call has a meter for its use.

mod cost;
mod gate;
mod handle;
mod layer;
mod overload_hints;
mod peek;
mod pending_reservation;
mod queue;
mod quota;
mod quota_set;
mod rejections;
mod reservation;
mod responses;
mod settings;
mod shared;

pub(crate) use cost::MAX_TOKENS;
pub use handle::Handle;
pub use layer::RateLimitLayer;
pub(crate) use peek::RateOutlook;
pub use pending_reservation::PendingReservation;
pub(crate) use queue::UnsentReservation;
pub use quota::Quota;
pub use reservation::Reservation;
pub use settings::{OnLimit, Settings};
pub use shared::SharedRate;

use crate::attempt::{self, Attempt, ByThread, NoWire, UnchangedBody};

/// Limits the rate of the calls of `S`; see the [module page](self).
pub type RateLimit<S> = Attempt<S, ByThread<Handle>>;

/// Waits for room, then for the response.
pub type ResponseFuture<S, F, R, B> = attempt::ResponseFuture<S, F, R, ByThread<Handle>, NoWire, B>;

/// The body of a response. It settles the reservation when it ends.
pub type ResponseBody<B> = attempt::GuardedBody<UnchangedBody<B>, Option<Box<Reservation>>>;

#[cfg(test)]
mod tests;
