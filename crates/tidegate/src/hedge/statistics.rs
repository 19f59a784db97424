use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

#[derive(Debug, Default)]
pub(super) struct HedgeCounters {
    pub(super) calls: AtomicU64,
    pub(super) hedges: AtomicU64,
    pub(super) won: AtomicU64,
    pub(super) out_of_budget: AtomicU64,
    pub(super) unavailable: AtomicU64,
}

/// The hedges since the start, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HedgeStatistics {
    /// Calls.
    pub calls: u64,
    /// Calls that were hedged: the request was sent once more.
    pub hedges: u64,
    /// Hedges whose response was returned.
    pub won: u64,
    /// Calls that were late, and that the budget did not cover.
    pub out_of_budget: u64,
    /// Calls that were late, and that no target could take at once.
    pub unavailable: u64,
}

impl HedgeCounters {
    pub(super) fn read(&self) -> HedgeStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HedgeStatistics {
            calls: read(&self.calls),
            hedges: read(&self.hedges),
            won: read(&self.won),
            out_of_budget: read(&self.out_of_budget),
            unavailable: read(&self.unavailable),
        }
    }
}
