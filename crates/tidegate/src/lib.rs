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

pub mod backpressure;
pub mod circuit_breaker;
pub mod classify;
#[cfg(feature = "config")]
pub mod config;
pub mod fallback;
pub mod rate_limit;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod retry;
pub mod stack;
pub mod timeout;
pub mod translate;

mod body;
mod bucket;
mod chain_position;
mod clock;
mod clone_request;
mod deadline_timer;
mod guarded_body;
mod http_service;
mod key;
mod keyed;
mod layer_state;
mod lazy_sleep;
mod priority_semaphore;
mod rejected;
mod retry_after;
mod sync;
#[cfg(test)]
mod testing;

pub use http_service::HttpService;
pub use key::{KeyBy, Model, RequestHead, Tenant};
pub use tidegate_core::{
    AttemptBudget, AttemptUsage, BodyMode, BodyProbe, BodyRewritten, BoxError, ByLength, Category,
    Classifier, Clock, Deadline, Elapsed, ErrorBody, ErrorCode, Estimate, Estimated, Failure, FailureKind,
    Gate, HintSource, LimitScope, LimitStatus, LimitUnit, MissingCapability, ModelCapabilities, ModelCatalog,
    NotContinuable, Outcome, Payload, Priority, Rejection, RejectionReason, ReportedLimits, Requirements,
    Reset, ResponseTranslator, RetryHint, StatusClassifier, Step, StreamContinuator, StreamOutcome,
    StreamSplicer, Trail, Translation, Translator, Untranslatable, UsageMeter, UsageTotals, Verdict,
};
#[cfg(feature = "providers")]
pub use tidegate_providers as providers;
#[cfg(feature = "translate")]
pub use tidegate_translate as translators;

pub use backpressure::BackpressureLayer;
pub use circuit_breaker::CircuitBreakerLayer;
pub use classify::ClassifyLayer;
#[cfg(feature = "config")]
pub use config::ResilienceConfig;
pub use fallback::FallbackLayer;
pub use rate_limit::RateLimitLayer;
#[cfg(feature = "reqwest")]
pub use reqwest::ReqwestService;
pub use retry::{RetryLayer, RetryOverride};
pub use stack::{Resilience, ResilienceBuilder, ResilienceLayer, Signals, SignalsSnapshot};
pub use timeout::TimeoutLayer;
pub use translate::TranslateLayer;
