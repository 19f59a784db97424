use crate::sync::atomic::{AtomicU64, Ordering};
use crate::thread_shard::PerThread;

/// Successful calls that every thread counts for itself, until the circuit is locked the next time.
///
/// A success never opens a circuit, so nothing is decided when one is recorded. A thread adds it to a shard
/// of its own, and the next thread that locks the circuit moves the counts of all shards into the window
/// first. Every failure, and every reader, therefore finds all successes that were recorded before it.
///
/// A shard holds the generation that it counts for together with the count. A success of an earlier
/// generation is never counted for a later one.
#[derive(Debug)]
pub(super) struct SuccessCounts {
    /// `generation << COUNT_BITS | count` each.
    shards: PerThread<AtomicU64>,
}

const COUNT_BITS: u32 = 8;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The generation of a shard that counts nothing.
const NO_GENERATION: u64 = u64::MAX << COUNT_BITS;

/// A thread takes the lock once for this many successes. It bounds the work of the next thread that locks the
/// circuit.
pub(super) const MAX_COUNT: u64 = 64;

impl SuccessCounts {
    /// Counts for this many threads. Without any, every success takes the lock.
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: PerThread::new(shards, || AtomicU64::new(NO_GENERATION)) }
    }

    /// Counts a success of this generation. Returns `false` if it has to be recorded under the lock: the
    /// generation is not the current one or does not count here, or the count is full.
    pub(super) fn try_add(&self, shard: usize, generation: u64) -> bool {
        let Some(shard) = self.shards.get(shard) else { return false };
        let may_add = |state: u64| state >> COUNT_BITS == generation && state & COUNT_MASK < MAX_COUNT;
        let mut state = shard.load(Ordering::Acquire);
        while may_add(state) {
            match shard.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(current) => state = current,
            }
        }
        false
    }

    /// Removes all counts and returns their sum. Called under the lock of the circuit.
    pub(super) fn take(&self) -> u64 {
        let take = |shard: &AtomicU64| {
            // A load leaves the cache line of an idle thread where it is.
            let is_empty = shard.load(Ordering::Acquire) & COUNT_MASK == 0;
            if is_empty { 0 } else { shard.fetch_and(!COUNT_MASK, Ordering::AcqRel) & COUNT_MASK }
        };
        self.shards.iter().map(take).sum()
    }

    /// Counts for this generation from now on, or for none. Called under the lock of the circuit, when its
    /// generation has changed. What is still counted belongs to an earlier generation, in which it came too
    /// late.
    pub(super) fn set_generation(&self, generation: Option<u64>) {
        let state = generation.map_or(NO_GENERATION, |generation| generation << COUNT_BITS);
        for shard in self.shards.iter() {
            // A swap rather than a store, so that it is ordered after every success that it discards.
            shard.swap(state, Ordering::AcqRel);
        }
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_for_the_current_generation_only() {
        let counts = SuccessCounts::new(2);
        assert!(!counts.try_add(0, 0), "no generation is set");
        counts.set_generation(Some(3));
        assert!(
            counts.try_add(0, 3) && counts.try_add(1, 3) && !counts.try_add(1, 2) && !counts.try_add(1, 4)
        );
        assert_eq!((counts.take(), counts.take()), (2, 0));
        assert!(counts.try_add(0, 3));
        counts.set_generation(Some(4));
        assert_eq!(counts.take(), 0);
        assert!(!counts.try_add(0, 3) && counts.try_add(0, 4));
        counts.set_generation(None);
        assert!(!counts.try_add(0, 4) && counts.take() == 0);
    }

    #[test]
    fn a_full_count_and_a_missing_shard_take_the_lock() {
        let counts = SuccessCounts::new(1);
        counts.set_generation(Some(0));
        assert!((0..MAX_COUNT).all(|_| counts.try_add(0, 0)));
        assert!(!counts.try_add(0, 0) && !counts.try_add(1, 0));
        assert_eq!(counts.take(), MAX_COUNT);
        assert!(counts.try_add(0, 0));
    }
}
