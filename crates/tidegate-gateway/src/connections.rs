//! The open connections of callers, and which of them may be closed when there are too many.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::slow_reader::TransferProgress;
use crate::sync::lock;

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
    /// Those of a connection that has had a call, the response of which may still be in buffers of the
    /// gateway.
    transfers: Option<TransferProgress>,
    /// The writes that were seen latest, and when.
    writes: Option<usize>,
    written: Instant,
    eviction: Arc<Notify>,
}

/// The longest time for which the rest of a response keeps a connection without a call from being evicted.
/// Pings are written as well.
const MAX_SENDING: Duration = Duration::from_secs(60);

/// A connection of a caller; an extension of its requests. Clones are the same connection.
#[derive(Clone)]
pub(crate) struct CallerConnection(Arc<ConnectionEntry>);

/// Removes the connection when it is dropped.
struct ConnectionEntry {
    idle: IdleConnections,
    eviction: Arc<Notify>,
    /// A response was left unread.
    unread: Notify,
    transfers: TransferProgress,
    has_had_request: AtomicBool,
    state: Mutex<ConnectionState>,
}

#[derive(Default)]
struct ConnectionState {
    calls: usize,
    has_unread: bool,
    /// The position among the idle connections.
    position: Option<u64>,
}

/// Keeps a connection from counting as idle.
pub(crate) struct ConnectionInUse(CallerConnection);

impl IdleConnections {
    /// Adds a connection, which is idle.
    pub(crate) fn insert(&self) -> CallerConnection {
        let eviction = Arc::new(Notify::new());
        let position = Some(self.lock().push(&eviction, None));
        let state = Mutex::new(ConnectionState { position, ..ConnectionState::default() });
        CallerConnection(Arc::new(ConnectionEntry {
            idle: self.clone(),
            eviction,
            unread: Notify::new(),
            transfers: TransferProgress::default(),
            has_had_request: AtomicBool::new(false),
            state,
        }))
    }

