//! Rate limits, cooldowns and circuits of [`tidegate`] that several processes share through Redis or Valkey.
//!
//! # When to use it
//! Several processes call one provider with one account; see [`tidegate::store`] for how limits are shared,
//! the bounds, and what happens without the server.
//!
//! # Example
//! ```no_run
//! use tidegate::store::Store;
//! use tidegate::{RateLimitLayer, ResilienceBuilder};
//! use tidegate_redis::RedisStore;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::new(RedisStore::connect("redis://localhost:6379").await?);
//! let openai = ResilienceBuilder::new("openai/gpt-4o").rate_limit(RateLimitLayer::per_minute(500)).store(store);
//! # Ok(())
//! # }
//! ```
//!
//! # The server
//! Redis 5 or newer, or Valkey. Every operation is one script, which the server has cached, and takes the
//! time of the server. The keys of one limit have one hash tag, so that they are on one node of a cluster.
//! The address is that of a server, of a cluster of one node, or of a proxy in front of a cluster; that of
//! one of several nodes is an error of [`check`](RedisStore::check), because the node has a part of the keys.
//! The keys have a [prefix](RedisSettings::prefix), and expire when they have had no effect for a minute;
//! that of a circuit after an hour, and that of its window after an hour and its time.
//!
//! A connection on which the server has not replied for some seconds is replaced, also if nothing has
//! reported its end. Pings find that out for the channel, every 2 s.
//!
//! | key | holds |
//! |---|---|
//! | `tidegate:{rate:<scope>:<name>}:buckets` | a hash: the bucket of each quota, and the time until which the gate is closed |
//! | `tidegate:{rate:<scope>:<name>}:processes` | the processes that took a lease in the last minute |
//! | `tidegate:{circuit:<scope>:<name>}:circuit` | a hash: until when the circuit is open, and which process probes |
//! | `tidegate:{circuit:<scope>:<name>}:window` | a hash: the calls of all processes, in at most 11 slices for each length of a window |
//! | `tidegate:{member:<scope>:<name>}:buckets`, `..:processes` | the same, of a member of a group whose key is left out: without buckets |
//! | `tidegate:events`, in database 3 `tidegate:events:3` | a channel: what one process changes and the others need to have at once |
//!
//! `<name>` is that of the layer, for a circuit and a member followed by `:account=<hash>` if the store has
//! an [account](tidegate::store::Store::account), and by `:<hash>` if the layer has keys. Colons, braces and
//! `%` in scopes and names are percent-encoded.
//!
//! A user with a password of its own needs the keys, the channel and the scripts:
//! `ACL SETUSER fleet on >password ~tidegate:* &tidegate:events* +@all -@admin -@dangerous +cluster|info`. Redis 7
//! permits no channel unless it is named, and then circuits are not shared: [`check`](RedisStore::check) is an
//! error, and the log has a warning.
//!
//! # URLs
//! `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, `unix:///path` for a socket. The URL is
//! in no message, log line or `Debug` output.
//!
//! # Common mistakes
//! - Two fleets on one server with the same prefix: they are one fleet then.
//! - A server that is restarted empty: at most one burst is admitted in addition, and no circuit is probed
//!   for the longer of its cooldown and 5 s, unless a process still has the turn to probe.
//! - A server that evicts keys (`maxmemory-policy`): an evicted bucket is full. The processes report what
//!   they have seen of it, so that at most one burst is admitted in addition.

mod breaker;
mod events;
mod script;
mod settings;
mod store;

pub use settings::{RedisSettings, RedisStoreError};
pub use store::RedisStore;
