use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::unpoisoned;

/// Counters of one target or last resort of a chain.
#[derive(Debug, Default)]
pub(super) struct TargetCounters {
    uses: AtomicU64,
    successes: AtomicU64,
    skips: AtomicU64,
    recent: Mutex<RecentOutcomes>,
}

/// The latest outcomes, one bit each, the latest in the lowest bit.
#[derive(Debug, Default)]
struct RecentOutcomes {
    successes: u128,
    count: u32,
}

/// How many outcomes count as recent.
const RECENT_COUNT: u32 = 100;

/// How often a target or last resort of a chain was used in place of the first target, and how often it
/// succeeded.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TargetStatistics {
    /// The name of the target, or of the last resort (`@cached`, `@simplified`, `@static`, `@emergency`).
    pub target: Arc<str>,
    /// Its position in the chain; the first target has 0.
    #[doc(alias = "priority")]
    pub position: u32,
    /// How often it was called. A last resort without a response does not count.
    #[doc(alias = "usage_count")]
    pub calls: u64,
    /// How often it succeeded.
    pub successes: u64,
    /// How often it was skipped, because its model cannot take the request.
    pub skips: u64,
    /// The number of recent outcomes, at most 100 of each chain.
    pub recent: u32,
    /// The number of successes among the recent outcomes.
    pub recent_successes: u32,
    /// The share of successes among the recent outcomes, from 0 to 1; `None` without any.
    pub success_rate: Option<f64>,
}

impl TargetStatistics {
    /// Adds the counts of a target in another chain. The name and the position stay.
    pub fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.successes = self.successes.saturating_add(other.successes);
        self.skips = self.skips.saturating_add(other.skips);
        self.recent = self.recent.saturating_add(other.recent);
        self.recent_successes = self.recent_successes.saturating_add(other.recent_successes);
        self.success_rate = success_rate(self.recent_successes, self.recent);
    }
}

fn success_rate(successes: u32, count: u32) -> Option<f64> {
    (count > 0).then(|| f64::from(successes) / f64::from(count))
}

impl TargetCounters {
    pub(super) fn is_used(&self) -> bool {
        self.uses.load(Ordering::Relaxed) > 0
    }

    pub(super) fn record_use(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_skip(&self) {
        self.skips.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_outcome(&self, is_success: bool) {
        if is_success {
            self.successes.fetch_add(1, Ordering::Relaxed);
        }
        let mut recent = unpoisoned(self.recent.lock());
        recent.successes = recent.successes << 1 | u128::from(is_success);
        recent.successes &= (1 << RECENT_COUNT) - 1;
        recent.count = (recent.count + 1).min(RECENT_COUNT);
    }

    pub(super) fn statistics(&self, target: &Arc<str>, position: usize) -> TargetStatistics {
        let (recent, recent_successes) = {
            let recent = unpoisoned(self.recent.lock());
            (recent.count, recent.successes.count_ones())
        };
        TargetStatistics {
            target: Arc::clone(target),
            position: u32::try_from(position).unwrap_or(u32::MAX),
            calls: self.uses.load(Ordering::Relaxed),
            successes: self.successes.load(Ordering::Relaxed),
            skips: self.skips.load(Ordering::Relaxed),
            recent,
            recent_successes,
            success_rate: success_rate(recent_successes, recent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed items 50 and 52: the last 100 outcomes, and the share of successes.
    #[test]
    fn only_the_last_hundred_are_recent() {
        let counters = TargetCounters::default();
        assert_eq!(counters.statistics(&"t".into(), 1).success_rate, None);
        for _ in 0..150 {
            counters.record_outcome(true);
        }
        (0..30).for_each(|_| counters.record_outcome(false));
        let statistics = counters.statistics(&"t".into(), 1);
        assert_eq!((statistics.successes, statistics.recent, statistics.recent_successes), (150, 100, 70));
        assert_eq!(serde_json::to_value(&statistics).unwrap()["success_rate"], 0.7);
    }

    #[test]
    fn the_sum_of_two_chains_has_the_rate_of_both() {
        let [one, other] = [true, false].map(|is_success| {
            let counters = TargetCounters::default();
            for _ in 0..if is_success { 10 } else { 30 } {
                counters.record_use();
                counters.record_outcome(is_success);
            }
            counters.record_skip();
            counters.statistics(&"t".into(), 1)
        });
        for (mut sum, more) in [(one.clone(), &other), (other.clone(), &one)] {
            sum.merge(more);
            let expected = TargetStatistics {
                calls: 40,
                successes: 10,
                skips: 2,
                recent: 40,
                recent_successes: 10,
                success_rate: Some(0.25),
                ..one.clone()
            };
            assert_eq!(sum, expected);
        }
        let mut unused = TargetCounters::default().statistics(&"t".into(), 1);
        unused.merge(&unused.clone());
        assert_eq!(unused.success_rate, None);
    }
}
