use std::cmp::Reverse;
use std::iter;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::attempt_result::AttemptResult;
use crate::thread_shard::{PerThread, SHARDS};

/// The calls of a circuit since the start. Those of a key are also counted for its layer, which outlives its
/// keys.
///
/// They decide nothing. A [reset](super::Handle::reset) leaves the totals, and clears what is recent: the
/// streaks, the latest times and the latest latencies.
#[derive(Clone, Debug)]
pub(super) struct CallTotals {
    origin: Instant,
    counts: Arc<ShardedCounts>,
    /// The counts of the layer, if this is the circuit of a key.
    of_layer: Option<Arc<ShardedCounts>>,
}

/// Every thread counts for itself; a reader adds the counts up.
#[derive(Debug)]
struct ShardedCounts {
    shards: PerThread<CountShard>,
    failure_streak: AtomicU32,
    /// The number of successes at the latest failure.
    successes_before: AtomicU64,
    /// When the latest failure ended, as [`CountShard::last_success`].
    last_failure: AtomicU64,
}

/// A time, in nanoseconds since the circuit began, plus one. Smaller than an [`Instant`], and cheaper to
/// subtract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// The counts of one thread.
#[derive(Debug, Default)]
struct CountShard {
    successes: AtomicU64,
    failures: AtomicU64,
    neutral: AtomicU64,
    rejected: AtomicU64,
    slow: AtomicU64,
    latencies: RecentLatencies,
    /// The [`Moment`] of the latest success; 0 if there was none.
    last_success: AtomicU64,
}

/// The latest latencies of successes and failures, in a ring. Each is below the time at which it was recorded,
/// so that the latest of all threads are the largest numbers.
#[derive(Debug)]
struct RecentLatencies {
    recorded: AtomicU64,
    ring: [AtomicU64; RING],
}

/// The number of calls in the mean latency.
const RECENT: usize = 50;

/// A power of two, with which the place in the ring costs one instruction.
const RING: usize = RECENT.next_power_of_two();

/// The bits of a latency, in tenths of a millisecond, below a time in units of `1 << TIME_SHIFT` nanoseconds.
const LATENCY_BITS: u32 = 27;
const TIME_SHIFT: u32 = 24;
const LATENCY_UNIT_NANOS: u64 = 100_000;

impl Default for RecentLatencies {
    fn default() -> Self {
        Self { recorded: AtomicU64::new(0), ring: [const { AtomicU64::new(0) }; RING] }
    }
}

impl RecentLatencies {
    fn record(&self, latency: Duration, at: Moment) {
        let latency = (saturated(latency) / LATENCY_UNIT_NANOS).min((1 << LATENCY_BITS) - 1);
        let place = self.recorded.fetch_add(1, Ordering::Relaxed) % RING as u64;
        let record = at.0.get() >> TIME_SHIFT << LATENCY_BITS | latency;
        self.ring[place as usize].store(record, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.recorded.store(0, Ordering::Relaxed);
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        let recorded = usize::try_from(self.recorded.load(Ordering::Relaxed)).unwrap_or(RING);
        self.ring.iter().take(recorded).map(|record| record.load(Ordering::Relaxed))
    }
}

/// The sums of all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) neutral: u64,
    pub(super) rejected: u64,
    pub(super) slow: u64,
    pub(super) average_latency: Option<Duration>,
    pub(super) consecutive_failures: u32,
    pub(super) consecutive_successes: u64,
    pub(super) last_success: Option<Instant>,
    pub(super) last_failure: Option<Instant>,
}

impl CallTotals {
    /// Counts from `now` on, or for a key, from when its layer began.
    pub(super) fn new(of_layer: Option<&Self>, now: Instant) -> Self {
        // The circuit of a key has one count for all threads, since there may be many of them.
        let shards = if of_layer.is_some() { 1 } else { SHARDS };
        Self {
            origin: of_layer.map_or(now, |layer| layer.origin),
            counts: Arc::new(ShardedCounts::new(shards)),
            of_layer: of_layer.map(|layer| Arc::clone(&layer.counts)),
        }
    }

    pub(super) fn record_rejected(&self) {
        self.counts.record_rejected();
        if let Some(of_layer) = &self.of_layer {
            of_layer.record_rejected();
        }
    }

