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
//! Opens after 5 consecutive failures, for 30 s; then one probe at a time, and one that succeeds closes it.
//!
//! # When it says no
//! While open, and in half-open beyond the probes. A [`Rejection`](crate::Rejection) of
//! [`Gate::CircuitBreaker`](crate::Gate::CircuitBreaker) with E3002, 503, and the rest of the cooldown; or with
//! E2002, 429, if the account's quota is what ran out. The inner service is not called.
//!
//! # What counts
//! A failure is what says that the provider is unwell: E3001 to E3003, which includes time-outs and broken
//! connections and bodies. A 429 is a provider that works ([`count_rate_limited`](CircuitBreakerLayer::count_rate_limited)
//! says otherwise), an E1xxx is the caller's own mistake, our own refusals and a caller that left say nothing:
//! all of these change nothing, in either direction. Quota exhausted (E2002) opens the circuit at once until the
//! time that the provider told, else for [`quota_cooldown`](CircuitBreakerLayer::quota_cooldown).
//!
//! # Streams
//! A success is counted when the body has ended well, and a failure when it breaks. A probe succeeds with its
//! head, so that an hour-long answer does not hold half-open; if that body breaks later, it is a failure of its own.
//!
//! # Mistakes people make
//! One breaker in front of many providers. A breaker outside of the retries: it then sees calls where it should
//! see attempts. A cooldown shorter than the provider's time-out.

mod cooldown;
mod evidence;
mod future;
mod guarded;
mod handle;
mod layer;
mod lease;
mod listeners;
mod mark;
mod probes;
mod ramp;
mod reason;
mod service;
mod settings;
mod snapshot;
mod state;
mod transition;
mod window;

pub use future::ResponseFuture;
pub use handle::Handle;
pub use layer::CircuitBreakerLayer;
pub use lease::Lease;
pub use listeners::Transitions;
pub use reason::Reason;
pub use service::CircuitBreaker;
pub use snapshot::{LastFailure, Snapshot};
pub use transition::{State, Transition};

/// The body of an answer, whose end is the outcome.
pub type ResponseBody<B> = crate::Watched<B, Lease>;

#[cfg(test)]
mod tests;
