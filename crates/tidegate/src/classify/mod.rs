//! Judges what came back, once, where it came in.
//!
//! # When
//! Innermost, around the client. The layers outside then decide on what the provider *meant*: OpenAI's
//! `insufficient_quota` is a 429 that no waiting helps, and Anthropic's "prompt is too long" is a 400 that
//! another model may take.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use tidegate::{ClassifyLayer, ErrorCode, Outcome, Payload, providers::{Provider, ProviderClassifier}};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let broke = service_fn(async |_: Request<Payload>| {
//!     let body = Payload::from(r#"{"error":{"type":"insufficient_quota","message":"add credit"}}"#);
//!     Ok::<_, tidegate::BoxError>(Response::builder().status(429).body(body).unwrap())
//! });
//! let classifier = ProviderClassifier::new(Provider::OpenAi);
//! let service = ServiceBuilder::new().layer(ClassifyLayer::new(classifier)).service(broke);
//!
//! let answer = service.oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!(Outcome::of(&answer).failure().unwrap().code, ErrorCode::QuotaExhausted);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! A failed answer's body is read to its end, to 64 KiB, or for 5 s, whichever comes first. A good answer in JSON is held
//! until its beginning says that it is one, for 64 KiB at the most. A stream may be silent for
//! 120 s by each of its clocks ([`StreamClocks`]), and is held back for 64 events or 256 KiB at the most.
//!
//! # When it says no
//! Never. It writes its [`Outcome`](crate::Outcome) into the extensions of a failed response, and the attempt
//! into the [`Trail`](crate::Trail) of the request, if it carries one.
//!
//! # Streams
//! A stream in a dialect that the classifier reads is *held* until its first token: text, a tool call or
//! reasoning; not `message_start`, a role, a ping. This is the commit point. What goes wrong before it is a failure
//! like any other, so that breaker, retry and fallback act on it with no streaming code of their own: an error
//! event is an outcome of the response, a cut or a silence is an error. After it the bytes are the caller's,
//! every one, as they came.
//!
//! A stream that ends without its dialect's terminator (`[DONE]`, `message_stop`, ...) ends in a body error
//! ([`FailureKind::Truncated`](crate::FailureKind::Truncated)), and so does one that falls silent
//! ([`Elapsed`](crate::Elapsed)), and one that tells of an error of its own after the events that say so
//! ([`FailureKind::InBand`](crate::FailureKind::InBand)): never a clean end.
//!
//! Where somebody counts tokens (a [`UsageMeter`](crate::UsageMeter) among the extensions of the request, as a limit in tokens
//! puts there), they are told as they come: seen, and counted by the provider.
//!
//! # Answers in one piece
//! A 200 may hold nothing but an error: OpenRouter and other proxies have given the status before they asked. So where
//! the classifier [can tell](crate::Classifier::opening), and the request was a POST, an answer is *held* until its
//! beginning says what it is: as a rule by its first frame, in which nothing is parsed and nothing copied. An error is
//! then read like that of any failed answer, and handed on with its status, its bytes, and an outcome with its code
//! ([`FailureKind::InBand`](crate::FailureKind::InBand)). One that breaks off before it has said anything is a failure, too. All other
//! answers pass untouched, or as they came: the same frames, size hint and trailers.
//!
//! Blanks say nothing, and some send them for as long as the model thinks. Only the clock of the attempt
//! ([`TimeoutLayer`](crate::TimeoutLayer)) ends that wait, and that of the first token where a stream was asked for.
//!
//! A failed answer is passed on byte for byte after it has been read.
//!
//! # Mistakes people make
//! Trusting the status: a 200 can fail at its third event, or be an error from its first byte. Trusting the end: a stream that was cut ends like one
//! that was not. Taking a ping for a sign that the model is at work. Waiting for an error body without a clock: put a
//! [`TimeoutLayer`](crate::TimeoutLayer) outside.

mod body;
mod buffered_body;
mod clocks;

mod future;

mod layer;
mod scanned_body;
mod service;
mod usage_scanner;

pub use body::ResponseBody;
pub use buffered_body::BufferedBody;
pub use clocks::StreamClocks;
pub use future::ResponseFuture;
pub use layer::ClassifyLayer;
pub use scanned_body::ScannedBody;
pub use service::Classify;

/// The most of an error body that is read before it is judged.
pub const ERROR_BODY_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
