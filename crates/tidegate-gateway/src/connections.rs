//! The open connections of callers, and which of them may be closed when there are too many.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The connections without a call, in the order in which their last call ended.
///
/// Bytes that are not a whole request do not count: a caller that sends its head byte by byte is idle.
#[derive(Clone, Default)]
pub(crate) struct IdleConnections(Arc<Mutex<IdleQueue>>);

#[derive(Default)]
struct IdleQueue {
    next: u64,
    by_age: BTreeMap<u64, IdleConnection>,
}

struct IdleConnection {
    since: Instant,
    eviction: Arc<Notify>,
}

/// A connection of a caller; an extension of its requests. Clones are the same connection.
#[derive(Clone)]
pub(crate) struct CallerConnection(Arc<ConnectionEntry>);

/// Removes the connection when it is dropped.
struct ConnectionEntry {
    idle: IdleConnections,
    eviction: Arc<Notify>,
    state: Mutex<ConnectionState>,
}

struct ConnectionState {
    calls: usize,
    has_had_request: bool,
    /// The position among the idle connections.
    position: Option<u64>,
}

/// Keeps a connection from counting as idle.
pub(crate) struct ConnectionInUse(CallerConnection);

impl IdleConnections {
    /// Adds a connection, which is idle.
    pub(crate) fn insert(&self) -> CallerConnection {
        let eviction = Arc::new(Notify::new());
        let position = Some(self.lock().push(&eviction));
        let state = Mutex::new(ConnectionState { calls: 0, has_had_request: false, position });
        CallerConnection(Arc::new(ConnectionEntry { idle: self.clone(), eviction, state }))
    }

    /// Closes the connection that has been idle for longest, and for at least `idle_time`. Returns whether there was one.
    pub(crate) fn evict(&self, idle_time: Duration) -> bool {
        let mut queue = self.lock();
        let Some(longest) = queue.by_age.first_entry() else { return false };
        let is_idle = longest.get().since.elapsed() >= idle_time;
        if is_idle {
            longest.remove().eviction.notify_one();
        }
        is_idle
    }

    fn lock(&self) -> MutexGuard<'_, IdleQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleQueue {
    fn push(&mut self, eviction: &Arc<Notify>) -> u64 {
        let position = self.next;
        self.next += 1;
        self.by_age
            .insert(position, IdleConnection { since: Instant::now(), eviction: Arc::clone(eviction) });
        position
    }
}

impl CallerConnection {
    /// Ready once the connection has to be closed.
    pub(crate) async fn evicted(&self) {
        self.0.eviction.notified().await;
    }

    /// Whether it has a call.
    pub(crate) fn has_call(&self) -> bool {
        self.0.lock().calls > 0
    }

    /// Whether a request has begun on it.
    pub(crate) fn has_had_request(&self) -> bool {
        self.0.lock().has_had_request
    }

    /// Whether it has been without a call for at least `idle_time`.
    pub(crate) fn is_idle(&self, idle_time: Duration) -> bool {
        let position = self.0.lock().position;
        position.is_some_and(|position| {
            let queue = self.0.idle.lock();
            queue.by_age.get(&position).is_none_or(|idle| idle.since.elapsed() >= idle_time)
        })
    }

    /// Marks the connection as busy until the result is dropped.
    pub(crate) fn busy(&self) -> ConnectionInUse {
        let mut state = self.0.lock();
        state.calls += 1;
        state.has_had_request = true;
        if let Some(position) = state.position.take() {
            self.0.idle.lock().by_age.remove(&position);
        }
        ConnectionInUse(self.clone())
    }
}

impl Drop for ConnectionInUse {
    fn drop(&mut self) {
        let entry = &self.0.0;
        let mut state = entry.lock();
        state.calls -= 1;
        if state.calls == 0 {
            state.position = Some(entry.idle.lock().push(&entry.eviction));
        }
    }
}

impl ConnectionEntry {
    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        if let Some(position) = self.lock().position {
            self.idle.lock().by_age.remove(&position);
        }
    }
}

impl fmt::Debug for CallerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerConnection").field("calls", &self.0.lock().calls).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_evicted(connection: &CallerConnection) -> bool {
        connection.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_connection_that_has_been_idle_for_longest_is_evicted_and_a_busy_one_is_not() {
        let idle = IdleConnections::default();
        let [first, second, third] = std::array::from_fn(|_| idle.insert());
        let calls = [first.busy(), first.busy(), second.busy()];
        assert!(!idle.evict(Duration::from_secs(60)), "not idle for long enough");
        assert!(idle.evict(Duration::ZERO));
        assert!(is_evicted(&third) && !is_evicted(&first) && !is_evicted(&second));
        assert!(!idle.evict(Duration::ZERO), "both have calls");

        let [one, other, of_second] = calls;
        drop(one);
        assert!(!idle.evict(Duration::ZERO), "one call is left");
        drop(of_second);
        drop(other);
        assert!(idle.evict(Duration::ZERO));
        assert!(is_evicted(&second) && !is_evicted(&first));
    }

    #[test]
    fn a_connection_that_has_ended_is_not_evicted() {
        let idle = IdleConnections::default();
        drop(idle.insert());
        let busy = idle.insert().busy();
        drop(busy);
        assert!(!idle.evict(Duration::ZERO));
    }
}
