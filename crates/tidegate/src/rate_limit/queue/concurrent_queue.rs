use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Instant;

use super::RateQueue;
use super::thread_credits::ThreadCredits;
use crate::rate_limit::quota_set::QuotaSet;
use crate::sync::{Mutex, MutexGuard, unpoisoned};
use crate::thread_shard::thread_shard;

/// The queue that many threads use at once. At high rates a thread takes the lock once for many calls.
#[derive(Debug)]
pub(crate) struct ConcurrentQueue {
    queue: Mutex<RateQueue>,
    credits: ThreadCredits,
    /// Calls that fit without a look at the queue: they leave half of every quota, and none waits before
    /// them. Read without the lock, written under it.
    headroom: AtomicU32,
}

/// The queue, locked. When it is released, the calls that were granted meanwhile are woken, without the lock.
pub(crate) struct LockedQueue<'a>(Option<MutexGuard<'a, RateQueue>>);

/// The headroom of a limit that is off.
const ALL_CALLS: u32 = u32::MAX;

impl ConcurrentQueue {
    /// A queue of at most `max_waiting` calls of each priority. So many threads may admit calls without the
    /// lock.
    pub(crate) fn new(limits: QuotaSet, max_waiting: usize, threads: usize, now: Instant) -> Self {
        let credits = ThreadCredits::new(threads, &limits, now);
        let queue = Mutex::new(RateQueue::new(limits, max_waiting));
        Self { queue, credits, headroom: AtomicU32::new(0) }
    }

    /// Every call fits, whatever the quotas.
    pub(crate) fn disabled(self) -> Self {
        Self { headroom: AtomicU32::new(ALL_CALLS), ..self }
    }

    /// Whether the next call fits without a look at the queue.
    #[inline]
    pub(crate) fn has_headroom(&self) -> bool {
        self.headroom.load(Ordering::Relaxed) > 0
    }

    /// Called under the lock, as are the two that follow: under it there is no credit.
    pub(crate) fn set_headroom(&self, calls: u32) {
        self.headroom.store(calls.min(ALL_CALLS - 1), Ordering::Relaxed);
    }

    /// Makes the next call look at the queue.
    pub(crate) fn clear_headroom(&self) {
        if self.headroom.load(Ordering::Relaxed) != ALL_CALLS {
            self.set_headroom(0);
        }
    }

    /// Reduces the headroom by this many admitted calls.
    pub(crate) fn spend_headroom(&self, calls: u64) {
        let headroom = self.headroom.load(Ordering::Relaxed);
        if headroom > 0 {
            self.set_headroom(headroom.saturating_sub(u32::try_from(calls).unwrap_or(u32::MAX)));
        }
    }

    /// Locks the queue, and charges what threads have admitted on credit. There is no credit until the lock
    /// is released.
    #[inline]
    pub(crate) fn lock(&self) -> LockedQueue<'_> {
        self.without_credits(unpoisoned(self.queue.lock()))
    }

    /// Admits a call on credit, and returns its number in the order of all calls, as far as it is known.
    /// Otherwise it [locks](Self::lock) the queue.
    #[inline]
    pub(crate) fn admit_on_credit(&self, now: Instant) -> Result<u64, LockedQueue<'_>> {
        let shard = thread_shard();
        self.credits.try_use(shard, now).map_or_else(|| self.open_credit(shard, now), Ok)
    }

    fn open_credit(&self, shard: usize, now: Instant) -> Result<u64, LockedQueue<'_>> {
        let mut queue = unpoisoned(self.queue.lock());
        let RateQueue { limits, credits, backlog, .. } = &mut *queue;
        if backlog.total() == 0
            && let Some(number) = self.credits.open(shard, credits, limits, now)
        {
            self.spend_headroom(self.credits.size());
            return Ok(number);
        }
        Err(self.without_credits(queue))
    }

    #[inline]
    fn without_credits<'a>(&self, mut queue: MutexGuard<'a, RateQueue>) -> LockedQueue<'a> {
        let RateQueue { limits, credits, .. } = &mut *queue;
        self.credits.close(credits, limits);
        LockedQueue(Some(queue))
    }
}

impl Deref for LockedQueue<'_> {
    type Target = RateQueue;

    #[inline]
    fn deref(&self) -> &RateQueue {
        self.0.as_ref().expect("taken by the drop alone")
    }
}

impl DerefMut for LockedQueue<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut RateQueue {
        self.0.as_mut().expect("taken by the drop alone")
    }
}

impl Drop for LockedQueue<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut queue) = self.0.take().filter(|queue| !queue.wakers.is_empty()) else { return };
        let granted = std::mem::take(&mut queue.wakers);
        drop(queue);
        granted.into_iter().for_each(Waker::wake);
    }
}
