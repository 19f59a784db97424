//! Tower layers that make calls to model providers resilient.
//!
//! Five layers, each usable alone in a `tower::ServiceBuilder`: they retry failed attempts ([`retry`]), keep to the
//! rate limits of the provider ([`rate_limit`]), stop sending to a provider that is down ([`circuit_breaker`]), limit
//! the calls in flight ([`backpressure`]) and fall back to another target ([`fallback`]). [`ResilienceBuilder`] stacks
//! them in protocol order around an HTTP service:
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
//! [`Outcome`], and the other layers decide on that alone. *A response is not over at its head*: permits, reservations
//! and circuit admissions are held until the last byte of the response body, or until the body is dropped.
//!
//! `TranslateLayer`, between the fallback and the stack of a target, translates requests and responses if the API
//! dialect of the target differs from that of the callers.
//!
//! Every layer is a `Service<http::Request<_>>` that returns `http::Response<impl Body>`; its error is
//! [`BoxError`]. If a layer rejects a call, the error is a [`Rejection`], found with [`Rejection::find`].

#[cfg(feature = "backpressure")]
pub mod backpressure;
#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "classify")]
pub mod classify;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "fallback")]
pub mod fallback;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "stack")]
pub mod stack;
#[cfg(feature = "timeout")]
pub mod timeout;
#[cfg(feature = "translate")]
pub mod translate;

#[cfg(any(
    feature = "backpressure",
    feature = "circuit-breaker",
    feature = "fallback",
    feature = "rate-limit"
))]
mod body;
#[cfg(any(feature = "rate-limit", feature = "retry"))]
#[cfg_attr(not(feature = "rate-limit"), expect(dead_code, reason = "the retry budget only spends"))]
mod bucket;
#[cfg(any(feature = "fallback", feature = "retry"))]
#[cfg_attr(
    not(all(feature = "fallback", feature = "retry")),
    allow(dead_code, reason = "a fallback chain writes it, and a retry reads it")
)]
mod chain_position;
#[cfg(any(
    feature = "backpressure",
    feature = "circuit-breaker",
    feature = "classify",
    feature = "fallback",
    feature = "rate-limit",
    feature = "retry",
    feature = "timeout"
))]
mod clock;
#[cfg(any(feature = "fallback", feature = "retry"))]
mod clone_request;
#[cfg(any(feature = "fallback", feature = "retry"))]
mod deadline_timer;
#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit"))]
#[cfg_attr(
    not(feature = "circuit-breaker"),
    allow(dead_code, reason = "backpressure and rate limit use a part of it")
)]
mod guarded_body;
mod http_service;
#[cfg(any(
    feature = "backpressure",
    feature = "circuit-breaker",
    feature = "fallback",
    feature = "rate-limit"
))]
mod key;
#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit"))]
#[cfg_attr(
    not(any(feature = "backpressure", feature = "circuit-breaker")),
    allow(dead_code, reason = "only the handles of keyed gates look up a key")
)]
mod keyed;
#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit", feature = "retry"))]
mod layer_state;
#[cfg(any(feature = "backpressure", feature = "rate-limit"))]
#[cfg_attr(
    not(feature = "backpressure"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "the rate limit uses one permit, without counting or ordering the queue"
    )
)]
mod priority_semaphore;
#[cfg(any(
    feature = "backpressure",
    feature = "circuit-breaker",
    feature = "rate-limit",
    feature = "translate"
))]
mod rejected;
#[cfg(any(feature = "fallback", feature = "retry"))]
mod retry_after;
#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit"))]
mod sync;
#[cfg(test)]
mod testing;

#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit"))]
pub use guarded_body::GuardedBody;
pub use http_service::HttpService;
#[cfg(any(
    feature = "backpressure",
    feature = "circuit-breaker",
    feature = "fallback",
    feature = "rate-limit"
))]
pub use key::{KeyBy, Model, RequestHead, Tenant};
pub use tidegate_core::{
    AttemptBudget, AttemptUsage, BodyMode, BodyProbe, BodyRewritten, BoxError, ByLength, Category,
    Classifier, Clock, Deadline, Elapsed, ErrorBody, ErrorCode, Estimate, Estimated, Failure, FailureKind,
    Gate, HintSource, LimitScope, LimitStatus, LimitUnit, MissingCapability, ModelCapabilities, ModelCatalog,
    NotContinuable, Outcome, Payload, Priority, Rejection, ReportedLimits, Requirements, Reset,
    ResponseTranslator, RetryHint, StatusClassifier, Step, StreamContinuator, StreamOutcome, StreamSplicer,
    Trail, Translation, Translator, Untranslatable, UsageMeter, UsageTotals, Verdict,
};
#[cfg(feature = "providers")]
pub use tidegate_providers as providers;

#[cfg(feature = "backpressure")]
pub use backpressure::BackpressureLayer;
#[cfg(feature = "circuit-breaker")]
pub use circuit_breaker::CircuitBreakerLayer;
#[cfg(feature = "classify")]
pub use classify::ClassifyLayer;
#[cfg(feature = "config")]
pub use config::ResilienceConfig;
#[cfg(feature = "fallback")]
pub use fallback::FallbackLayer;
#[cfg(feature = "rate-limit")]
pub use rate_limit::RateLimitLayer;
#[cfg(feature = "reqwest")]
pub use reqwest::ReqwestService;
#[cfg(feature = "retry")]
pub use retry::{RetryLayer, RetryOverride};
#[cfg(feature = "stack")]
pub use stack::{Resilience, ResilienceBuilder, ResilienceLayer, Signals, SignalsSnapshot};
#[cfg(feature = "timeout")]
pub use timeout::TimeoutLayer;
#[cfg(feature = "translate")]
pub use translate::TranslateLayer;
