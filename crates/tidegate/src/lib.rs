//! Tower layers for calls to model providers: retry, rate limit, circuit breaker, backpressure and fallback.
//!
//! Each layer works alone in a `tower::ServiceBuilder`, and [`ResilienceBuilder`] stacks them around any
//! service of `http` types:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Request, Response};
//! use tidegate::{
//!     BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, RateLimitLayer, Rejection,
//!     ResilienceBuilder, RetryLayer,
//! };
//! use tower::service_fn;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // In its place: hyper-util's client, `ReqwestService`, or any other client.
//! let client = service_fn(async |_: Request<Payload>| {
//!     let answer = r#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#;
//!     Ok::<_, BoxError>(Response::new(Payload::from(answer)))
//! });
//!
//! let openai = ResilienceBuilder::new("openai/gpt-4o")
//!     .retry(RetryLayer::exponential().max_retries(3).initial_delay(Duration::from_secs(1)))
//!     .backpressure(BackpressureLayer::max_inflight(50))
//!     .rate_limit(RateLimitLayer::per_second(10).burst_size(20))
//!     .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(5).cooldown(Duration::from_secs(30)))
//!     .service(client);
//!
//! let request = Request::post("https://api.openai.com/v1/chat/completions").body(Payload::from("{}"))?;
//! match openai.send(request).await {
//!     Ok(response) => println!("{}", response.status()),
//!     Err(error) => match Rejection::find(&*error) {
//!         Some(rejection) => println!("rejected: {rejection}"),
//!         None => println!("failed: {error}"),
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The layers
//!
//! | layer | | runs |
//! |---|---|---|
//! | [`FallbackLayer`] | calls the next target when one fails: [`fallback`] | per call |
//! | [`HedgeLayer`](hedge::HedgeLayer) | sends a late request once more: [`hedge`] | per call |
//! | [`RetryLayer`] | repeats a failed attempt, if that is useful, affordable and in time: [`retry`] | per call |
//! | [`BackpressureLayer`] | limits the calls in flight: [`backpressure`] | per attempt |
//! | [`RateLimitLayer`] | keeps to the provider's quotas, in requests and tokens: [`rate_limit`] | per attempt |
//! | [`CircuitBreakerLayer`] | rejects calls to a provider that is down: [`circuit_breaker`] | per attempt |
//! | [`TimeoutLayer`], [`ClassifyLayer`] | the wire: timeouts, and the meaning of a response: [`timeout`], [`classify`] | per attempt |
//! | [`TranslateLayer`] | calls a target in its own dialect: [`translate`] | per target |
//!
//! [`stack`] has the order and the limits of a call as a whole.
//!
//! ```text
//! request                                                                response head, then body frames
//!   │                                                                                   ▲
//!   ▼  Fallback          per call     selects the next target on failure                │
//!   ▼  Retry             per call     repeats the attempt: useful, affordable, in time? │
//!   ▼    Backpressure    per attempt  acquires a permit, held until the body ends       │ releases the permit
//!   ▼    RateLimit       per attempt  reserves a request and its tokens                 │ settles from usage
//!   ▼    CircuitBreaker  per attempt  admits or rejects                                 │ records the outcome
//!   ▼      wire          per attempt  timeouts and classification                       │ classifies head and end
//! provider
//! ```
//!
//! Two ideas carry the design. *Classify once, at the wire*: the innermost layer turns every result into one
//! [`Outcome`], and the other layers decide on that alone. *A response is not over at its head*: permits,
//! reservations and circuit admissions are held until the last byte of the response body, or until the body
//! is dropped.
//!
//! Every layer makes a `Service<http::Request<_>>` that returns `http::Response<impl Body>`; its error is
//! [`Error`]. If a layer rejects a call, the error is a [`Rejection`], found with [`Rejection::find`].
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `config` | yes | the stack from a file, or from `AI_LIB_*` variables; `executor`; with `translate` also `chain` |
//! | `providers` | yes | `providers`: what status, headers, error body and stream of each provider mean |
//! | `translate` | yes | `translators`: translation between dialects, continued streams, composed answers; includes `providers` |
//! | `reqwest` | no | `ReqwestService`, with the TLS that the application selects; includes `hyper-util` |
//! | `hyper-util` | no | `reconnect::Reconnect` around hyper-util's client: requests that a closed connection did not process are sent again |
//! | `schema` | no | the JSON Schema of a policy, by the crate schemars |
//! | `metrics` | no | metrics of every layer through the `metrics` facade, and `Signals::record_metrics` |
//! | `tiktoken` | no | `providers::Tiktoken`: exact prompt token counts for OpenAI's models |
//!
//! The layers themselves are always there. Rust 1.88 or newer.
//!
//! In the repository: `docs/guide.md` (one section per task), `docs/extensions.md`, `docs/events.md`,
//! `docs/metrics.md`, and `examples/`.

#[macro_use]
mod support;

pub mod alerts;
pub mod attempt;
pub mod backpressure;
#[cfg(all(feature = "config", feature = "translate"))]
pub mod chain;
pub mod circuit_breaker;
pub mod classify;
#[cfg(feature = "config")]
pub mod config;
pub mod events;
#[cfg(feature = "config")]
pub mod executor;
pub mod fallback;
pub mod group;
pub mod hedge;
pub mod key;
pub mod provider;
pub mod rate_limit;
#[cfg(feature = "hyper-util")]
pub mod reconnect;
#[cfg(feature = "reqwest")]
pub mod reqwest_service;
pub mod retry;
pub mod stack;
pub mod store;
pub mod timeout;
pub mod translate;

mod metrics;
mod settings;

// Names that the modules take from the root. Users have the names that are exported below.
use key::RequestHead;
use provider::*;
#[cfg(test)]
use support::testing;
use support::{
    body, bucket, buffered_body, chain_position, clock, debug, defaults, durations, keyed, layer_state,
    offload, priority_semaphore, rejected, send, shared, sync, thread_shard, timer,
};

#[cfg(feature = "providers")]
pub use tidegate_providers as providers;
#[cfg(feature = "translate")]
pub use tidegate_translate as translators;

pub use backpressure::BackpressureLayer;
#[cfg(all(feature = "config", feature = "translate"))]
pub use chain::FallbackChain;
pub use circuit_breaker::CircuitBreakerLayer;
pub use classify::ClassifyLayer;
#[cfg(feature = "config")]
pub use config::ResilienceConfig;
pub use fallback::FallbackLayer;
pub use key::{KeyBy, Tenant};
pub use provider::{
    BoxError, Deadline, Error, ErrorBody, ErrorCode, Failure, FailureKind, Gate, Outcome, Payload, Priority,
    Rejection, Trail,
};
pub use rate_limit::RateLimitLayer;
#[cfg(feature = "reqwest")]
pub use reqwest_service::ReqwestService;
pub use retry::RetryLayer;
pub use stack::{Resilience, ResilienceBuilder, Signals};
pub use timeout::TimeoutLayer;
pub use translate::TranslateLayer;