    /// The moment of `now`.
    #[inline]
    pub(super) fn moment(&self, now: Instant) -> Moment {
        let nanos = saturated(now.saturating_duration_since(self.origin));
        Moment(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Counts the result of a call. `latency` is that of its response head, or of an error in its place.
    pub(super) fn record(&self, result: AttemptResult, latency: Option<Duration>, is_slow: bool, at: Moment) {
        self.counts.record(result, latency, is_slow, at);
        if let Some(of_layer) = &self.of_layer {
            of_layer.record_of_key(result, latency, is_slow, at);
        }
    }

    /// Clears the streaks, and what is known of the latest calls.
    pub(super) fn clear_recent(&self) {
        self.counts.clear_recent();
    }

    pub(super) fn read(&self) -> Totals {
        self.counts.read(self.origin)
    }
}

impl ShardedCounts {
    fn new(shards: usize) -> Self {
        Self {
            shards: PerThread::new(shards, CountShard::default),
            failure_streak: AtomicU32::new(0),
            successes_before: AtomicU64::new(0),
            last_failure: AtomicU64::new(0),
        }
    }

    fn record_rejected(&self) {
        self.shards.of_thread().rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// As `record`, for a call that is counted for its key as well. Cold, so that calls without keys stay cheap.
    #[cold]
    fn record_of_key(&self, result: AttemptResult, latency: Option<Duration>, is_slow: bool, at: Moment) {
        self.record(result, latency, is_slow, at);
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it is called in two places, of which one is hot")]
    fn record(&self, result: AttemptResult, latency: Option<Duration>, is_slow: bool, at: Moment) {
        let shard = self.shards.of_thread();
        if is_slow {
            shard.slow.fetch_add(1, Ordering::Relaxed);
        }
        match result {
            AttemptResult::Success => {
                shard.successes.fetch_add(1, Ordering::Relaxed);
                shard.last_success.store(at.0.get(), Ordering::Relaxed);
                // A load leaves the cache line where it is.
                if self.failure_streak.load(Ordering::Relaxed) != 0 {
                    self.failure_streak.store(0, Ordering::Relaxed);
                }
            }
            AttemptResult::Failure(..) | AttemptResult::Quota(_) => {
                shard.failures.fetch_add(1, Ordering::Relaxed);
                self.last_failure.fetch_max(at.0.get(), Ordering::Relaxed);
                self.failure_streak.fetch_add(1, Ordering::Relaxed);
                self.successes_before.store(self.sum(|shard| &shard.successes), Ordering::Relaxed);
            }
            AttemptResult::Uncounted(_) | AttemptResult::Neutral => {
                shard.neutral.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        shard.latencies.record(latency.unwrap_or_default(), at);
    }

    fn sum(&self, count: impl Fn(&CountShard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| count(shard).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// The mean of the latest latencies of all threads.
    fn average_latency(&self) -> Option<Duration> {
        let mut latest: Vec<u64> = self.shards.iter().flat_map(|shard| shard.latencies.iter()).collect();
        latest.sort_unstable_by_key(|record| Reverse(record >> LATENCY_BITS));
        latest.truncate(RECENT);
        let sum: u64 = latest.iter().map(|record| record & ((1 << LATENCY_BITS) - 1)).sum();
        (sum * LATENCY_UNIT_NANOS).checked_div(latest.len() as u64).map(Duration::from_nanos)
    }

    fn clear_recent(&self) {
        self.failure_streak.store(0, Ordering::Relaxed);
        self.successes_before.store(self.sum(|shard| &shard.successes), Ordering::Relaxed);
        let last_successes = self.shards.iter().map(|shard| &shard.last_success);
        iter::once(&self.last_failure)
            .chain(last_successes)
            .for_each(|last| last.store(0, Ordering::Relaxed));
        self.shards.iter().for_each(|shard| shard.latencies.clear());
    }

    fn read(&self, origin: Instant) -> Totals {
        let successes = self.sum(|shard| &shard.successes);
        let failures = self.sum(|shard| &shard.failures);
        let at = |nanos: u64| origin.checked_add(Duration::from_nanos(nanos.checked_sub(1)?));
        let last_success = self.shards.iter().map(|shard| shard.last_success.load(Ordering::Relaxed)).max();
        Totals {
            successes,
            failures,
            neutral: self.sum(|shard| &shard.neutral),
            rejected: self.sum(|shard| &shard.rejected),
            slow: self.sum(|shard| &shard.slow),
            average_latency: self.average_latency(),
            consecutive_failures: self.failure_streak.load(Ordering::Relaxed),
            consecutive_successes: successes.saturating_sub(self.successes_before.load(Ordering::Relaxed)),
            last_success: last_success.and_then(at),
            last_failure: at(self.last_failure.load(Ordering::Relaxed)),
        }
    }
}

fn saturated(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorCode;

    proptest! {
        /// The sums are those of a list of the same calls, for a key and for its layer.
        #[test]
        fn counts_like_a_list(ends in prop::collection::vec((0..6, 0..5_000u64, any::<bool>()), 0..200)) {
            let origin = Instant::now();
            let of_layer = CallTotals::new(None, origin);
            let totals = CallTotals::new(Some(&of_layer), origin + Duration::from_secs(7));
            let mut expected = Totals::default();
            let mut latencies = Vec::new();
            for (step, (kind, millis, is_slow)) in ends.into_iter().enumerate() {
                let now = origin + Duration::from_secs(step as u64);
                let latency = Duration::from_millis(millis);
                let result = match kind {
                    0 => AttemptResult::Success,
                    1 => AttemptResult::Failure(ErrorCode::ServerError, None),
                    2 => AttemptResult::Quota(None),
                    3 => AttemptResult::Neutral,
                    4 => {
                        [&of_layer, &totals].into_iter().for_each(CallTotals::clear_recent);
                        latencies.clear();
                        (expected.consecutive_failures, expected.consecutive_successes) = (0, 0);
                        (expected.last_success, expected.last_failure) = (None, None);
                        continue;
                    }
                    _ => {
                        totals.record_rejected();
                        expected.rejected += 1;
                        continue;
                    }
                };
                totals.record(result, Some(latency), is_slow, totals.moment(now));
                if result != AttemptResult::Neutral {
                    latencies.push(latency);
                }
                expected.slow += u64::from(is_slow);
                match result {
                    AttemptResult::Success => {
                        expected.successes += 1;
                        expected.last_success = Some(now);
                        expected.consecutive_successes += 1;
                        expected.consecutive_failures = 0;
                    }
                    AttemptResult::Failure(..) | AttemptResult::Quota(_) => {
                        expected.failures += 1;
                        expected.last_failure = Some(now);
                        expected.consecutive_failures += 1;
                        expected.consecutive_successes = 0;
                    }
                    _ => expected.neutral += 1,
                }
            }
            let latencies = &latencies[latencies.len().saturating_sub(RECENT)..];
            let average = latencies.iter().sum::<Duration>().as_nanos().checked_div(latencies.len() as u128);
            expected.average_latency = average.map(|nanos| Duration::from_nanos(nanos as u64));
            prop_assert_eq!([totals.read(), of_layer.read()], [expected; 2]);
        }
    }
}
