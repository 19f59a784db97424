//! Classifies each response once, at the innermost layer.
//!
//! # When to use it
//! Innermost, around the client. The outer layers then decide on the meaning of a response instead of its
//! status: OpenAI's `insufficient_quota` is a 429 that a retry cannot fix, and Anthropic's "prompt is too
//! long" is a 400 that another model may accept.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use tidegate::{ClassifyLayer, ErrorCode, Outcome, Payload, providers::{Provider, ProviderClassifier}};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let provider = service_fn(async |_: Request<Payload>| {
//!     let body = Payload::from(r#"{"error":{"type":"insufficient_quota","message":"add credit"}}"#);
//!     Ok::<_, tidegate::BoxError>(Response::builder().status(429).body(body).unwrap())
//! });
//! let classifier = ProviderClassifier::new(Provider::OpenAi);
//! let service = ServiceBuilder::new().layer(ClassifyLayer::new(classifier)).service(provider);
//!
//! let response = service.oneshot(Request::new(Payload::empty())).await?;
//! assert_eq!(Outcome::of(&response).failure().unwrap().code, ErrorCode::QuotaExhausted);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! The body of a failed response is read to its end, up to 64 KiB, or for 5 s, whichever comes first. A
//! successful JSON response is held back until its first bytes identify it as one, up to 64 KiB. Each idle
//! timer of a stream ([`StreamClocks`]) is 120 s, and a stream is held back for at most 64 events with data,
//! 256 KiB or 4096 frames.
//!
//! # Rejections
//! None. The layer inserts its [`Outcome`](crate::Outcome) into the extensions of a failed response, and
//! records the attempt in the [`Trail`](crate::Trail) of the request, if there is one.
//!
//! # Streams
//! A stream in a dialect that the classifier can parse is *held back* until its first token: text, a tool
//! call or reasoning, but not `message_start`, a role or a ping. This is the commit point. A failure before
//! it is an ordinary failure, so that breaker, retry and fallback handle it without streaming code of their
//! own: an error event becomes the outcome of the response, a truncation or an idle timeout becomes an error.
//! After the commit point all bytes are passed to the caller unchanged.
//!
//! A stream ends in a body error, and never cleanly, in three cases: it ends without the terminator of its
//! dialect (`[DONE]`, `message_stop`, ...; [`FailureKind::Truncated`](crate::FailureKind::Truncated)), it is
//! idle for too long ([`Elapsed`](crate::Elapsed)), or it contains an error event
//! ([`FailureKind::InBand`](crate::FailureKind::InBand)), in which case the error follows the events of the
//! stream.
//!
//! If the extensions of the request contain a [`UsageMeter`](crate::UsageMeter), as a limit in tokens inserts
//! it, tokens are recorded in it as they arrive: the number of chunks, and the usage that the provider
//! reports.
//!
//! # Service tiers
//! A request with the `service_tier` `flex` or the `speed` `fast` has limits and a capacity that other calls do not
//! use. A rate limit that it reaches, or Groq's 498 for a lack of capacity, is returned, retried and failed over,
//! and changes no circuit, limit or cooldown
//! ([`FailureKind::NotProcessed`](crate::FailureKind::NotProcessed)). The same holds for a refusal by a network in
//! front of the provider, which the client of one caller may have caused, but it is not retried. If the network
//! refuses all calls of this process, each of them costs an attempt.
//!
//! # What a success has to show
//! Where the classifier knows that a model answers a POST
//! ([`expected_answer`](crate::provider::Classifier::expected_answer): chat, Responses, messages, embeddings
//! and the like), the status alone is no success. A JSON document has to be one of the endpoint, and to
//! contain a choice, a content block, an item, an embedding or a stop reason. A stream has to be in the
//! dialect of the endpoint, and to contain a token, a stop reason or the usage of one before its terminator;
//! unknown events are not tokens. An empty body, a web page, `choices: []`, a lone `[DONE]` or a redirect is
//! a failure of the provider with code E3001 ([`FailureKind::NoAnswer`](crate::FailureKind::NoAnswer)), which
//! is counted, retried and failed over.
//!
//! The first bytes decide what a body is, and not its `content-type`, which is corrected. Events for a
//! request without `stream` are put together into one document, and a document for a request with `stream` is
//! split into events, up to 16 MiB; where the dialect has no conversion the attempt has failed. An answer of
//! 256 KiB or more is converted on a thread for blocking work, one per processor at a time. A JSON document
//! is read to its end, up to 64 KiB, before it is passed on: one that is cut short is a failure without a
//! response, which may be retried. A longer one is passed on from there. If the connection does not count its
//! bytes, it ends in an error unless its braces are closed, and a `content-length` that is not that of the
//! body is removed. A compressed body is passed on unread if the request accepts a coding
//! (`accept-encoding`), and is a failure otherwise, since the caller could not read it either. A 101 is an
//! error for every request.
//!
//! # Other responses without streaming
//! A 200 may contain nothing but an error: OpenRouter and other proxies send the status before the upstream
//! responds. If the classifier [can probe bodies](crate::Classifier::probe_body), and the request is a POST,
//! a response is *held back* until its first bytes identify it; usually the first frame does, without parsing
//! or copying. The body of an error is then read like that of any failed response, and is passed on with its
//! status, its bytes, and an outcome with its code ([`FailureKind::InBand`](crate::FailureKind::InBand)). A
//! response that breaks off before it is identified is a failure, too. All other responses are passed on with
//! the same frames, size hint and trailers.
//!
//! The document of a model may come from a path that is not known as that of an answer. If a content filter
//! has left it without content, it is a failure as well
//! ([`FailureKind::ContentFilter`](crate::FailureKind::ContentFilter)).
//!
//! Whitespace does not identify a response, and some providers send it for as long as the model computes.
//! Only the attempt timeout ([`TimeoutLayer`](crate::TimeoutLayer)) ends that wait, or the first-token
//! timeout if the request is for a stream.
//!
//! A failed response is passed on byte for byte after it has been read. If its body breaks off, an error body
//! of our own takes its place, with the code, so that the caller gets the status.
//!
//! # Common mistakes
//! - Relying on the status: a 200 can fail at its third event, or be an error from its first byte.
//! - Relying on the end of the body: a truncated stream ends like a complete one.
//! - Treating a ping as progress of the model.
//! - No timeout: an error body is read for at most 5 s, but the wait for a head, and for the first bytes that
//!   identify a success, has no limit. Add a [`TimeoutLayer`](crate::TimeoutLayer) outside.
//!
//! # Cost
//! A document is read as it passes, up to its answer; it is held until then, in two allocations. Reading
//! an event of a stream takes some 800 instructions, passing it on through the bodies around it some 400
//! more, and nothing is allocated. An error response is read whole.

mod body;
mod clocks;
mod event_answer;
mod layer;
mod own_body;
mod response_judge;
mod scanned_body;
mod stages;
mod wire;

pub use body::ClassifiableBody;
pub(crate) use body::ResponseBody as ClassifiedBody;
pub use clocks::StreamClocks;
pub use layer::ClassifyLayer;
pub use scanned_body::ScannedBody;
pub(crate) use wire::ClassifyWire;

pub use crate::buffered_body::{BufferedBody, ERROR_BODY_LIMIT};

use crate::attempt::{self, Attempt, GuardedBody, NoGate};

/// Classifies each response; see the [module page](self).
pub type Classify<S> = Attempt<S, NoGate, ClassifyWire>;

/// Waits for the response head, and then for the first bytes of a successful response, the body of a failed
/// one, or the first token of a stream.
pub type ResponseFuture<S, F, R, B> = attempt::ResponseFuture<S, F, R, NoGate, ClassifyWire, B>;

/// The response body: complete in one piece, or a stream that is classified as it passes.
pub type ResponseBody<B> = GuardedBody<ClassifiedBody<B>, ()>;

#[cfg(test)]
mod tests;
