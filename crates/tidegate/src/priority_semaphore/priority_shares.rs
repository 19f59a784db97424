//! How the grants are shared between the priorities.

use crate::Priority;

/// While both priorities wait, one of every five grants goes to batch.
///
/// With five, batch takes at most a fifth of the provider's capacity. The interactive queue drains at worst a
/// quarter slower, and the first batch call waits for at most four interactive calls. Four interactive grants
/// lie between two batch grants, so at most one batch call overtakes the first interactive call: batch delays
/// the head of the interactive queue by one service time and never by two.
const BATCH_PERIOD: u8 = 5;

/// Selects the priority that is served next.
#[derive(Debug)]
pub(super) struct PriorityShares {
    /// The number of interactive calls granted ahead of a waiting batch call since the last batch grant.
    since_batch: u8,
}

impl PriorityShares {
    pub(super) const fn new() -> Self {
        Self { since_batch: 0 }
    }

    /// The priority that is served next, if so many calls of each wait.
    pub(super) const fn next(&self, interactive: usize, batch: usize) -> Option<Priority> {
        match (interactive, batch) {
            (0, 0) => None,
            (0, _) => Some(Priority::Batch),
            (_, 0) => Some(Priority::Interactive),
            _ if self.since_batch + 1 >= BATCH_PERIOD => Some(Priority::Batch),
            _ => Some(Priority::Interactive),
        }
    }

    /// Records a grant to `priority`, made while `batch` batch calls waited.
    pub(super) const fn record(&mut self, priority: Priority, batch: usize) {
        match priority {
            Priority::Batch => self.since_batch = 0,
            Priority::Interactive if batch > 0 => self.since_batch += 1,
            Priority::Interactive => {}
        }
    }
}

/// An estimate of how many calls of the other priority are granted before `calls` calls of `priority` are.
pub(crate) const fn granted_before(priority: Priority, calls: u64) -> u64 {
    match priority {
        Priority::Interactive => calls / BATCH_PERIOD as u64,
        Priority::Batch => calls.saturating_mul(BATCH_PERIOD as u64 - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_close_to_the_order_of_grants() {
        let mut shares = PriorityShares::new();
        let mut granted = [0u64; 2];
        for _ in 0..1_000 {
            let priority = shares.next(1, 1).unwrap();
            shares.record(priority, 1);
            granted[priority as usize] += 1;
            let [interactive, batch] = granted;
            match priority {
                Priority::Batch => assert_eq!(granted_before(priority, batch), interactive),
                // A batch call may be due, and the estimate ignores that batch grants delay later ones.
                Priority::Interactive => {
                    let estimate = granted_before(priority, interactive);
                    assert!(estimate <= batch + 1 && 5 * estimate + 5 >= 4 * batch, "{granted:?}");
                }
            }
        }
    }

    #[test]
    fn a_priority_that_waits_alone_gets_every_grant() {
        let mut shares = PriorityShares::new();
        for _ in 0..10 {
            assert_eq!(shares.next(1, 0), Some(Priority::Interactive));
            shares.record(Priority::Interactive, 0);
        }
        assert_eq!(shares.next(1, 1), Some(Priority::Interactive), "no batch call was overtaken");
        assert_eq!((shares.next(0, 1), shares.next(0, 0)), (Some(Priority::Batch), None));
    }
}
