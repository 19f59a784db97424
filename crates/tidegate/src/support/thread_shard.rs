//! State that is sharded by thread, so that threads do not write to one cache line alternately.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The number of shards. Beyond this number of threads some share a shard.
pub(crate) const SHARDS: usize = if cfg!(tidegate_loom) { 2 } else { 32 };

/// The number of the shard of this thread, less than [`SHARDS`].
#[inline]
pub(crate) fn thread_shard() -> usize {
    #[cfg(test)]
    if let Some(shard) = TEST_SHARD.with(Cell::get) {
        return shard;
    }
    // Without an initializer that runs at the first use, a look at it is a load.
    std::thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let shard = SHARD.get();
    if shard != usize::MAX {
        return shard;
    }
    let shard = next_shard();
    SHARD.set(shard);
    shard
}

#[cold]
fn next_shard() -> usize {
    static THREADS_SEEN: AtomicUsize = AtomicUsize::new(0);
    THREADS_SEEN.fetch_add(1, Ordering::Relaxed) % SHARDS
}

#[cfg(all(test, tidegate_loom))]
use ::loom::thread_local;

#[cfg(test)]
thread_local! {
    /// The shard that a test sets for its thread.
    pub(crate) static TEST_SHARD: Cell<Option<usize>> = Cell::default();
}

/// A value for each thread, on cache lines of its own.
#[derive(Debug)]
pub(crate) struct PerThread<T>(Box<[Padded<T>]>);

/// Two cache lines, because processors prefetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        Self::new(SHARDS, T::default)
    }
}

impl<T> PerThread<T> {
    /// A value for each of this many shards, at most [`SHARDS`]; there may be none.
    pub(crate) fn new(shards: usize, value: impl Fn() -> T) -> Self {
        Self((0..shards).map(|_| Padded(value())).collect())
    }

    /// The value of this thread, or the first if it has none. There is at least one.
    #[inline]
    pub(crate) fn of_thread(&self) -> &T {
        self.get(thread_shard()).unwrap_or(&self.0[0].0)
    }

    /// The value of a shard, if it has one.
    #[inline]
    pub(crate) fn get(&self, shard: usize) -> Option<&T> {
        self.0.get(shard).map(|Padded(value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Padded(value)| value)
    }
}

/// A reference that services hold, with a copy for each thread.
///
/// Every call in flight owns a reference to the state of its layer, because its response may outlive the
/// service. With one reference count for all, the threads would write to it alternately, twice a call, and
/// two threads would do no more calls than one (0.9 x, measured). Each thread therefore counts on its own
/// copy.
pub struct ByThread<T> {
    shared: Arc<Copies<T>>,
}

struct Copies<T> {
    original: T,
    copies: [OnceLock<T>; SHARDS],
    copy: fn(&T) -> T,
}

impl<T: Clone> ByThread<T> {
    /// `copy` makes a reference to the same that counts its clones by itself.
    pub(crate) fn new(original: T, copy: fn(&T) -> T) -> Self {
        let copies = [const { OnceLock::new() }; SHARDS];
        Self { shared: Arc::new(Copies { original, copies, copy }) }
    }

    /// The reference of this thread, for a call to own. It is created at the first call of the thread.
    #[inline]
    pub(crate) fn of_thread(&self) -> T {
        let Copies { original, copies, copy } = &*self.shared;
        copies[thread_shard()].get_or_init(|| copy(original)).clone()
    }
}

impl<T> Clone for ByThread<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// Dereferences to the original.
impl<T> Deref for ByThread<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.shared.original
    }
}

impl<T: fmt::Debug> fmt::Debug for ByThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.original.fmt(f)
    }
}
