use super::cost::CallCost;
use crate::Priority;
use crate::priority_semaphore::granted_before;

/// The calls that wait: their number and their total cost, per priority.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backlog {
    counts: [usize; 2],
    costs: [CallCost; 2],
}

impl Backlog {
    pub(super) fn push(&mut self, priority: Priority, cost: &CallCost) {
        self.counts[priority as usize] += 1;
        self.costs[priority as usize].add(cost);
    }

    pub(super) fn remove(&mut self, priority: Priority, cost: &CallCost) {
        self.counts[priority as usize] = self.counts[priority as usize].saturating_sub(1);
        self.costs[priority as usize].subtract(cost);
    }

    /// How many calls of this priority wait.
    pub(super) fn count(&self, priority: Priority) -> usize {
        self.counts[priority as usize]
    }

    /// How many calls wait.
    pub(super) fn total(&self) -> usize {
        self.counts[0] + self.counts[1]
    }

    /// The cost of the calls of this priority.
    pub(super) fn cost(&self, priority: Priority) -> CallCost {
        self.costs[priority as usize]
    }

    /// The cost of the queue ahead of a call: that of the calls of its own priority before it, `own`, plus the calls
    /// of the other priority that are served before the last of those.
    pub(super) fn ahead_of(&self, priority: Priority, own: CallCost) -> CallCost {
        let other = match priority {
            Priority::Interactive => Priority::Batch,
            Priority::Batch => Priority::Interactive,
        };
        let served_before = granted_before(priority, own.calls + 1);
        let mut cost = own;
        cost.add(&self.costs[other as usize].part(served_before, self.count(other) as u64));
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead_of(backlog: &Backlog, priority: Priority) -> CallCost {
        backlog.ahead_of(priority, backlog.cost(priority))
    }

    #[test]
    fn each_priority_waits_for_its_own_class_and_for_the_share_of_the_other() {
        let mut backlog = Backlog::default();
        let cost = CallCost { calls: 1, input: 10, output: 0 };
        (0..8).for_each(|_| backlog.push(Priority::Interactive, &cost));
        (0..4).for_each(|_| backlog.push(Priority::Batch, &cost));
        assert_eq!(ahead_of(&backlog, Priority::Interactive), CallCost { calls: 9, input: 90, output: 0 });
        assert_eq!(ahead_of(&backlog, Priority::Batch), CallCost { calls: 12, input: 120, output: 0 });
        (0..92).for_each(|_| backlog.push(Priority::Interactive, &cost));
        assert_eq!(ahead_of(&backlog, Priority::Interactive).calls, 104);
        assert_eq!(ahead_of(&backlog, Priority::Batch).calls, 24);
        (0..4).for_each(|_| backlog.remove(Priority::Batch, &cost));
        assert_eq!(
            (
                backlog.total(),
                ahead_of(&backlog, Priority::Interactive).calls,
                ahead_of(&backlog, Priority::Batch).calls
            ),
            (100, 100, 4)
        );
    }
}
