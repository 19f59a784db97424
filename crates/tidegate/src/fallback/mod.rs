//! Sends a call to the next target when the current target fails.
//!
//! # When to use it
//! Outermost, around the stack of the first target, with other stacks behind it: another model, another
//! provider, another region.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use tidegate::{FallbackLayer, Payload, fallback::FallbackInfo};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let down = service_fn(async |_: Request<Payload>| {
//!     Ok::<_, tidegate::BoxError>(Response::builder().status(503).body(Payload::empty()).unwrap())
//! });
//! let up = service_fn(async |_: Request<Payload>| Ok::<_, tidegate::BoxError>(Response::new(Payload::from("hi"))));
//!
//! let chain = FallbackLayer::new().then("deepseek/deepseek-chat", up);
//! let response = ServiceBuilder::new().layer(chain).service(down).oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().target(), "deepseek/deepseek-chat");
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! A new layer has no further targets and no last resorts. Targets with a model that is in the built-in model
//! table are skipped if they cannot take the request. [`Settings`] is the part `fallback` of a
//! [configuration](crate::ResilienceConfig); most settings have a setter of the same name.
//!
//! | setting | default | |
//! |---|---|---|
//! | `enabled` | `true` | `false`: only the first target is called |
//! | `on_context_length` | `false` | whether a prompt that is too long causes a fallback |
//! | `on_content_filter` | `false` | whether a content filter causes a fallback |
//! | `continue_streams` | `false` | whether the next target continues a stream that broke off |
//! | `max_wait` | `none` | the longest wait while all targets are cooling down; none: as long as the deadline allows |
//! | `body_cap` | `33_554_432` | bytes of a request body that are kept for the other targets |
//! | `cache_by` | `none` | callers that share cached answers; none: those with the same credential and tenant |
//!
//! # When it acts
//! The code is fallbackable (authentication, rate limited, quota exhausted, server error, overloaded,
//! timeout: a broken connection is a server error), or one of tidegate's gates rejected the attempt. A
//! malformed request (E1001) would be malformed for every target and is returned at once; from a target after
//! the first, which may not accept what the others do, only if no failure that
//! [helps more](#order-of-the-chain) is at hand. A target after the first that has no such model (E1004), or
//! does not permit it (E1003), is followed by the next one, since model and key are its own. Optionally the
//! layer also acts on prompts that do not fit the model
//! ([`on_context_length`](FallbackLayer::on_context_length)) and on content filters
//! ([`on_content_filter`](FallbackLayer::on_content_filter)).
//!
//! # Order of the chain
//! 1. The first target, and then each target that was added with [`then`](FallbackLayer::then).
//! 2. If all of them are only cooling down (an open circuit, a rate limit, a 429 or 503 with a delay) and the
//!    call has a deadline that allows the wait: it waits for the target that is available first, at most
//!    eight times, and for [`max_wait`](FallbackLayer::max_wait) in all. Then one attempt is sent to the
//!    first target in the order of the chain that admits it. A target is left out as long as a delay of its
//!    provider lasts. The wait is extended by up to a tenth, or by up to 50 ms if that is more, so that
//!    waiting calls do not all return at once. In nested chains only the outermost chain waits, and a chain
//!    in a group only if no other member can take the call.
//! 3. The last resorts, in the order in which they were added: [`then_cached`](FallbackLayer::then_cached),
//!    [`then_simplified`](FallbackLayer::then_simplified), [`then_static`](FallbackLayer::then_static),
//!    [`then_emergency`](FallbackLayer::then_emergency); and the answer in the [`FallbackOverride`] of the
//!    request. They respond in the caller's dialect, buffered or streamed, to requests for text in OpenAI's
//!    chat dialect or in Anthropic's. The path of the request decides which dialect it is.
//!
//! A target after the first is skipped if it could only reject the request: its context is too small for the
//! prompt and the answer, or the request has tools, images or a JSON schema that its model does not support.
//! The capabilities of models come from [`models`](FallbackLayer::models). They are looked up by the name of
//! the target (its model is what follows the first slash) and only when a call falls back. A target is called
//! if its model is unknown or if the prompt may just fit: the provider decides more reliably. Once a target
//! rejects the prompt as too long, all targets with a context that is known to be no larger are skipped too,
//! whatever the estimate was.
//!
//! If all targets fail, the caller gets the failure that helps it most: a prompt that does not fit or was
//! filtered, then a rate limit of a provider with a time to wait, then any other failure. Of equals it is the
//! last.
//!
//! Every response that does not come from the first target carries [`FallbackInfo`], and the headers
//! `x-tidegate-target` and `x-tidegate-fallback`. The call's
//! [`Trail`](crate::Trail) lists the targets that were called and why they failed, and the targets that were
//! skipped and for which missing capability.
//!
//! # Rejections
//! The layer itself rejects a call only for its deadline: passed before a target was called, or while the
//! request body arrives. When all targets have failed, the caller gets the response or error of a target that
//! received the caller's own request, unchanged: [which](#order-of-the-chain) depends on the failures. Less
//! informative failures do not replace it:
//! skipped targets, rejections by tidegate's gates, requests that cannot be translated into the dialect of
//! the target, failures of a simplified prompt, and errors of a target that never became ready.
//!
//! No target is called once the deadline has passed; a last resort that calls no target still responds. A
//! target that does not enforce the deadline itself is cancelled one millisecond later, and so is its stream;
//! frames that the stream has already sent still reach a slow reader. The first target is not called before
//! it is ready: [`poll_ready`](tower_service::Service::poll_ready) reflects the first target.
//!
//! # Idempotency keys
//! An `Idempotency-Key` identifies one request. The key that the [retry](crate::RetryLayer::idempotency_key)
//! of a target generates is the same for every attempt with the same request on behalf of one call. The
//! caller's own key gets the position of the target as a suffix (`key-1`), since each target is called with
//! another model. A simplified prompt and the continuation of a stream are sent without the caller's key.
//!
//! # Streams
//! Once a successful response head has arrived, its bytes belong to the caller and no other target is called.
//! The exception is a stream that breaks when [`continue_streams`](FallbackLayer::continue_streams) is set:
//! then the next target may continue the text in the same stream. A request body up to
//! [`body_cap`](FallbackLayer::body_cap) is kept for the other targets; a longer one is sent to the first
//! target only. A cache records an answer as it passes, and stores it if the stream ended successfully.
//!
//! # Common mistakes
//! - Retries inside of fallbacks inside of retries: forty attempts.
//! - A fallback on every error: a malformed request then fails once per target, and is paid for each time.
//! - One cache for all callers: a similar prompt of another caller is not the same prompt, so answers are kept
//!   per credential and per [`Tenant`](crate::Tenant). Callers with neither share their answers, unless their
//!   requests are [`Uncached`].
//!
//! # Cost
//! A call for which there is another target has a copy of the head of its request, made before the first
//! target is called. A body in memory is shared and not copied.

mod body;
mod body_source;
mod call;
mod chain;
mod deadline_guard;
mod fallback_override;
mod future;
mod handle;
mod hedge_future;
mod info;
mod last_resort;
mod layer;
mod policy;
mod service;
mod settings;
mod statistics;
mod target;

pub use body::ResponseBody;
pub use fallback_override::FallbackOverride;
pub use future::ResponseFuture;
pub use handle::Handle;
pub use info::{FallbackInfo, FallbackKind};
pub use last_resort::{AnswerCache, PromptKind, StaticAnswers, Uncached};
pub use layer::FallbackLayer;
pub(crate) use policy::{FallbackPolicy, is_refusal};
pub use service::Fallback;
pub use settings::Settings;
pub use statistics::TargetStatistics;
pub use target::{AsTarget, TargetBody};
pub(crate) use target::{OutputCap, TargetModel};

#[cfg(test)]
mod tests;
