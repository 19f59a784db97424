//! How what is granted is shared between the priorities.

use crate::Priority;

/// While both priorities wait, a fifth of what is granted goes to batch: this much goes to interactive calls
/// for each part that goes to batch.
///
/// With four, batch takes at most a fifth of the provider's capacity. The interactive queue drains at worst a
/// quarter slower, and the first batch call waits for at most four times its own cost of interactive calls.
/// Where all calls cost the same, four interactive grants lie between two batch grants, so at most one batch
/// call overtakes the first interactive call: batch delays the head of the interactive queue by one service
/// time and never by two.
const INTERACTIVE_WEIGHT: i128 = 4;

/// The priority that shares what is granted with this one.
pub(crate) const fn other_than(priority: Priority) -> Priority {
    match priority {
        Priority::Interactive => Priority::Batch,
        Priority::Batch => Priority::Interactive,
    }
}

/// Selects the priority that is served next: the one with the first call that would end first if both were
/// served at the same time, each at its share (weighted fair queueing: Demers, Keshav and Shenker, "Analysis
/// and Simulation of a Fair Queueing Algorithm", SIGCOMM 1989).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PriorityShares {
    /// The cost of the interactive calls granted ahead of a waiting batch call, less four times that of the
    /// batch calls granted ahead of a waiting interactive one.
    lead: i128,
}

impl PriorityShares {
    pub(super) const fn new() -> Self {
        Self { lead: 0 }
    }

    /// The priority that is served next, if the first calls of each have these costs.
    pub(super) fn next(&self, interactive: Option<u64>, batch: Option<u64>) -> Option<Priority> {
        match (interactive, batch) {
            (None, None) => None,
            (Some(interactive), Some(batch))
                if self.lead + i128::from(interactive) <= INTERACTIVE_WEIGHT * i128::from(batch) =>
            {
                Some(Priority::Interactive)
            }
            (_, Some(_)) => Some(Priority::Batch),
            (Some(_), None) => Some(Priority::Interactive),
        }
    }

    /// Records a grant of `cost` to `priority`. `other_waits`: it was made while calls of the other priority
    /// waited.
    pub(super) fn record(&mut self, priority: Priority, cost: u64, other_waits: bool) {
        match priority {
            Priority::Interactive => {
                let most = if other_waits { i128::MAX } else { self.lead.max(0) };
                self.lead = (self.lead + i128::from(cost)).min(most);
            }
            Priority::Batch => {
                let least = if other_waits { i128::MIN } else { self.lead.min(0) };
                self.lead = (self.lead - INTERACTIVE_WEIGHT * i128::from(cost)).max(least);
            }
        }
    }

    /// A call of `priority` that costs `cost` begins to wait, and no other does. It is owed at most what
    /// would have been granted ahead of it.
    pub(super) fn begin(&mut self, priority: Priority, cost: u64) {
        self.lead = match priority {
            Priority::Interactive => self.lead.max(-i128::from(cost)),
            Priority::Batch => self.lead.min(INTERACTIVE_WEIGHT * i128::from(cost)),
        };
    }

    /// A call of `priority` that costs `cost` leaves without a grant. What was granted ahead of it is
    /// forgotten, as far as it is not owed to the first call that is left, which costs `first`.
    pub(super) fn leave(&mut self, priority: Priority, cost: u64, first: u64) {
        let (cost, first) = (i128::from(cost), i128::from(first));
        self.lead = match priority {
            Priority::Interactive => self.lead.max(-first).min(self.lead + cost),
            Priority::Batch => {
                self.lead.min(INTERACTIVE_WEIGHT * first).max(self.lead - INTERACTIVE_WEIGHT * cost)
            }
        };
    }

    /// What is granted to the other priority, if it waits all the time, before calls of `priority` that cost
    /// `cost` together.
    pub(crate) fn granted_before(&self, priority: Priority, cost: u64) -> u64 {
        let cost = i128::from(cost);
        let other = match priority {
            // Of two that would end at the same time the interactive call is first.
            Priority::Interactive => (self.lead + cost - 1) / INTERACTIVE_WEIGHT,
            Priority::Batch => INTERACTIVE_WEIGHT * cost - self.lead,
        };
        u64::try_from(other.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the calls cost, the shares differ by less than a call of each from four to one, and what
        /// is granted to the other priority before a call is what was expected, less at most one of its
        /// calls.
        #[test]
        fn grants_are_shared_by_cost(costs in prop::collection::vec((1u64..100, 1u64..100), 1..200), scale in 1u64..100) {
            let mut shares = PriorityShares::new();
            let mut granted = [0u64; 2];
            let (mut at, most) = ([0, 0], [99 * scale, 99]);
            while at.iter().all(|at| *at < costs.len()) {
                let heads = [costs[at[0]].0 * scale, costs[at[1]].1];
                let start = PriorityShares::new();
                let priority = shares.next(Some(heads[0]), Some(heads[1])).unwrap();
                let (own, other) = (priority as usize, 1 - priority as usize);
                let expected = start.granted_before(priority, granted[own] + heads[own]);
                prop_assert!(granted[other] <= expected && expected <= granted[other] + most[other] + 1);
                shares.record(priority, heads[own], true);
                (granted[own], at[own]) = (granted[own] + heads[own], at[own] + 1);
                prop_assert!(granted[0] <= 4 * granted[1] + 4 * most[1]);
                prop_assert!(4 * granted[1] <= granted[0] + most[0]);
            }
        }
    }

    #[test]
    fn a_priority_that_waits_alone_gets_every_grant() {
        let mut shares = PriorityShares::new();
        for _ in 0..10 {
            assert_eq!(shares.next(Some(1), None), Some(Priority::Interactive));
            shares.record(Priority::Interactive, 1, false);
        }
        assert_eq!(shares.next(Some(1), Some(1)), Some(Priority::Interactive), "no batch call was overtaken");
        for _ in 0..10 {
            assert_eq!(shares.next(None, Some(1)), Some(Priority::Batch));
            shares.record(Priority::Batch, 1, false);
        }
        assert_eq!(
            shares.next(Some(4), Some(1)),
            Some(Priority::Interactive),
            "no interactive call was overtaken"
        );
        assert_eq!(shares.next(Some(5), Some(1)), Some(Priority::Batch));
        assert_eq!(shares.next(None, None), None);
    }
}
