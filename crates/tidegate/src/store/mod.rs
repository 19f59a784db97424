//! Limits, cooldowns and circuits that several processes share through a store.
//!
//! # When to use it
//! Several processes call one provider with one account. Without a store each of them counts for itself, and
//! together they send a multiple of the quota. The crate `tidegate-redis` has the store in Redis.
//!
//! # Example
//! ```no_run
//! # fn example(redis: impl tidegate::store::SharedStore) {
//! use tidegate::store::Store;
//! use tidegate::{RateLimitLayer, ResilienceBuilder};
//!
//! let store = Store::new(redis);
//! let openai = ResilienceBuilder::new("openai/gpt-4o").rate_limit(RateLimitLayer::per_minute(500)).store(store);
//! # }
//! ```
//!
//! # How it works
//! The decisions stay in the gates: the queue, the order, the priorities and every wait are those of one
//! process. Only the numbers differ. A quota that is shared is a token bucket in the store, and a process
//! takes *leases* from it: an amount that it may spend within [`lease`](Settings::lease). A call that finds
//! its cost in a lease is admitted at once. Else it waits in the queue for the next lease, one round trip for
//! all calls that wait. While a lease is used up faster than it expires, the next one is taken ahead of need,
//! and twice as large. What is left of a lease when it expires is returned, and so is what a call reserved
//! and did not use.
//!
//! If a lease has no room now, the store reserves it for later: processes are served in the order in which
//! they came, and none polls.
//!
//! # Bounds
//! - No window of time `w` admits more than `burst + rate * w` in all processes. To keep that, the burst in
//!   the store is lower by what refills within a lease, or within the timeout if that is longer, by at most a
//!   half of it. A quota with a burst of one call is exact up to the time of a round trip.
//! - While the store is unavailable, each process admits its share: the quota divided by the number of
//!   processes, at least one call per period. The number is [set](Settings::processes), or has been seen: a
//!   process that starts while the store is unavailable has seen none, and admits the whole quota unless it
//!   is set. Around the change from the one to the other at most one burst is admitted in addition, and the
//!   leases that are out. A process that alone cannot reach the store admits its share in addition to what
//!   the others admit; when it is back, the store charges it for that.
//!
//! # The store is unavailable
//! A call waits for the store for at most its [timeout](Settings::timeout). After that the decisions are
//! local. With [`OnUnavailable::Open`] calls are admitted by the local share; a caller never gets an error
//! because of the store. With [`OnUnavailable::Closed`] they wait for the store, within `max_wait`, and are
//! rejected after that. The store is tried again while there are calls, at last every quarter of a second.
//! When it is back, it gets what was spent meanwhile.
//!
//! # Cooldowns
//! A 429 closes the gate in every process: the latest time that any of them received holds. The others learn
//! it from a message of the store, and with every lease. A limit without quotas takes no lease, and reads it at
//! its first call. A time that does not reach the store is sent again for a minute. A reset opens the gate in
//! every process, unless it was closed after that. One that does not reach the store is sent again, for a
//! minute and when the store is back.
//!
//! A member of a [`group`](crate::group) whose key is invalid, or whose quota is used up, is left out in
//! every process, until the latest time that any of them has set: each process reads it at its first call,
//! and gets later ones as messages. The stack of the member has the store. A process in which the key works
//! again ends its own cooldown by its next success, and not those of the others. Other cooldowns of members
//! are those of one process. What cannot be read at the first call is read at a later one.
//!
//! # Circuits
//! Each process counts the failures of its own calls, unless the [window is shared](#shared-windows). When
//! one opens the circuit, it is open in all, until the latest time that any of them has set, and each opening
//! counts for the [growth](crate::circuit_breaker::Settings::cooldown_growth) of the next cooldown. After the
//! cooldown one process at a time probes, with up to
//! [`half_open_max`](crate::circuit_breaker::Settings::half_open_max) calls; when its probes have succeeded,
//! the circuit is closed in all. A change that may not have reached the store is sent again, until a later one
//! replaces it: an opening opens no circuit that was closed after it, and a closing, as by a reset, closes none
//! that was opened after it. A process requests its turn from the store at its first call after the cooldown.
//! In a stack this call waits for the reply, and is the probe. A layer alone has no queue: this call is
//! rejected as if all probes were in flight, the next one is the probe, and the turn is kept for it for the
//! time of the cooldown. Else a turn expires after 1 s if no probe is sent, and after `probe_lease` + 2 s if
//! its process has died. A process that cannot renew its turn begins no probe after 2 s.
//!
//! A store that has lost its state gives no turn for the longer of the cooldown and 5 s, in which a process
//! that probes publishes that again: the probes in flight in all processes are then no more than
//! `half_open_max`, as before, unless a process with probes in flight is cut off from the store for all of
//! that time. Without the store each process probes for itself in the mode `fail_open`, so that up to
//! `half_open_max` probes in each process are in flight, until the turn is renewed at the store, which one of
//! them gets; in the mode `fail_closed` none probes that has no turn. A state that is forced by hand is that
//! of one process, which leaves its turn to the others; a reset is one of all. Circuits in shadow mode are
//! shared among themselves: they open none that reject calls. They hold no call back, so that each process
//! probes without a turn.
//!
//! # Shared windows
//! With [`shared_window`](crate::CircuitBreakerLayer::shared_window) the failure rate and the slow-call rate
//! are those of the calls of all processes. Failures in a row stay those of one process. A process reports
//! its calls in batches: every 100 ms while there are calls, or 10 ms after the last report if what it has
//! not reported could open the circuit by itself. No call waits for that. The store returns the totals of the
//! window, by which the process opens the circuit if it has reported failed or slow calls. A circuit that
//! closes begins a new window in all processes.
//!
//! - A window of time advances in tenths of the time of the store, as the local one does in those of the
//!   process.
//! - A window by count is the latest calls of all processes in the order of their reports, exact to a slice:
//!   it has `sliding_window_size` calls or more, by less than a tenth or one report.
//! - Each call is reported at most once. Those of a report without a reply may not count.
//! - While the store does not reply, or after it has lost calls, the local window decides: at the latest 100
//!   ms and the [timeout](Settings::timeout) after a failure, then at once. Of the two windows the one with
//!   more calls decides.
//!
//! # Keys
//! A limit with [`key_by`](crate::RateLimitLayer::key_by) is shared for each key. The store holds a hash of
//! the key; it is the same in all processes that are built from the same source with the same compiler, and
//! that have the same [salt](SharedStore::salt).
//!
//! # Common mistakes
//! A layer without a name: the name is that of the shared state. Two policies for one target: give each a
//! [scope](Store::scope). Two layers of one name in one process: to the store they are one process, so that
//! both may probe at once, and neither gets the messages of the other; clone one layer, or give each a scope.
//! A rotated key under the same name: give the store its [account](Store::account), or the gate that a 429
//! closed for the old key is closed for the new one.

