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
//! A failed answer's body is read to its end or to 64 KiB, whichever comes first.
//!
//! # When it says no
//! Never. It writes its [`Outcome`](crate::Outcome) into the extensions of a failed response, and the attempt
//! into the [`Trail`](crate::Trail) of the request, if it carries one.
//!
//! # Streams
//! A good answer passes untouched. A failed one is passed on byte for byte after it has been read.
//!
//! # Mistakes people make
//! Trusting the status. Reading an error body without a bound, or twice. Waiting for it without a clock: put a
//! [`TimeoutLayer`](crate::TimeoutLayer) outside.

mod future;
mod held;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use held::Held;
pub use layer::ClassifyLayer;
pub use service::Classified;

/// The body of an answer: untouched, or held back until it had been judged.
pub type ResponseBody<B> = http_body_util::Either<B, Held<B>>;

/// The most of an error body that is read before it is judged.
pub const ERROR_BODY_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
