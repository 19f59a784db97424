//! Calls that threads admit without the lock of the queue, at rates at which they would contend for it.
//!
//! A thread gets a credit of some calls under the lock. It admits them alone, and they are charged to the
//! quota later, as of the last of them, under the lock. No window admits more than the quota: a call is
//! admitted on credit only if the quota would have room for the whole credits of all threads. Whatever else
//! reads or changes the quota, or lets a call wait or rejects it, first charges what was used and closes all
//! credits.
//!
//! ```text
//!              room for all credits                used up, or its lifetime is over
//!   closed ────────────────────────▶ open ────────────────────────────────────────▶ charged, and open again
//!      ▲                              │
//!      └──── any other use of the quota: charged ◀┘
//! ```

use std::time::{Duration, Instant};

use crate::rate_limit::quota_set::QuotaSet;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::thread_shard::PerThread;

/// The credits of all threads.
#[derive(Debug)]
pub(super) struct ThreadCredits {
    origin: Instant,
    /// The number of calls of each credit.
    size: u64,
    shards: PerThread<Credit>,
}

/// The credit of one thread.
#[derive(Debug)]
struct Credit {
    /// `time of the latest call << USED_BITS | calls used`, the time in nanoseconds from the origin.
    state: AtomicU64,
    /// When it was opened. Written under the lock.
    opened: AtomicU64,
    /// The number of calls that were charged before. Written under the lock.
    charged_before: AtomicU64,
}

/// What is known about the credits under the lock of the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CreditBook {
    /// The number of credits that are open.
    open: u64,
    /// The number of calls that are charged at once before the next credit is opened.
    calls_until_open: u32,
}

/// Calls that were admitted on credit, to be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsedCredit {
    pub(crate) calls: u64,
    pub(crate) latest: Instant,
}

const USED_BITS: u32 = 8;
const USED_MASK: u64 = (1 << USED_BITS) - 1;

/// The state of a credit that is closed: more is used than any credit has.
const CLOSED: u64 = USED_MASK;

/// The end of the time that fits beside the calls used, after two years. There are no credits from then on.
const MAX_NANOS: u64 = u64::MAX >> USED_BITS;

/// A credit is at most what the quota refills in this time. That bounds how much later a call may be admitted
/// because the calls on credit are charged as of the last of them.
const REFILL_TIME: Duration = Duration::from_micros(100);

/// The most calls of a credit: the lock is taken once for this many.
const MAX_SIZE: u64 = 64;

/// The fewest. With a quota of fewer calls in [`REFILL_TIME`], threads do not contend for the lock.
const MIN_SIZE: u64 = if cfg!(tidegate_loom) { 1 } else { 8 };

/// A credit is at most this part of a full quota.
const PART_OF_BURST: u64 = 16;

/// How long a credit is used after it was opened. It bounds how far the order of calls on credit, which the
/// reports of a provider are matched with, is unknown.
const LIFETIME_NANOS: u64 = 1_000_000;

/// A quota that is read for other reasons as often as that is not worth a credit.
const CALLS_UNTIL_OPEN: u32 = if cfg!(tidegate_loom) { 1 } else { 64 };

impl ThreadCredits {
    /// The credits of so many threads; none if the quota is too small for them.
    pub(super) fn new(threads: usize, limits: &QuotaSet, now: Instant) -> Self {
        let size = limits.credit_size(REFILL_TIME, PART_OF_BURST).map_or(0, |size| size.min(MAX_SIZE));
        let threads = if size < MIN_SIZE { 0 } else { threads };
        let shards = PerThread::new(threads, || Credit {
            state: AtomicU64::new(CLOSED),
            opened: AtomicU64::new(0),
            charged_before: AtomicU64::new(0),
        });
        Self { origin: now, size, shards }
    }

    /// The number of calls of each credit.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Admits a call on the credit of this shard. Returns its number in the order of all calls, as far as it
    /// is known.
    #[inline]
    pub(super) fn try_use(&self, shard: usize, now: Instant) -> Option<u64> {
        let credit = self.shards.get(shard)?;
        let now = self.nanos(now);
        let mut state = credit.state.load(Ordering::Acquire);
        loop {
            let used = state & USED_MASK;
            let age = now.saturating_sub(credit.opened.load(Ordering::Relaxed));
            if used >= self.size || age > LIFETIME_NANOS {
                return None;
            }
            let number = credit.charged_before.load(Ordering::Relaxed) + used + 1;
            let next = (state >> USED_BITS).max(now) << USED_BITS | (used + 1);
            match credit.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(number),
                Err(current) => state = current,
            }
        }
    }

    /// Opens the credit of a shard and admits a call on it, if `limits` has room for all credits. Charges
    /// what the shard has used. Called under the lock.
    pub(super) fn open(
        &self,
        shard: usize,
        book: &mut CreditBook,
        limits: &mut QuotaSet,
        now: Instant,
    ) -> Option<u64> {
        let credit = self.shards.get(shard).filter(|_| book.calls_until_open == 0)?;
        if let Some(used) = self.take(credit) {
            limits.charge(used);
            book.open -= 1;
        }
        if !limits.has_room_for_credits((book.open + 1) * self.size, now) {
            return None;
        }
        let (at, charged) = (self.nanos(now), limits.total_spent().calls);
        if at == MAX_NANOS {
            return None;
        }
        credit.opened.store(at, Ordering::Relaxed);
        credit.charged_before.store(charged, Ordering::Relaxed);
        credit.state.store(at << USED_BITS | 1, Ordering::Release);
        book.open += 1;
        Some(charged + 1)
    }

    /// Closes all credits and charges what was used. Called under the lock.
    #[inline]
    pub(super) fn close(&self, book: &mut CreditBook, limits: &mut QuotaSet) {
        if book.open > 0 {
            self.shards.iter().filter_map(|credit| self.take(credit)).for_each(|used| limits.charge(used));
            *book = CreditBook { open: 0, calls_until_open: CALLS_UNTIL_OPEN };
        }
    }

    /// Closes a credit, if it is open.
    fn take(&self, credit: &Credit) -> Option<UsedCredit> {
        // It is opened and closed under the lock only.
        if credit.state.load(Ordering::Relaxed) == CLOSED {
            return None;
        }
        let state = credit.state.swap(CLOSED, Ordering::AcqRel);
        let latest = self.origin + Duration::from_nanos(state >> USED_BITS);
        Some(UsedCredit { calls: state & USED_MASK, latest })
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        let since_origin = now.saturating_duration_since(self.origin);
        u64::try_from(since_origin.as_nanos()).unwrap_or(MAX_NANOS).min(MAX_NANOS)
    }
}

impl CreditBook {
    /// A call was charged at once.
    pub(crate) fn record_charged(&mut self) {
        self.calls_until_open = self.calls_until_open.saturating_sub(1);
    }
}
