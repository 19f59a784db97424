//! Rejects calls to a provider that keeps failing, for a cooldown, and then probes whether it has recovered.
//!
//! # When to use it
//! A provider that is down fails slowly and costs money. Its callers need to fail at once, so that they can
//! use another provider.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tidegate::{CircuitBreakerLayer, Payload, Rejection};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let broken = service_fn(async |_: Request<Payload>| {
//!     Ok::<_, tidegate::BoxError>(Response::builder().status(503).body(Payload::empty()).unwrap())
//! });
//! let layer = CircuitBreakerLayer::new().failure_threshold(2).cooldown(Duration::from_secs(30));
//! let circuit = layer.handle();
//! let mut service = ServiceBuilder::new().layer(layer).service(broken);
//!
//! for _ in 0..2 {
//!     service.ready().await?.call(Request::new(Payload::empty())).await?;
//! }
//! assert_eq!(circuit.state().to_string(), "open");
//! let error = service.ready().await?.call(Request::new(Payload::empty())).await.unwrap_err();
//! assert_eq!(Rejection::find(&*error).unwrap().to_string(), "circuit open for another 30s");
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! [`Settings`] is the part `circuit_breaker` of a [configuration](crate::ResilienceConfig); most settings
//! have a setter of the same name. The cooldown is `cooldown_seconds` in a file and
//! [`cooldown`](CircuitBreakerLayer::cooldown) in a program.
//!
//! | setting | default | |
//! |---|---|---|
//! | `enabled` | `true` | `false`: the circuit never opens |
//! | `failure_threshold` | `5` | consecutive failures that open the circuit |
//! | `max_attempts_counted_per_call` | `none` | attempts of one call whose failures count; none: `failure_threshold` less 1, all if it is 1 |
//! | `success_threshold` | `1` | consecutive successful probes that close it |
//! | `cooldown_seconds` | `"30s"` | how long it stays open |
//! | `half_open_max` | `1` | concurrent probes |
//! | `failure_rate_threshold` | `none` | share of failed calls that opens it |
//! | `slow_call_threshold` | `none` | time to the first token from which a call is slow |
//! | `slow_call_rate_threshold` | `none` | share of slow calls that opens it; none: 0.5 |
//! | `slow_call_window_size` | `none` | latest calls of the slow-call rate; none: the window |
//! | `minimum_throughput` | `20` | calls below which no rate is evaluated |
//! | `sliding_window_size` | `none` | calls over which the rates are computed; none: 100 |
//! | `sliding_window` | `none` | a time over which they are computed instead |
//! | `shared_window` | `false` | whether the rates are those of all processes, through a [store](CircuitBreakerLayer::store) |
//! | `cooldown_growth` | `1.0` | factor of the cooldown each time the circuit opens again |
//! | `max_cooldown` | `none` | the longest cooldown; none: 5 minutes, or the cooldown if that is longer |
//! | `cooldown_jitter` | `0.0` | random share that is added to the cooldown |
//! | `quota_cooldown` | `"1m"` | cooldown after an exhausted quota, if the provider sent no time |
//! | `probe_lease` | `"1m"` | time after which a probe without a response is given up |
//! | `ramp_up` | `none` | time over which the traffic is restored |
//! | `open_budget` | `none` | attempts that an open circuit admits where there is no other target |
//! | `count_rate_limited` | `false` | whether a 429 is a failure |
//! | `shadow` | `false` | reports rejections instead of rejecting |
//! | `key_by` | `none` | a circuit for each key |
//! | `max_keys` | `10_000` | keys that are kept |
//!
//! What is off by default:
//!
//! ```
//! # use std::time::Duration;
//! # use tidegate::{CircuitBreakerLayer, KeyBy};
//! let secs = Duration::from_secs;
//! let layer = CircuitBreakerLayer::new()
//!     // Opens if half of at least 20 calls of the last minute failed, for intermittent faults.
//!     .failure_rate_threshold(0.5)
//!     .sliding_window(secs(60))
//!     .minimum_throughput(20)
//!     // Also opens if 80 % of them took 20 s to their first token, which is too slow for interactive use.
//!     .slow_call_threshold(secs(20))
//!     .slow_call_rate_threshold(0.8)
//!     // 30 s the first time, then 60 s, up to 5 min. Jitter keeps processes from coming back at once.
//!     .cooldown_growth(2.0)
//!     .cooldown_jitter(0.2)
//!     // The traffic comes back gradually.
//!     .ramp_up(secs(30))
//!     // Callers bring their own credentials, and each credential has a circuit.
//!     .key_by(KeyBy::credential());
//! # let _ = layer;
//! ```
//!
//! # Rejections
//! Calls are rejected while the circuit is open, beyond the probes while it is half-open, and in part while
//! the traffic ramps up. The error is a [`Rejection`](crate::Rejection) of
//! [`Gate::CircuitBreaker`](crate::Gate::CircuitBreaker) with E3002, 503, and the rest of the cooldown. If
//! the account's quota is exhausted, it is E2002, 429. With [`KeyBy::model`](crate::KeyBy::model), a request
//! without a model is rejected with E1001, 400. The inner service is not called. With
//! [`shadow`](CircuitBreakerLayer::shadow) no call is rejected, and only what would have been rejected is
//! reported.
//!
//! # Without another target
//! To reject a call that no other target can take helps only if the provider is down for good: a circuit with
//! one provider that fails 60 % of the requests opens, and then serves a few of the calls. With an
//! [`open_budget`](CircuitBreakerLayer::open_budget) such calls are admitted beside the probes: one a second,
//! and ten more for each that succeeds. Calls that have another target go there as before. For one provider,
//! or the last of a chain:
//!
//! ```
//! use tidegate::{CircuitBreakerLayer, circuit_breaker::OpenBudget};
//!
//! let layer = CircuitBreakerLayer::new().open_budget(OpenBudget::default());
//! # let _ = layer;
//! ```
//!
//! # What counts
//! Failures of the provider count: E3001 to E3003, which includes timeouts and broken connections and bodies.
//! A 429 comes from a provider that works, and does not count unless
//! [`count_rate_limited`](CircuitBreakerLayer::count_rate_limited) is set. An E1xxx is the caller's own
//! mistake. Our own rejections, and calls that the caller drops, carry no information. All of these change
//! nothing, in either direction. An exhausted quota (E2002) opens the circuit at once until the time that the
//! provider sent, else for [`quota_cooldown`](CircuitBreakerLayer::quota_cooldown), unless only this request costs
//! more than is left.
//!
//! Attempts are counted, not calls: the attempts of one retried call count one by one towards
//! `failure_threshold`. Those whose number is the threshold or above do not count, unless it is 1, so that
//! one request on which the provider fails each time does not reach it;
//! [`max_attempts_counted_per_call`](CircuitBreakerLayer::max_attempts_counted_per_call) sets another bound.
//! An attempt after a wait of a fallback chain counts as that of a new call. A request that the provider did
//! not process ([`NotProcessed`](crate::provider::FailureKind::NotProcessed)) changes nothing either, and
//! neither does an attempt whose time ended while a part of its response waited to be read.
//!
//! The latency of a call counts separately from its result, once there is a
//! [`slow_call_threshold`](CircuitBreakerLayer::slow_call_threshold). It is measured to the commit point of
//! the call, or to its failure before that. A call that its caller drops after a longer wait than this counts
//! as slow, and in no other way. A timeout outside of the breaker, which only drops the call, therefore opens
//! the circuit too.
//!
//! # Observability
//! [`Handle::state`] and [`Handle::snapshot`] return the state. [`Handle::subscribe`] returns every change of
//! state with its reason (`5 consecutive E3002`, `failure rate 62 % of 40 calls`). The changes are also
//! events of `tracing`. [`Handle::metrics`] returns the totals since the start, and
//! [`Handle::subscribe_to_calls`] every result. [`Handle::force_open`] takes a provider out by hand.
//!
//! # Streams
//! A success is counted when the body has ended well, and a failure when it breaks. The latency is known and
//! counted with the head, which the wire holds back until the first token. A long response is therefore not a
//! slow call, and a provider that has become slow is detected before its responses end. A probe succeeds with
//! its head, so that an hour-long response does not hold half-open. If that body breaks later, it is a
//! separate failure.
//!
//! Failures are consecutive if there is no success between them, nor the head of a response in flight:
//! otherwise five scattered failures would open the circuit of a provider with long responses before the
//! first of these ends. As long as it is in flight, a response separates the failures before its head from
//! those after it, and `failure_threshold` failures after the latest such head open the circuit. A body that
//! breaks or is dropped separates none, and so many bodies that break without a success between them open the
//! circuit whatever else is in flight.
//!
//! # Common mistakes
//! - One breaker in front of many providers: see [`key_by`](CircuitBreakerLayer::key_by).
//! - A breaker outside of the retries: it then counts calls where it should count attempts.
//! - A cooldown shorter than the provider's timeout.
//! - A rate over so few calls that two failures are half of them.
//!
//! # Cost
//! As long as the provider is healthy, a call takes no lock and writes to nothing that other threads read:
//! every thread counts its calls for itself, and takes a short lock once for 64 successes; a failure finds
//! all of them in the window. The same holds for a call that an open circuit rejects. After a failure, each
//! head takes the lock until the next success is in the window. With a window of time,
//! a slow-call rate, keys or a shared window, each call takes the lock to be counted, in the same time
//! however large the window is. A call reads the clock twice. Nothing is allocated per call, and nothing for
//! listeners that do not exist.

