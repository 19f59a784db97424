//! Asks somebody else when the first target cannot answer.
//!
//! # When
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
//! let answer = ServiceBuilder::new().layer(chain).service(down).oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.extensions().get::<FallbackInfo>().unwrap().target(), "deepseek/deepseek-chat");
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! No targets; the code decides, and neither context length nor content filter falls back. Of targets whose models are
//! well known, those that cannot take the request are passed over.
//!
//! # When it acts
//! The code is fallbackable (authentication, rate limited, quota exhausted, server error, overloaded, timeout:
//! a broken connection is a server error), or a gate of ours refused. A malformed request (E1001) would be
//! malformed everywhere and comes back at once. On request also for prompts that do not fit the model
//! ([`on_context_length`](FallbackLayer::on_context_length)) and for content filters
//! ([`on_content_filter`](FallbackLayer::on_content_filter)).
//!
//! # Who is asked, in which order
//! 1. The first target, and then each target that was named with [`then`](FallbackLayer::then).
//! 2. If all of them only rest (an open circuit, a rate limit, a 429 or 503 that says for how long) and the call has a
//!    deadline that allows it, the one that is back first, at one attempt each time and eight times at the most. The wait
//!    grows by up to a tenth, so that not all who wait come back at once. Of chains within chains only the outermost waits.
//! 3. The last resorts, in the order in which they were named: [`then_cached`](FallbackLayer::then_cached),
//!    [`then_simplified`](FallbackLayer::then_simplified), [`then_static`](FallbackLayer::then_static),
//!    [`then_emergency`](FallbackLayer::then_emergency). They answer in the caller's dialect, plain or streamed, to requests
//!    that ask for text in OpenAI's chat dialect or in Anthropic's, told by the path.
//!
//! A target after the first that could only refuse is not asked: its context is too small for the prompt and the answer,
//! or the request has tools, pictures or a JSON schema and its model does not take them. What models can take is told
//! by [`models`](FallbackLayer::models), and looked up by the name of the target (its model is what follows the first
//! slash) only when a call goes down the chain. Of a model that is not known, and of a prompt that may just fit, the
//! provider is the better judge: it is asked. When a target says that the prompt is too long, those that are known to
//! be no larger are passed over as well, whatever was estimated.
//!
//! Every answer but the first target's own carries [`FallbackInfo`], and the call's [`Trail`](crate::Trail) says who was asked and why
//! they failed, and who was passed over and for what.
//!
//! # When it says no
//! Only where the deadline passes while the body of the request is still coming. When nobody answered, the answer or error
//! of the last one who was asked what the caller asked goes through as it came. The refusals of the unfit, of our own
//! gates, of one that speaks no dialect in which it can be said, and of whoever got a simplified prompt would only hide
//! what went wrong; so would the error of one that could not be made ready, and was not asked.
//!
//! Nobody is asked once the deadline has passed; a last resort that asks nobody still answers. A target that does not
//! keep the deadline itself is cut off a millisecond later, its stream too; what such a stream has already sent reaches a
//! reader who is late. A first target that is never ready is never asked: that is for
//! [`poll_ready`](tower_service::Service::poll_ready), which speaks for it.
//!
//! # Keys
//! An `Idempotency-Key` stands for one request. The one that the [retry](crate::RetryLayer::idempotency_key) of a target gives is
//! the same whenever the target is asked the same on behalf of one call; that of the caller gets the place of the target
//! added (`key-1`), since each is asked for another model. A simplified prompt, and the rest of a stream, go without the
//! caller's.
//!
//! # Streams
//! Once a good head has arrived the bytes are the caller's, and no other target is asked; unless the stream breaks
//! and [`continue_streams`](FallbackLayer::continue_streams) was set: then the next target may go on with its text,
//! in the same stream. A request body up to [`body_cap`](FallbackLayer::body_cap) is kept for the other targets; a
//! longer one goes to the first only. A cache writes an answer down as it passes, and keeps it if it ended well.
//!
//! # Mistakes people make
//! Retries inside of fallbacks inside of retries: forty attempts. A fallback on every error: a bad request then
//! fails once per target, and costs as often. One cache for all: a like question of somebody else is not the same
//! question, so answers stay with the credential and the [`Tenant`](crate::Tenant) that asked.

mod answered;
mod body;
mod cache;
mod chain;
mod cooling;
mod counts;
mod cutoff;
mod fit;
mod fixed;
mod future;
mod handle;
mod layer;
mod policy;
mod recording;
mod resort;
mod scope;
mod service;
mod simplified;
mod target;

pub use answered::{FallbackInfo, FallbackKind};
pub use body::ResponseBody;
pub use cache::AnswerCache;
pub use counts::TargetStatistics;
pub use fixed::{PromptKind, StaticAnswers};
pub use future::ResponseFuture;
pub use handle::Handle;
pub use layer::FallbackLayer;
pub use service::Fallback;
pub use target::{AsTarget, TargetBody};

#[cfg(test)]
mod tests;
