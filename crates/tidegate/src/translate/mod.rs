//! Calls a target in its own dialect, whatever dialect the caller uses.
//!
//! # When to use it
//! Around one target of a chain that does not support the dialect of the caller. Nearly all providers support
//! OpenAI's dialect at some URL, and that is to be preferred: a translation is never as exact as the original
//! dialect.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use http_body_util::BodyExt;
//! use tidegate::translators::ChatToMessages;
//! use tidegate::{BoxError, Payload, TranslateLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Any stack in front of Anthropic.
//! let claude = service_fn(async |request: Request<Payload>| {
//!     let body = String::from_utf8(request.body().bytes().unwrap().to_vec())?;
//!     assert!(body.contains("max_tokens"));
//!     let response = r#"{"id":"msg_1","content":[{"type":"text","text":"Hi!"}],"stop_reason":"end_turn"}"#;
//!     Ok::<_, BoxError>(Response::new(Payload::from(response)))
//! });
//! let translator = ChatToMessages::new("anthropic/claude-sonnet-4-5");
//! let service = ServiceBuilder::new().layer(TranslateLayer::new(translator)).service(claude);
//!
//! let body = r#"{"model":"any","messages":[{"role":"user","content":"hello?"}]}"#;
//! let response = service.oneshot(Request::new(Payload::from(body))).await?;
//! let response = response.into_body().collect().await?.to_bytes();
//! assert!(String::from_utf8(response.to_vec())?.contains(r#""content":"Hi!""#));
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! A request body of up to 32 MiB is read, and a buffered response of as much; of a failed response 64 KiB
//! are read, for at most 5 s. A request or response body of 256 KiB or more is translated on a thread for
//! blocking work, one per processor at a time.
//!
//! # Position in the stack
//! Outside of the stack of its target, which classifies the response in the provider's own dialect, and
//! inside of the fallback, which sends every target the caller's own request. Retries below it send the
//! translated body again.
//!
//! # Rejections
//! A request that cannot be expressed in the other dialect is an [`Untranslatable`](crate::Untranslatable),
//! which names the field. It is a [`Rejection`](crate::Rejection) of
//! [`Gate::Translate`](crate::Gate::Translate) with E1001, 400. A request body above
//! [`body_cap`](TranslateLayer::body_cap) is rejected by the same gate with E1005, 413. Neither counts
//! against the health of any provider, and a fallback continues with the next target, which may accept the
//! request. A response that is too long ([`TooLong`]), compressed although the request did not allow
//! compression, or without content, is an error with E3001. An error that the provider sent with the status of
//! a success has the status of its code, unless it is a stream.
//!
//! # Streams
//! Streams are translated event by event: the events of one frame leave in one frame. Errors pass unchanged,
//! and no end is synthesized for a broken stream. Outcome, trail and all other extensions of the response
//! pass.
//!
//! # Common mistakes
//! Placing the layer inside of the stack: the classifier would then see a dialect that the provider does not
//! use. Forgetting the address: the path, the credentials and the name of the model are set by the target,
//! not by this layer.

mod body;
mod buffered_response;
mod future;
mod layer;
mod service;
mod settings;

pub use body::ResponseBody;
pub use buffered_response::TooLong;
pub use future::ResponseFuture;
pub use layer::TranslateLayer;
pub use service::Translate;

#[cfg(test)]
mod tests;