mod attempt_result;
mod call_guard;
mod call_result;
mod call_totals;
mod circuit;
mod concurrent_circuit;
mod gate;
mod handle;
mod layer;
mod metrics;
mod open_attempts;
mod open_budget;
mod peek;
mod reason;
mod rejections;
mod responses;
mod settings;
mod shared;
mod snapshot;
mod success_counts;
mod transition;

pub use call_guard::CallGuard;
pub use call_result::CallResult;
pub use handle::{CallResults, Handle, Transitions};
pub use layer::CircuitBreakerLayer;
pub use metrics::{Metrics, MetricsConfig};
pub use open_budget::OpenBudget;
pub use reason::Reason;
pub use settings::Settings;
pub(crate) use shared::PendingTurn;
pub(crate) use snapshot::{EvaluatedRates, RATES_LIFETIME, highest};
pub use snapshot::{LastFailure, Snapshot};
pub use transition::{State, Transition};

use crate::attempt::{self, Attempt, ByThread, NoWire, UnchangedBody};

/// Stops calling `S` while it keeps failing; see the [module page](self).
pub type CircuitBreaker<S> = Attempt<S, ByThread<Handle>>;

/// Waits for the response, or rejects the call.
pub type ResponseFuture<S, F, R, B> = attempt::ResponseFuture<S, F, R, ByThread<Handle>, NoWire, B>;

/// The body of a response. Its end decides the outcome.
pub type ResponseBody<B> = attempt::GuardedBody<UnchangedBody<B>, CallGuard>;

#[cfg(test)]
mod tests;
