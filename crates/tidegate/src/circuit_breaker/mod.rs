//! Stops calling a provider that keeps failing, for a while, and then asks it carefully.
//!
//! # When
//! A provider that is down fails slowly and costs money; its callers want to know at once, so that they can ask
//! somebody else.
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
//! Opens after 5 consecutive failures, for 30 s; then one probe at a time, and one that succeeds closes it. Everything
//! else is off until asked for:
//!
//! ```
//! # use std::time::Duration;
//! # use tidegate::{CircuitBreakerLayer, KeyBy};
//! let secs = Duration::from_secs;
//! let layer = CircuitBreakerLayer::new()
//!     // Half of the calls of the last minute failed, if there were 20: for providers that fail now and then.
//!     .failure_rate_threshold(0.5)
//!     .sliding_window(secs(60))
//!     .minimum_throughput(20)
//!     // Or most of them took 20 s to their first token: a provider that is too slow is no use to a person.
//!     .slow_call_threshold(secs(20))
//!     .slow_call_rate_threshold(0.8)
//!     // 30 s the first time, then 60 s, up to 5 min; not all processes at once.
//!     .cooldown_growth(2.0)
//!     .cooldown_jitter(0.2)
//!     // And not all traffic at once.
//!     .ramp_up(secs(30))
//!     // Callers bring credentials of their own: each has a circuit.
//!     .key_by(KeyBy::credential());
//! # let _ = layer;
//! ```
//!
//! # When it says no
//! While open, in half-open beyond the probes, and to a part of the calls while the traffic ramps up. A
//! [`Rejection`](crate::Rejection) of [`Gate::CircuitBreaker`](crate::Gate::CircuitBreaker) with E3002, 503, and the
//! rest of the cooldown; or with E2002, 429, if the account's quota is what ran out. The inner service is not called.
//! With [`shadow`](CircuitBreakerLayer::shadow) it says no to nobody, and only tells when it would have.
//!
//! # What counts
//! A failure is what says that the provider is unwell: E3001 to E3003, which includes time-outs and broken
//! connections and bodies. A 429 is a provider that works ([`count_rate_limited`](CircuitBreakerLayer::count_rate_limited)
//! says otherwise), an E1xxx is the caller's own mistake, our own refusals and a caller that left say nothing:
//! all of these change nothing, in either direction. Quota exhausted (E2002) opens the circuit at once until the
//! time that the provider told, else for [`quota_cooldown`](CircuitBreakerLayer::quota_cooldown).
//!
//! How long a call took counts apart from how it ended, once there is a
//! [`slow_call_threshold`](CircuitBreakerLayer::slow_call_threshold): to its commit point, or to its failure before
//! that. A caller that left after waiting longer than this has seen that the provider is slow, though it says nothing
//! else. So a time-out outside of the breaker, which only drops the call, opens the circuit too.
//!
//! # Streams
//! A success is counted when the body has ended well, and a failure when it breaks. Whether it was slow is known and
//! counted with the head, which the wire holds back until the first token: a long answer is not a slow one, and
//! nobody has to wait for its end to see that the provider has become slow. A probe succeeds with its head, so that
//! an hour-long answer does not hold half-open; if that body breaks later, it is a failure of its own.
//!
//! # Watching it
//! [`Handle::state`] and [`Handle::snapshot`] tell where it stands, [`Handle::subscribe`] every change of state with
//! its reason (`5 consecutive E3002`, `failure rate 62 % of 40 calls`), which are also events of `tracing`.
//! [`Handle::force_open`] takes a provider out by hand.
//!
//! # Mistakes people make
//! One breaker in front of many providers: see [`key_by`](CircuitBreakerLayer::key_by). A breaker outside of the
//! retries: it then sees calls where it should see attempts. A cooldown shorter than the provider's time-out. A rate
//! over so few calls that two failures are half of them.
//!
//! # What it costs
//! As long as nothing speaks against the provider, and without rates, a call takes no lock and writes to nothing that
//! other threads read; nor does one that an open circuit refuses. With rates it takes a short lock to be counted, in
//! the same time however large the window is; with a `slow_call_threshold` it reads the clock twice. Nothing is
//! allocated per call, and nothing for listeners that are not there.

mod cooldown;
mod statistics;
mod future;
mod shared_circuit;
mod handle;
mod layer;
mod call_guard;
mod listeners;
mod attempt_result;
mod admission;
mod probes;
mod ramp_up;
mod reason;
mod service;
mod settings;
mod sharded_handle;
mod snapshot;
mod state;
mod transition;
mod window;

pub use future::ResponseFuture;
pub use handle::Handle;
pub use layer::CircuitBreakerLayer;
pub use call_guard::CallGuard;
pub use listeners::Transitions;
pub use reason::Reason;
pub use service::CircuitBreaker;
pub use snapshot::{LastFailure, Snapshot};
pub use transition::{State, Transition};

/// The body of an answer, whose end is the outcome.
pub type ResponseBody<B> = crate::GuardedBody<B, CallGuard>;

#[cfg(test)]
mod tests;
