use crate::Priority;
use crate::priority_semaphore::{PriorityShares, other_than};
use crate::rate_limit::cost::CallCost;

/// What calls cost, and how long the quotas that are short take to refill it, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueuedCost {
    pub(super) cost: CallCost,
    pub(super) refill: u64,
}

impl QueuedCost {
    pub(super) fn add(&mut self, other: &Self) {
        self.cost.add(&other.cost);
        self.refill = self.refill.saturating_add(other.refill);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.cost.subtract(&other.cost);
        self.refill = self.refill.saturating_sub(other.refill);
    }

    /// The part of the cost that is refilled in `time`.
    pub(super) fn part(&self, time: u64) -> CallCost {
        self.cost.part(time, self.refill)
    }
}

/// The calls that wait: their total cost, per priority.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog([QueuedCost; 2]);

impl Backlog {
    pub(super) fn push(&mut self, priority: Priority, call: &QueuedCost) {
        self.0[priority as usize].add(call);
    }

    pub(super) fn remove(&mut self, priority: Priority, call: &QueuedCost) {
        self.0[priority as usize].subtract(call);
    }

    /// How many calls wait.
    pub(crate) fn total(&self) -> usize {
        usize::try_from(self.all().calls).unwrap_or(usize::MAX)
    }

    /// The cost of the calls of this priority.
    pub(super) fn cost(&self, priority: Priority) -> QueuedCost {
        self.0[priority as usize]
    }

    /// The cost of the queue ahead of a call of this cost: that of the calls of its own priority up to it,
    /// `own`, without itself, and what is granted to the other priority before it.
    pub(super) fn ahead_of(
        &self,
        priority: Priority,
        mut own: QueuedCost,
        call: &QueuedCost,
        shares: PriorityShares,
    ) -> CallCost {
        let other = shares.granted_before(priority, own.refill);
        own.subtract(call);
        own.cost.add(&self.cost(other_than(priority)).part(other));
        own.cost
    }

    /// The cost of all calls.
    pub(crate) fn all(&self) -> CallCost {
        let mut all = self.0[0].cost;
        all.add(&self.0[1].cost);
        all
    }
}
