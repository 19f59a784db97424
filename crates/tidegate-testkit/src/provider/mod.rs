//! A model provider that follows a script, over TCP or in memory.
//!
//! # When to use it
//! To test how a stack behaves when the provider is slow, overloaded or broken, and to run examples without a
//! network or an API key.
//!
//! # Example
//! ```
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use tidegate_testkit::{Provider, Reply};
//! use tower_service::Service;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // Fails once, then succeeds. `.start().await` instead of `.service()` plays the same script over TCP.
//! let mut provider = Provider::openai().then(Reply::status(503).retry_after(2)).service();
//! let request = || {
//!     let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
//!     Request::post("http://provider.test/v1/chat/completions").body(Full::<bytes::Bytes>::from(body)).unwrap()
//! };
//!
//! let failed = provider.call(request()).await.unwrap();
//! assert_eq!((failed.status().as_u16(), &failed.headers()["retry-after"]), (503, &"2".parse().unwrap()));
//! let body = provider.call(request()).await.unwrap().into_body().collect().await.unwrap().to_bytes();
//! assert!(body.starts_with(b"{\"choices\""));
//! assert_eq!(provider.log().calls(), 2);
//! # }
//! ```
//!
//! # Dialects
//! | provider | path of chat | particularities |
//! |--|--|--|
//! | [`openai`](Provider::openai) | `/v1/chat/completions` | usage in a stream only on request |
//! | [`responses`](Provider::responses) | `/v1/responses` | typed events; `error` and `response.failed` |
//! | [`azure`](Provider::azure) | `/openai/v1/chat/completions`, `/openai/deployments/{model}/...` | filter results first; `event: keepalive` |
//! | [`anthropic`](Provider::anthropic) | `/v1/messages`, `/v1/messages/count_tokens` | typed events; `event: ping`; 529 |
//! | [`gemini`](Provider::gemini) | `/v1beta/models/{model}:...` | events or one JSON array; the retry delay only in the body |
//! | [`mistral`](Provider::mistral) | `/v1/chat/completions` | flat errors; reasoning in parts of the content |
//! | [`groq`](Provider::groq) | `/openai/v1/chat/completions` | `x_groq`; 498; daily limits |
//! | [`deepseek`](Provider::deepseek) | `/v1/chat/completions` | `: keep-alive`; no rate limit headers |
//! | [`cohere`](Provider::cohere) | `/v2/chat` | typed events; a failure is a finish reason |
//! | [`openrouter`](Provider::openrouter) | `/api/v1/chat/completions` | `: OPENROUTER PROCESSING`; numeric error codes |
//! | [`bedrock`](Provider::bedrock) | `/model/{model}/converse`, `/converse-stream` | Amazon's binary events; exceptions |
//!
//! All dialects play the same script, so that a test written for one works for all. A dialect without a
//! keep-alive event of its own sends a comment or an empty chunk instead.
//!
//! # Defaults
//! Every request gets an immediate response of a few words, as JSON or as a stream, whichever it requests. No
//! API key is required and no limit is enforced. Request bodies above 32 MiB are rejected. The log drops its
//! oldest requests beyond 4096 or 64 MiB.
//!
//! # Rejections
//! Errors have the shape of the dialect and are checked before the script is consulted: 404 for an unknown
//! path or model, 413 for a body too large, 401 for a wrong key, 400 for a body that is not JSON, 503
//! (Anthropic 529, Groq 498) above [`Provider::concurrency_limit`], 429 above [`Provider::rate_limit`].
//!
//! # Streams
//! Each event is a frame of its own. Faults inside a stream are positioned by tokens ([`Reply::cut_after`])
//! or by events ([`Reply::error_event_at`]). Injected events are not counted. In a response that is not
//! streamed a cut, a reset, an early end and a stall come after half of the body. The other faults apply to
//! streams only.
//!
//! # Common mistakes
//! - A paused clock does not work with real sockets. Use [`Provider::service`] there.
//! - Do not rely on a preamble: Gemini has none, and its first event is a token.

mod body;
mod body_plan;
mod closed;
mod definition;
mod dialect;
mod error_spec;
mod faults;
mod framing;
mod limit;
mod log;
mod memory;
mod reply;
mod request_info;
mod respond;
mod script;
mod server;
mod stop_kind;

pub use body::ProviderBody;
pub use closed::{ClosedPort, closed_port};
pub use definition::Provider;
pub use log::{LoggedRequest, RequestLog};
pub use memory::InMemory;
pub use reply::Reply;
pub use script::Script;
pub use server::Server;
