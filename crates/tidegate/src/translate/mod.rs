//! Asks a target in its own dialect, whatever the caller's is.
//!
//! # When
//! Around one target of a chain that does not speak the dialect that the chain is asked in. Nearly all providers speak
//! OpenAI's at some URL, and that is to be preferred: nothing translated is as good as nothing to translate.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use http_body_util::BodyExt;
//! use tidegate::providers::translate::ChatToMessages;
//! use tidegate::{BoxError, Payload, TranslateLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Any stack in front of Anthropic.
//! let claude = service_fn(async |request: Request<Payload>| {
//!     let asked = String::from_utf8(request.body().bytes().unwrap().to_vec())?;
//!     assert!(asked.contains("max_tokens"));
//!     let answer = r#"{"id":"msg_1","content":[{"type":"text","text":"Hi!"}],"stop_reason":"end_turn"}"#;
//!     Ok::<_, BoxError>(Response::new(Payload::from(answer)))
//! });
//! let translator = ChatToMessages::new("anthropic/claude-sonnet-4-5");
//! let service = ServiceBuilder::new().layer(TranslateLayer::new(translator)).service(claude);
//!
//! let asked = r#"{"model":"any","messages":[{"role":"user","content":"hello?"}]}"#;
//! let answer = service.oneshot(Request::new(Payload::from(asked))).await?;
//! let answer = answer.into_body().collect().await?.to_bytes();
//! assert!(String::from_utf8(answer.to_vec())?.contains(r#""content":"Hi!""#));
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//! Outside of the stack of its target, which judges what the provider says in the provider's own dialect, and inside of
//! the fallback, which hands every target the caller's own request. Retries below it send the translated body again.
//!
//! # Defaults
//! A request body of up to 32 MiB is read, and a plain answer of as much; of a failed answer 64 KiB are, for 5 s.
//!
//! # When it says no
//! A request that cannot be said in the other dialect is an [`Untranslatable`](crate::Untranslatable), which names the
//! field. It is a [`Rejection`](crate::Rejection) of [`Gate::Translate`](crate::Gate::Translate) with E1001, counts
//! against nobody, and lets a fallback go on: another target may take it. A plain answer that is too long
//! ([`TooLong`]), compressed in spite of being asked not to be, or no answer at all, is an error with E3001.
//!
//! # Streams
//! Event by event: what came in one frame leaves in one. Errors pass as they are, and nothing is made up at a broken
//! end. Outcome, trail and all other extensions of the response pass.
//!
//! # Mistakes people make
//! Putting it inside of the stack: the classifier would judge a dialect that the provider does not speak. Forgetting
//! the address: the path, the credentials and the name of the model are the target's own, and not this layer's.

mod body;
mod error;
mod future;
mod layer;
mod reading;
mod service;

pub use body::ResponseBody;
pub use error::TooLong;
pub use future::ResponseFuture;
pub use layer::TranslateLayer;
pub use service::Translate;

#[cfg(test)]
mod tests;
