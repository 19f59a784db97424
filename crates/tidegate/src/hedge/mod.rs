//! Sends a request once more when its first token is late, and returns the response that is first.
//!
//! # When to use it
//! For interactive users of a target whose first token is sometimes much later than usual. A few extra
//! requests shorten the long tail (Dean and Barroso, "The Tail at Scale", 2013). It does not help while all
//! calls are slow, and is bounded so that it does not harm then.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::hedge::{HedgeInfo, HedgeLayer};
//! use tidegate::{Payload, ResilienceBuilder};
//! use tower::service_fn;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! // Usually 300 ms; the hundredth call takes 30 s.
//! let calls = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
//! let provider = service_fn(move |_: Request<Payload>| {
//!     let number = 1 + calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
//!     async move {
//!         tokio::time::sleep(Duration::from_millis(if number == 100 { 30_000 } else { 300 })).await;
//!         let answer = r#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#;
//!         Ok::<_, tidegate::BoxError>(Response::new(Payload::from(answer)))
//!     }
//! });
//! let openai = ResilienceBuilder::new("openai/gpt-4o").hedge(HedgeLayer::new()).service(provider);
//! for _ in 0..99 {
//!     openai.send(Request::new(Payload::from("{}"))).await?;
//! }
//! let start = tokio::time::Instant::now();
//! let response = openai.send(Request::new(Payload::from("{}"))).await?;
//! assert!(start.elapsed() < Duration::from_secs(1));
//! assert!(response.extensions().get::<HedgeInfo>().is_some_and(HedgeInfo::won));
//! # Ok(())
//! # }
//! ```
//!
//! In a chain the request is sent to the next target: [`FallbackLayer::hedge`](crate::FallbackLayer::hedge),
//! or the part `hedge` of the policy of a chain.
//!
//! # Defaults
//! [`Settings`] is the part `hedge` of a [configuration](crate::ResilienceConfig); it is off if absent. Most
//! settings have a setter of the same name; in code, `enabled = false` is `HedgeLayer::disabled`.
//!
//! | setting | default | |
//! |---|---|---|
//! | `enabled` | `true` | `false`: no hedges |
//! | `percentile` | `95.0` | a call is late when its first token is later than that of 95 of 100 calls |
//! | `min_samples` | `50` | the calls of a target that are measured before one is hedged |
//! | `min_delay` | `"100ms"` | the shortest time after which a call is late |
//! | `max_extra_requests` | `0.05` | hedges as a share of the calls |
//! | `max_extra_tokens` | `0.05` | their tokens as a share of those of the calls |
//! | `same_target` | `true` | hedges at the same target if there is no other |
//!
//! # Rejections
//! None of its own.
//!
//! # What is hedged
//! A call is late when its attempt has taken longer than the percentile of the latest 512 to 1024 calls of
//! its target, from the attempt to the first token, queues and retries included. Streams and whole answers
//! are measured apart. A call that is given up when it is late counts as late, or the percentile would sink
//! with every hedge.
//!
//! A late call is sent to the next target of the chain that can take it, else to the same one: once per call,
//! and in one attempt without retries. A hedge does not wait. A target is passed over if its circuit is not
//! closed, its rate limit has no room, it has no permit left, or its service is not ready; the attempt that
//! was late goes on. The first response with a success is returned, and the other attempt is dropped. If one
//! of the two fails, the other is waited for; if both fail, the chain goes on with the targets behind them. A
//! failure that another target would only repeat ends the call at once, unless it is that of the hedge.
//!
//! Not hedged is a request that must not run twice: one that may not be retried (its body is not buffered,
//! [`RetryOverride::off`](crate::retry::RetryOverride::off), no attempt left in its
//! [`AttemptBudget`](crate::AttemptBudget), past its deadline), one with an `Idempotency-Key` of the caller,
//! one that the chain has sent again after a cooldown, a method other than `GET`, `HEAD`, `OPTIONS`, `TRACE`
//! and `POST`, and with the feature `providers` a `POST` with
//! [side effects](crate::providers::has_side_effects): stored and background responses, conversations, tools
//! that the provider runs, files, jobs.
//!
//! # The budget
//! The hedges of a layer are never more than `max_extra_requests` of its calls, and their tokens never more
//! than `max_extra_tokens` of those of its calls, from the start to any moment. Between two moments, the
//! shares of about a thousand earlier calls may come on top. Counted are the estimated tokens of the prompts,
//! and for whole answers the output as well: a stream is cancelled before its first token, and a whole answer
//! when most of it may be complete.
//!
//! # Accounting
//! Both attempts pass the gates of their targets. The one that is dropped returns its permit, is neutral for
//! the circuit, and has used the prompt, and the output that was reserved, since the provider may bill it: as
//! any attempt that was dropped, it is counted in `tidegate.tokens.possibly_billed`. A circuit with a
//! `slow_call_threshold` counts it as slow if it took longer. The [`Trail`](crate::Trail) has
//! [`Hedged`](crate::provider::Verdict::Hedged) and [`Cancelled`](crate::provider::Verdict::Cancelled), and
//! counts both attempts. The response has a [`HedgeInfo`], and the header `x-tidegate-hedge`.
//!
//! # Unlike `tower::hedge`
//! Tower's layer has one histogram, a service that is hedged at itself, and no bound. This one has a
//! percentile per target of the time to the first token, the next target of a chain, a budget of requests and
//! tokens, hedges that never wait, and an attempt that loses without a trace in the circuit. Tower counts
//! only the faster of the two, so that the percentile sinks.
//!
//! # Streams
//! A stack holds a stream until its first token, so that the first response is the one with the first token.
//! Around a service that does not, the first response head counts. After that the bytes are those of one
//! provider. The request is copied for every call, as in a chain; one with a body above
//! [`body_cap`](crate::FallbackLayer::body_cap) is not hedged.
//!
//! # Common mistakes
//! - A hedge inside of the retries, where each attempt may be hedged.
//! - Two layers, of which each hedges the other's requests: a chain that hedges turns off the hedges of its
//!   targets.
//! - A percentile of 50: every second call would be late, and the budget covers one in twenty.
//!
//! # Cost
//! Off, a branch. On, each call is copied and its tokens are estimated; it takes two locks for a moment, and
//! allocates its state. A target has 3 KiB for its times.

mod budget;
mod handle;
mod info;
mod layer;
mod plan;
mod response_times;
mod settings;
mod statistics;
mod target_times;

pub use handle::Handle;
pub use info::{HedgeInfo, HedgeUsage};
pub use layer::HedgeLayer;
pub(crate) use plan::HedgePlan;
pub use settings::Settings;
pub use statistics::HedgeStatistics;
pub(crate) use target_times::TargetTimes;

use crate::fallback::Fallback;

/// Sends a request once more when its first token is late; see the [module page](self).
///
/// The handle has the [statistics](crate::fallback::Handle::hedges).
pub type Hedge<S> = Fallback<S>;

#[cfg(test)]
mod tests;
