//! A model provider that follows a script, over TCP or in memory.
//!
//! # When
//! To see how a stack behaves when the provider is slow, full, broken or rude; and to have somebody to talk to
//! where there is no network and no key.
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
//! // Fails once, then answers. `.start().await` instead of `.service()` plays the same over TCP.
//! let mut provider = Provider::openai().then(Reply::status(503).retry_after(2)).service();
//! let ask = || {
//!     let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
//!     Request::post("http://provider.test/v1/chat/completions").body(Full::<bytes::Bytes>::from(body)).unwrap()
//! };
//!
//! let failed = provider.call(ask()).await.unwrap();
//! assert_eq!((failed.status().as_u16(), &failed.headers()["retry-after"]), (503, &"2".parse().unwrap()));
//! let answer = provider.call(ask()).await.unwrap().into_body().collect().await.unwrap().to_bytes();
//! assert!(answer.starts_with(b"{\"choices\""));
//! assert_eq!(provider.log().calls(), 2);
//! # }
//! ```
//!
//! # Dialects
//! | provider | chat is at | its own way |
//! |--|--|--|
//! | [`openai`](Provider::openai) | `/v1/chat/completions` | usage in a stream only if asked for |
//! | [`responses`](Provider::responses) | `/v1/responses` | typed events; `error` and `response.failed` |
//! | [`azure`](Provider::azure) | `/openai/v1/chat/completions`, `/openai/deployments/{model}/...` | filter results first; `event: keepalive` |
//! | [`anthropic`](Provider::anthropic) | `/v1/messages` | typed events; `event: ping`; 529 |
//! | [`gemini`](Provider::gemini) | `/v1beta/models/{model}:...` | events or one JSON array; the wait only in the body |
//! | [`mistral`](Provider::mistral) | `/v1/chat/completions` | flat errors; thought in parts of the content |
//! | [`groq`](Provider::groq) | `/openai/v1/chat/completions` | `x_groq`; 498; limits of a day |
//! | [`deepseek`](Provider::deepseek) | `/v1/chat/completions` | `: keep-alive`; no limits told |
//! | [`cohere`](Provider::cohere) | `/v2/chat` | typed events; a failure is a reason to stop |
//! | [`openrouter`](Provider::openrouter) | `/api/v1/chat/completions` | `: OPENROUTER PROCESSING`; numbers for codes |
//! | [`bedrock`](Provider::bedrock) | `/model/{model}/converse`, `/converse-stream` | Amazon's binary events; exceptions |
//!
//! All play the same script, so that a test written for one is a test for all. Where a dialect has no sign of life
//! of its own, a comment or a chunk without a word stands for it.
//!
//! # Defaults
//! Every request is answered at once with a few words, as JSON or as a stream, whichever it asks for. No key
//! is asked for and no limit is kept. Request bodies above 32 MiB are refused; the log forgets its oldest
//! requests beyond 4096 or 64 MiB.
//!
//! # When it says no
//! In the shape of its dialect, before the script has its say: 404 for a path or a model that it does not have,
//! 413 for a body too large, 401 for a wrong key, 400 for a body that is not JSON, 503 (Anthropic 529, Groq 498)
//! above [`Provider::concurrency_limit`], 429 above [`Provider::rate_limit`].
//!
//! # Streams
//! Each event is a frame of its own. Faults inside a stream are counted in tokens ([`Reply::cut_after`]) or in
//! events ([`Reply::error_event_at`]), of which those that are faults do not count. In an answer that is not
//! streamed a cut, a reset, an early end and a stall come after half of it; the other faults are of streams only.
//!
//! # Mistakes people make
//! - A paused clock and real sockets do not go together: use [`Provider::service`] there.
//! - Counting on a preamble: Gemini has none, and its first event is a token.

mod body;
mod closed;
mod definition;
mod dialect;
mod faults;
mod limit;
mod log;
mod memory;
mod question;
mod reply;
mod respond;
mod script;
mod server;
mod telling;

pub use body::ProviderBody;
pub use closed::{ClosedPort, closed_port};
pub use definition::Provider;
pub use log::{Asked, Log};
pub use memory::InMemory;
pub use reply::Reply;
pub use script::Script;
pub use server::Server;
