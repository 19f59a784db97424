use crate::sync::atomic::{AtomicU32, Ordering};
use crate::thread_shard::PerThread;

/// Released permits that each thread keeps for its next calls, so that threads do not write to one number
/// alternately.
///
/// The semaphore counts a kept permit as in use. A shard is closed at first, and keeps permits while it is
/// open. It is opened and closed under the lock of the semaphore, and closed before any call is queued or
/// rejected.
#[derive(Debug)]
pub(super) struct KeptPermits {
    /// The number of permits each, or [`CLOSED`].
    shards: PerThread<AtomicU32>,
}

const CLOSED: u32 = u32::MAX;

/// The most permits that a thread keeps.
const MAX_KEPT: u32 = 2;

impl KeptPermits {
    /// Permits of this many threads; with none, no permit is kept.
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: PerThread::new(shards, || AtomicU32::new(CLOSED)) }
    }

    /// Takes a permit of this shard, if it keeps one.
    #[inline]
    pub(super) fn take(&self, shard: usize) -> bool {
        self.change(shard, |kept| (1..=MAX_KEPT).contains(&kept).then(|| kept - 1))
    }

    /// Keeps a permit, if the shard is open and has room.
    #[inline]
    pub(super) fn keep(&self, shard: usize) -> bool {
        self.change(shard, |kept| (kept < MAX_KEPT).then(|| kept + 1))
    }

    #[inline]
    fn change(&self, shard: usize, change: impl FnMut(u32) -> Option<u32>) -> bool {
        let shard = self.shards.get(shard);
        shard.is_some_and(|kept| kept.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok())
    }

    /// Whether the shard exists and is closed.
    pub(super) fn can_open(&self, shard: usize) -> bool {
        self.shards.get(shard).is_some_and(|kept| kept.load(Ordering::Relaxed) == CLOSED)
    }

    /// Opens a closed shard. Called under the lock.
    pub(super) fn open(&self, shard: usize) {
        if let Some(kept) = self.shards.get(shard) {
            kept.store(0, Ordering::Release);
        }
    }

    /// Closes all shards, and returns the number of permits that they kept. Called under the lock.
    pub(super) fn close(&self) -> usize {
        let close = |kept: &AtomicU32| match kept.load(Ordering::Relaxed) {
            CLOSED => 0,
            _ => kept.swap(CLOSED, Ordering::AcqRel) as usize,
        };
        self.shards.iter().map(close).sum()
    }

    /// The number of permits that are kept.
    pub(super) fn count(&self) -> usize {
        let kept = self.shards.iter().map(|kept| kept.load(Ordering::Acquire));
        kept.filter(|kept| *kept != CLOSED).map(|kept| kept as usize).sum()
    }
}
