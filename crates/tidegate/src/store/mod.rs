//! Limits and cooldowns that several processes share through a store.
//!
//! # When to use it
//! Several processes call one provider with one account. Without a store each of them counts for itself, and together they
//! send a multiple of the quota. The crate `tidegate-redis` has the store in Redis.
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
//! The decisions stay in the gates: the queue, the order, the priorities and every wait are those of one process. Only the
//! numbers differ. A quota that is shared is a token bucket in the store, and a process takes *leases* from it: an amount
//! that it may spend within [`lease`](Settings::lease). A call that finds its cost in a lease is admitted at once. Else it
//! waits in the queue for the next lease, one round trip for all calls that wait. While a lease is used up faster than it
//! expires, the next one is taken ahead of need, and twice as large. What is left of a lease when it expires is returned,
//! and so is what a call reserved and did not use.
//!
//! If a lease has no room now, the store reserves it for later: processes are served in the order in which they came, and
//! none polls.
//!
//! # Bounds
//! - No window of time `w` admits more than `burst + rate * w` in all processes. To keep that, the burst in the store is
//!   lower by what refills within a lease, by at most a half of it. A quota with a burst of one call is exact up to the time
//!   of a round trip.
//! - While the store is unavailable, each process admits its share: the quota divided by the number of processes, at least
//!   one call per period. Around the change from the one to the other at most one burst is admitted in addition, and the
//!   leases that are out.
//!
//! # The store is unavailable
//! A call waits for the store for at most its [time-out](Settings::timeout). After that the decisions are local. With
//! [`OnUnavailable::Open`] calls are admitted by the local share; a caller never gets an error because of the store. With
//! [`OnUnavailable::Closed`] they wait for the store, within `max_wait`, and are rejected after that. The store is tried
//! again every quarter of a second while there are calls. When it is back, it gets what was spent meanwhile.
//!
//! # Cooldowns
//! A 429 closes the gate in every process: the latest time that any of them received holds. The others learn it from a
//! message of the store, and with every lease.
//!
//! # Keys
//! A limit with [`key_by`](crate::RateLimitLayer::key_by) is shared for each key. The store holds a hash of the key; it is
//! the same in all processes that are built from the same source with the same compiler, and that have the same
//! [salt](SharedStore::salt).
//!
//! # Common mistakes
//! A layer without a name: the name is that of the shared state. Two policies for one target: give each a
//! [scope](Store::scope).

mod handle;
mod lease;
mod settings;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;

pub use handle::Store;
pub use lease::{LeaseGrant, LeaseRequest, QuotaRequest, SharedCooldown};
pub use settings::{OnUnavailable, Settings};

/// The future of an operation of a store.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreUnavailable>> + Send + 'a>>;

/// Keeps the numbers that processes share.
///
/// Every operation is atomic, and ends within [`Settings::timeout`]: with an error if it could not be done, or might not
/// have been.
pub trait SharedStore: fmt::Debug + Send + Sync + 'static {
    /// The settings.
    fn settings(&self) -> &Settings;

    /// A secret that all processes have in common, for the hashes of keys.
    fn salt(&self) -> &str;

    /// Takes a lease of the quotas of `name`.
    fn take_lease<'a>(&'a self, name: &'a str, request: LeaseRequest) -> StoreFuture<'a, LeaseGrant>;

    /// Closes the gate of `name` for all processes. The later of two times holds.
    fn close<'a>(&'a self, name: &'a str, cooldown: SharedCooldown) -> StoreFuture<'a, ()>;

    /// Sends what other processes change at `name` to this listener, as long as it exists.
    fn listen(&self, name: &str, listener: Weak<dyn StoreListener>);
}

/// Gets what other processes have changed.
pub trait StoreListener: Send + Sync {
    /// The gate is closed for this time from now on, unless it is for longer.
    fn on_closed(&self, wait: std::time::Duration);
}

/// The store could not be reached in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of shared limits is unavailable")]
pub struct StoreUnavailable;
