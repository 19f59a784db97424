//! State that is sharded by thread, so that threads do not write to one cache line alternately.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of shards. Beyond this number of threads some share a shard.
pub(crate) const SHARDS: usize = if cfg!(tidegate_loom) { 2 } else { 32 };

/// Returns the number of the shard of this thread, less than [`SHARDS`].
pub(crate) fn thread_shard() -> usize {
    static THREADS_SEEN: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = THREADS_SEEN.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.try_with(|shard| *shard).unwrap_or_default()
}