mod circuit;
mod circuit_record;
mod handle;
mod lease;
pub(crate) mod link;
mod settings;
mod shared_window;
mod window_record;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::time::Duration;

pub use circuit::{CircuitChange, CircuitView};
pub use circuit_record::CircuitRecord;
pub use handle::Store;
pub(crate) use handle::{SeenProcesses, ServiceNumbers, SharedPart};
pub use lease::{LeaseGrant, LeaseRequest, QuotaRequest, SharedCooldown};
pub use settings::{OnUnavailable, Settings};
pub use shared_window::{ReportedCalls, SharedWindow, WindowReport, WindowSpan, WindowTotals};
pub use window_record::WindowRecord;

/// The future of an operation of a store.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreUnavailable>> + Send + 'a>>;

/// Keeps the numbers that processes share.
///
/// Every operation is atomic, and ends within [`Settings::timeout`]: with an error if it could not be done,
/// or might not have been.
pub trait SharedStore: fmt::Debug + Send + Sync + 'static {
    /// The settings.
    fn settings(&self) -> &Settings;

    /// A secret that all processes have in common, for the hashes of keys.
    fn salt(&self) -> &str;

    /// Takes a lease of the quotas of `name`.
    fn take_lease<'a>(&'a self, name: &'a str, request: LeaseRequest) -> StoreFuture<'a, LeaseGrant>;

    /// Closes the gate, or the member of a group, of `name` for all processes. The later of two times holds.
    /// Returns `false` if it was opened after that, and stays as it is.
    fn close<'a>(&'a self, name: &'a str, cooldown: SharedCooldown) -> StoreFuture<'a, bool>;

    /// Opens the gate of `name` for all processes before its time. It was opened `age` ago: one that was closed
    /// after that stays closed. `pacing` is the quota with which it was closed: it holds one request from now
    /// on.
    fn open<'a>(&'a self, name: &'a str, age: Duration, pacing: Option<QuotaRequest>) -> StoreFuture<'a, ()>;

    /// Reads or changes the circuit `name`, and returns its state.
    fn circuit<'a>(&'a self, name: &'a str, change: CircuitChange) -> StoreFuture<'a, CircuitView>;

    /// Adds calls of this process to the window of the circuit `name`, and returns the calls of all processes
    /// in it.
    fn report_calls<'a>(&'a self, name: &'a str, report: WindowReport) -> StoreFuture<'a, SharedWindow>;

    /// Sends what other processes change at `name` to this listener, as long as it exists.
    fn listen(&self, name: &str, listener: Weak<dyn StoreListener>);
}

/// Gets what other processes have changed.
pub trait StoreListener: Send + Sync {
    /// The gate is closed for this time from now on, unless it is for longer.
    fn on_closed(&self, _wait: Duration) {}

    /// The gate is open before its time.
    fn on_opened(&self) {}

    /// The circuit was opened or closed.
    fn on_circuit(&self, _view: CircuitView) {}

    /// Changes may have been missed, because the connection was lost.
    fn on_reconnected(&self) {}
}

/// The store could not be reached in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of shared limits is unavailable")]
pub struct StoreUnavailable;