    /// Closes the connection that has been idle for longest, and for at least `idle_time`, without one that
    /// still sends a response. Returns whether there was one.
    pub(crate) fn evict(&self, idle_time: Duration) -> bool {
        let mut queue = self.lock();
        let mut idle = queue.by_age.iter_mut().take_while(|(_, it)| it.since.elapsed() >= idle_time);
        let position = idle.find_map(|(position, it)| (!it.is_sending(idle_time)).then_some(*position));
        let Some(position) = position else { return false };
        if let Some(evicted) = queue.by_age.remove(&position) {
            evicted.eviction.notify_one();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, IdleQueue> {
        lock(&self.0)
    }
}

impl IdleQueue {
    fn push(&mut self, eviction: &Arc<Notify>, transfers: Option<&TransferProgress>) -> u64 {
        let position = self.next;
        self.next += 1;
        let (since, eviction, transfers) = (Instant::now(), Arc::clone(eviction), transfers.cloned());
        let (writes, written) = (Some(0), since);
        self.by_age.insert(position, IdleConnection { since, transfers, writes, written, eviction });
        position
    }
}

impl IdleConnection {
    /// Whether a write is blocked, or none was seen for less than `time`. The writes are counted, and their time
    /// is that of the first look that finds them.
    fn is_sending(&mut self, time: Duration) -> bool {
        let Some(transfers) = &self.transfers else { return false };
        let writes = transfers.writes();
        if writes.is_none() || writes != self.writes {
            (self.writes, self.written) = (writes, Instant::now());
        }
        self.written.elapsed() < time && self.since.elapsed() < MAX_SENDING
    }
}

impl CallerConnection {
    /// Ready once the connection has to be closed.
    pub(crate) async fn evicted(&self) {
        self.0.eviction.notified().await;
    }

    /// Ready once a response was left unread, and the connection has been without a call for `idle_time`
    /// since then.
    pub(crate) async fn unread(&self, idle_time: Duration) {
        self.0.unread.notified().await;
        self.idle(idle_time).await;
    }

    /// Ready once the connection has been without a call for `idle_time`.
    pub(crate) async fn idle(&self, idle_time: Duration) {
        loop {
            match idle_time.checked_sub(self.idle_for().unwrap_or_default()) {
                None | Some(Duration::ZERO) => return,
                Some(rest) => sleep(rest).await,
            }
        }
    }

    /// Whether a response was left unread.
    pub(crate) fn has_unread(&self) -> bool {
        self.0.lock().has_unread
    }

    /// What is read from it and written to it.
    pub(crate) fn transfers(&self) -> &TransferProgress {
        &self.0.transfers
    }

    /// Whether it has a call.
    pub(crate) fn has_call(&self) -> bool {
        self.0.lock().calls > 0
    }

    /// Whether a request has begun on it.
    pub(crate) fn has_had_request(&self) -> bool {
        self.0.has_had_request.load(Ordering::Relaxed)
    }

    /// Records that a request has begun on it, which need not have a key.
    pub(crate) fn begin_request(&self) {
        self.0.has_had_request.store(true, Ordering::Relaxed);
    }

    /// Whether it has been without a call for at least `idle_time`.
    pub(crate) fn is_idle(&self, idle_time: Duration) -> bool {
        self.idle_for().is_some_and(|idle| idle >= idle_time)
    }

    /// The time for which it has been without a call; `None` if it has one.
    fn idle_for(&self) -> Option<Duration> {
        // Held meanwhile, so that a call that begins does not take the position out of the queue.
        let state = self.0.lock();
        let position = state.position?;
        let queue = self.0.idle.lock();
        // A connection that is not in the queue was evicted.
        Some(queue.by_age.get(&position).map_or(Duration::MAX, |idle| idle.since.elapsed()))
    }

    /// The head of a request was accepted: of all idle connections this is the youngest.
    pub(crate) fn touch(&self) {
        let mut state = self.0.lock();
        if let Some(position) = state.position {
            let mut queue = self.0.idle.lock();
            if let Some(IdleConnection { transfers, eviction, .. }) = queue.by_age.remove(&position) {
                state.position = Some(queue.push(&eviction, transfers.as_ref()));
            }
        }
    }

    /// Marks the connection as busy until the result is dropped.
    pub(crate) fn busy(&self) -> ConnectionInUse {
        let mut state = self.0.lock();
        state.calls += 1;
        if let Some(position) = state.position.take() {
            self.0.idle.lock().by_age.remove(&position);
        }
        ConnectionInUse(self.clone())
    }
}

impl ConnectionInUse {
    /// The response of the call was left unread.
    pub(crate) fn end_unread(self) {
        let entry = &self.0.0;
        entry.lock().has_unread = true;
        entry.unread.notify_one();
    }
}

impl Drop for ConnectionInUse {
    fn drop(&mut self) {
        let entry = &self.0.0;
        let mut state = entry.lock();
        state.calls -= 1;
        if state.calls == 0 {
            state.position = Some(entry.idle.lock().push(&entry.eviction, Some(&entry.transfers)));
        }
    }
}

impl ConnectionEntry {
    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        lock(&self.state)
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
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    use super::*;
    use crate::slow_reader::WriteTimeout;

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
    fn a_request_makes_a_connection_the_youngest() {
        let idle = IdleConnections::default();
        let [first, second] = std::array::from_fn(|_| idle.insert());
        first.touch();
        assert!(idle.evict(Duration::ZERO));
        assert!(is_evicted(&second) && !is_evicted(&first));
        second.touch();
        assert!(idle.evict(Duration::ZERO));
        assert!(is_evicted(&first) && !is_evicted(&second), "it is evicted once");
        assert!(!idle.evict(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_an_unread_response_ends_once_it_has_been_without_a_call() {
        let minute = Duration::from_secs(60);
        let connection = IdleConnections::default().insert();
        let (other, unread) = (connection.busy(), connection.busy());
        unread.end_unread();
        assert!(connection.has_unread());
        let (started, ended) = (Instant::now(), timeout(minute * 20, connection.unread(minute)));
        let calls = async {
            sleep(minute * 5).await;
            drop(other);
        };
        tokio::join!(ended, calls).0.unwrap();
        assert!((minute * 6..=minute * 7).contains(&started.elapsed()), "{:?}", started.elapsed());

        let connection = IdleConnections::default().insert();
        drop(connection.busy());
        assert!(connection.unread(minute).now_or_never().is_none());
    }

    /// Pings are written as well, so that writes alone would keep a connection forever.
    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_response_keeps_a_connection_for_a_while() {
        let idle = IdleConnections::default();
        let (page, call) = (idle.insert(), idle.insert());
        page.touch();
        drop(call.busy());
        let (mut near, _far) = tokio::io::duplex(4096);
        let mut write = async |connection: &CallerConnection| {
            let transfers = connection.transfers().clone();
            let mut stream = WriteTimeout::new(&mut near, MAX_SENDING, transfers);
            stream.write_all(b"ping").await.unwrap();
        };
        let second = Duration::from_secs(1);
        sleep(second).await;
        write(&page).await;
        write(&call).await;
        assert!(idle.evict(second) && is_evicted(&page), "its response is none of a call");
        for _ in 1..59 {
            sleep(second).await;
            write(&call).await;
            assert!(!idle.evict(second));
        }
        sleep(second).await;
        write(&call).await;
        assert!(idle.evict(second) && is_evicted(&call));
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
