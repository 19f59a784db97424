//! The decisions of all layers, as values.
//!
//! Every decision is made in one place, which emits it in three ways: as a `tracing` event, in the metrics
//! (with the feature `metrics`), and as an [`Event`] to every subscription.
//!
//! # When to use it
//! For a page, an alert or a store that needs the decisions as values. For a log, any `tracing` subscriber
//! does; for the decisions of one call, its [`Trail`](crate::Trail).
//!
//! # Example
//! ```
//! use tidegate::CircuitBreakerLayer;
//! use tidegate::events::{self, Decision};
//!
//! let circuit = CircuitBreakerLayer::new().name("openai/gpt-4o").handle();
//! let mut events = events::subscribe_to("openai/gpt-4o");
//! circuit.force_open();
//! let event = events.try_next().unwrap();
//! assert_eq!(&*event.target, "openai/gpt-4o");
//! assert!(matches!(event.decision, Decision::CircuitChanged(_)));
//! ```
//!
//! [`Signals::subscribe`](crate::Signals::subscribe) has the decisions about one target.
//!
//! # Contents
//! The names of targets, hashes of keys, codes, times and numbers. No part of a request or response, and no
//! credential.
//!
//! # Cost
//! Without a subscription one load per decision, and no allocation. With one, the name of the target is
//! copied for each event, and events of all threads pass one lock.

mod decision;
mod event;
mod listeners;
mod log;

pub use decision::{AttemptSummary, Decision};
pub(crate) use event::rfc3339;
pub use event::{Event, subscribe, subscribe_to};
pub(crate) use listeners::Listeners;
pub use listeners::Subscription;
