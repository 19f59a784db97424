//! Alerts: what degrades, and when it has recovered.
//!
//! # When to use it
//! Where the program itself is to act on degradation, or to report it. Prometheus does the same from the
//! metrics, with the rules in `docs/prometheus/alerts.yaml`.
//!
//! # Example
//! ```
//! use tidegate::alerts::{AlertState, Settings};
//! use tidegate::{CircuitBreakerLayer, ResilienceBuilder};
//! # use http::{Request, Response};
//! # use tidegate::{BoxError, Payload};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! # let client = tower::service_fn(async |_: Request<Payload>| Ok::<_, BoxError>(Response::new(Payload::empty())));
//! let stack = ResilienceBuilder::new("openai/gpt-4o").circuit_breaker(CircuitBreakerLayer::new()).service(client);
//! let signals = stack.signals();
//! let mut alerts = signals.on_degraded(Settings { all_targets: false, ..Settings::default() });
//! signals.circuit_breaker().force_open();
//! let alert = alerts.next().await;
//! assert_eq!((alert.state, &*alert.target), (AlertState::Raised, "openai/gpt-4o"));
//! assert_eq!(alert.to_string(), "openai/gpt-4o: circuit not closed for 60s");
//! # }
//! ```
//!
//! # Defaults
//! | setting | default | an alert is raised when |
//! |---|---|---|
//! | `success_rate` | 0.9 | fewer of the calls in the window of the circuit succeed; only from its `minimum_throughput` on |
//! | `slow_rate` | 0.5 | more of them are slow; only with a `slow_call_threshold`, and from `minimum_throughput` on |
//! | `circuit_open` | 60 s | the circuit has not been closed for this time. One that is half-open, and has no call to probe with, raises no alert and clears it. A longer time that is set later applies to the next alert, and not to one that is raised |
//! | `quota_left` | 0.1 | less of a quota is left, as a share of the full one |
//! | `all_targets` | `true` | no target admits calls, or none of a [chain](Alerts::chains) |
//! | `raise_after` | 30 s | the rates or the quota have been beyond the threshold for this time |
//! | `clear_after` | 60 s | (cleared) the threshold has been kept for this time |
//! | `interval` | 5 s | (the time between two looks at the signals) |
//!
//! An alert about what is no longer among the signals is cleared as well, and so is one about a rate that has
//! had too few calls for an hour, with the reason in its [`end`](Alert::end).
//!
//! # Common mistakes
//! An alert that is not awaited: nothing is observed between two calls of [`Alerts::next`].
//!
//! # Cost
//! A snapshot of each stack every `interval`, in the task that awaits the alerts. None per call.

mod alert;
mod condition;
mod monitor;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use alert::{Alert, AlertEnd, AlertKind, AlertState};
pub use settings::Settings;
pub use stream::{Alerts, ChainSignals};
