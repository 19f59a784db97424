//! Tower layers that keep calls to model providers alive.
//!
//! Five layers, each usable alone in a `tower::ServiceBuilder`: they ask again
//! ([`retry`]), keep to the provider's pace ([`rate_limit`]), stop asking a provider that is down
//! ([`circuit_breaker`]), bound what is in flight ([`backpressure`]) and ask somebody else ([`fallback`]).
//! [`ResilienceBuilder`] stacks them in protocol order around an HTTP service:
//!
//! ```text
//! request                                                                response head, then body frames
//!   │                                                                                   ▲
//!   ▼  Fallback          per call     whom to ask next when this one cannot answer      │
//!   ▼  Retry             per call     ask again: is it worth it, affordable, in time?   │
//!   ▼    Backpressure    per attempt  a permit, held until the body ends                │ gives it back
//!   ▼    RateLimit       per attempt  a request and its tokens, reserved                │ settles from usage
//!   ▼    CircuitBreaker  per attempt  is this provider worth asking at all?             │ records the outcome
//!   ▼      wire          per attempt  clocks and classification                         │ judges head and end
//! provider
//! ```
//!
//! Two ideas carry the design. *Judge once, at the wire*: the innermost piece turns whatever came back into
//! one [`Outcome`], and the layers decide on that alone. *A stream is not over at its head*: what a call
//! holds it holds until the last byte of its answer, wherever that is dropped.
//!
//! A target that does not speak the dialect of the callers is asked in its own through `TranslateLayer`, between the
//! fallback and its stack.
//!
//! Every layer is a `Service<http::Request<_>>` that answers `http::Response<impl Body>`; its error is
//! [`BoxError`]. When a layer says no, the error is a [`Rejection`], found with [`Rejection::find`].

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

#[cfg(any(feature = "fallback", feature = "retry"))]
mod retry_after;
#[cfg(any(feature = "fallback", feature = "retry"))]
mod deadline_timer;
#[cfg(any(feature = "rate-limit", feature = "retry"))]
#[cfg_attr(not(feature = "rate-limit"), expect(dead_code, reason = "a budget of retries only spends"))]
mod bucket;
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
#[cfg(any(
    feature = "backpressure",
    feature = "circuit-breaker",
    feature = "fallback",
    feature = "rate-limit"
))]
mod body;
#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit"))]
#[cfg_attr(not(feature = "circuit-breaker"), allow(dead_code, reason = "a permit is watched to the end"))]
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
    allow(dead_code, reason = "nobody is asked about a key by hand")
)]
mod keyed;
#[cfg(any(
    feature = "backpressure",
    feature = "circuit-breaker",
    feature = "rate-limit",
    feature = "translate"
))]
mod rejected;
#[cfg(any(feature = "fallback", feature = "retry"))]
mod clone_request;
#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit", feature = "retry"))]
mod shared_state;
#[cfg(any(feature = "backpressure", feature = "rate-limit"))]
#[cfg_attr(
    not(feature = "backpressure"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "a turn is one slot, and nobody counts or orders those who wait"
    )
)]
mod priority_semaphore;
#[cfg(any(feature = "backpressure", feature = "circuit-breaker", feature = "rate-limit"))]
mod sync;
#[cfg(test)]
mod testing;
#[cfg(any(feature = "fallback", feature = "retry"))]
#[cfg_attr(
    not(all(feature = "fallback", feature = "retry")),
    allow(dead_code, reason = "a chain tells, and a retry listens")
)]
mod chain_position;

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
