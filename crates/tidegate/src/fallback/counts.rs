use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What one link of a chain was good for.
#[derive(Debug, Default)]
pub(super) struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
    passed_over: AtomicU64,
    recent: Mutex<Recent>,
}

/// How the latest ended, a bit each, the latest in the lowest.
#[derive(Debug, Default)]
struct Recent {
    answered: u128,
    count: u32,
}

/// So many outcomes are recent.
const RECENT: u32 = 100;

/// How often a link of a chain was asked in place of the first target, and how often it had a good answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TargetStatistics {
    /// The name of the target, or of the last resort (`@cached`, `@simplified`, `@static`, `@emergency`).
    pub target: Arc<str>,
    /// Its place in the chain; the first target has 0.
    pub priority: u32,
    /// How often it was asked. A last resort that had nothing to say was not.
    pub asked: u64,
    /// How often it answered well.
    pub answered: u64,
    /// How often it was its turn and it was not asked, since its model cannot take such a request.
    pub passed_over: u64,
    /// Of the latest outcomes, at most 100: how many there are.
    pub recent: u32,
    /// And how many of these were good answers.
    pub recent_answered: u32,
}

impl Counts {
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn passed_over(&self) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, has_answered: bool) {
        if has_answered {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.answered = recent.answered << 1 | u128::from(has_answered);
        recent.answered &= (1 << RECENT) - 1;
        recent.count = (recent.count + 1).min(RECENT);
    }

    pub(super) fn statistics(&self, target: &Arc<str>, priority: usize) -> TargetStatistics {
        let (recent, recent_answered) = {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            (recent.count, recent.answered.count_ones())
        };
        TargetStatistics {
            target: Arc::clone(target),
            priority: u32::try_from(priority).unwrap_or(u32::MAX),
            asked: self.asked.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            passed_over: self.passed_over.load(Ordering::Relaxed),
            recent,
            recent_answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed item 50: the last 100 outcomes.
    #[test]
    fn only_the_last_hundred_are_recent() {
        let counts = Counts::default();
        for _ in 0..150 {
            counts.ended(true);
        }
        (0..30).for_each(|_| counts.ended(false));
        let statistics = counts.statistics(&"t".into(), 1);
        assert_eq!((statistics.answered, statistics.recent, statistics.recent_answered), (150, 100, 70));
    }
}
