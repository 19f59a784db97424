//! The queue discipline: which waiter is granted the next permit. Plain code; every operation is O(1), except
//! that an arrival passes the waiters of flows that have had more, and that the newest waiter is looked up in
//! a tree.

use std::collections::BTreeMap;

use super::flows::{Flow, Flows};
use super::priority_shares::{PriorityShares, other_than};
use super::slab_lists::{ListEnd, SlabLists};
use crate::Priority;

/// The waiters, in one list per priority. Each list has the same capacity, so that neither priority can
/// fill the queue of the other.
///
/// Every waiter has a cost. The lists share what is granted four to one, and the flows of a list share it in
/// equal parts. An arrival whose turn comes sooner displaces the last waiter of a full list: a flow with many
/// waiters can neither delay nor keep out the waiters of another. The waiters of one flow alone are served
/// first come, first served.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    lists: SlabLists<QueueEntry<T>, 2>,
    flows: [Flows; 2],
    max: usize,
    order: Order,
    /// The interactive waiters by their arrival, if the newest of them may be served first. The lists are in
    /// the order of the turns, in which the last waiter is that of the flow with the most.
    arrivals: BTreeMap<u64, u32>,
    next_arrival: u64,
    shares: PriorityShares,
}

/// The priorities in the order of their lists.
const PRIORITIES: [Priority; 2] = [Priority::Interactive, Priority::Batch];

#[derive(Debug)]
struct QueueEntry<T> {
    waiter: T,
    flow: Flow,
    arrival: u64,
    start: u64,
    cost: u64,
}

/// The order in which queued interactive calls are granted permits. Batch calls are always served first come,
/// first served, because batch callers do not give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// First come, first served. The default.
    #[default]
    Fifo,
    /// First come, first served until the queue is more than half full, then newest first, whatever the tenant.
    /// Under overload the callers of the oldest calls have most likely given up, so that a permit granted to
    /// them is wasted.
    ///
    /// Adaptive LIFO: Ben Maurer, "Fail at Scale", ACM Queue 13(8), 2015.
    NewestFirstUnderOverload,
}

/// A handle to one waiter; valid until the waiter is removed from the queue.
#[derive(Debug)]
pub(crate) struct Ticket(u32);

impl<T> WaitQueue<T> {
    /// An empty queue with a capacity of `max` waiters per priority.
    pub(crate) fn new(max: usize, order: Order) -> Self {
        let flows = [Flows::default(), Flows::default()];
        let (arrivals, shares) = (BTreeMap::new(), PriorityShares::new());
        Self { lists: SlabLists::new(), flows, max, order, arrivals, next_arrival: 0, shares }
    }

    pub(crate) const fn len(&self, priority: Priority) -> usize {
        self.lists.len(priority as usize)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len(Priority::Interactive) == 0 && self.len(Priority::Batch) == 0
    }

    /// Whether there is no room for an arrival of this flow, not even that of another waiter.
    pub(crate) fn is_full(&self, priority: Priority, flow: Flow) -> bool {
        self.len(priority) >= self.max && !self.displaces(priority, flow)
    }

    /// Adds a waiter of this cost to the list of its priority; `None` if that list is full. The waiter that
    /// it displaces, if any, leaves its list; its ticket stays valid until it is removed.
    pub(crate) fn enqueue(
        &mut self,
        priority: Priority,
        flow: Flow,
        cost: u64,
        waiter: T,
    ) -> Option<(Ticket, Option<&mut T>)> {
        if self.is_full(priority, flow) {
            return None;
        }
        let list = priority as usize;
        let is_displacing = self.len(priority) >= self.max;
        let displaced = self.lists.at(list, ListEnd::Last).filter(|_| is_displacing);
        if let Some(index) = displaced {
            self.lists.detach(index);
            let &QueueEntry { flow, arrival, start, cost, .. } = self.lists.get(index);
            self.flows[list].leave(flow, start, cost);
            self.arrivals.remove(&arrival);
            self.leave_shares(priority, cost);
        }
        if self.len(priority) == 0 {
            self.shares.begin(priority, cost);
        }
        let start = self.flows[list].next_start(flow);
        self.flows[list].join(flow, start, cost);
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let queued = QueueEntry { waiter, flow, arrival, start, cost };
        let index = self.lists.insert(list, queued, |other| other.start <= start);
        if self.order == Order::NewestFirstUnderOverload && priority == Priority::Interactive {
            self.arrivals.insert(arrival, index);
        }
        let displaced = displaced.map(|index| &mut self.lists.get_mut(index).waiter);
        Some((Ticket(index), displaced))
    }

    /// The waiters behind which an arrival of this flow would not be served, the last first.
    pub(crate) fn passed_by(&self, priority: Priority, flow: Flow) -> impl Iterator<Item = &T> {
        let start = self.flows[priority as usize].next_start(flow);
        let passed = self.lists.iter_rev(priority as usize).take_while(move |queued| queued.start > start);
        passed.map(|queued| &queued.waiter)
    }

    /// Visits the waiters that are served after this one, in their order.
    pub(crate) fn for_each_behind(&mut self, ticket: &Ticket, mut visit: impl FnMut(&mut T)) {
        self.lists.for_each_behind(ticket.0, |queued| visit(&mut queued.waiter));
    }

    /// The next waiter, which stays in its list.
    pub(crate) fn peek_mut(&mut self) -> Option<&mut T> {
        self.first_of(self.next_priority()?)
    }

    /// The first waiter of this priority, which stays in its list.
    pub(crate) fn first_of(&mut self, priority: Priority) -> Option<&mut T> {
        let index = self.next_of(priority)?;
        Some(&mut self.lists.get_mut(index).waiter)
    }

    /// Takes the next waiter out of its list. Its ticket stays valid until it is removed.
    pub(crate) fn pop(&mut self) -> Option<&mut T> {
        let priority = self.next_priority()?;
        let other_waits = self.len(other_than(priority)) > 0;
        let index = self.next_of(priority)?;
        let is_first = self.lists.at(priority as usize, ListEnd::First) == Some(index);
        self.lists.detach(index);
        let &QueueEntry { flow, arrival, start, cost, .. } = self.lists.get(index);
        self.arrivals.remove(&arrival);
        self.shares.record(priority, cost, other_waits);
        let flows = &mut self.flows[priority as usize];
        if is_first {
            flows.grant(flow, start, cost);
        } else {
            // The starts before it are still to come.
            flows.leave(flow, start, cost);
        }
        Some(&mut self.lists.get_mut(index).waiter)
    }

    pub(crate) fn get_mut(&mut self, ticket: &Ticket) -> &mut T {
        &mut self.lists.get_mut(ticket.0).waiter
    }

    /// Removes the waiter of a ticket, whether it is still queued or already popped.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> T {
        let list = self.lists.list_of(ticket.0);
        let QueueEntry { waiter, flow, arrival, start, cost } = self.lists.remove(ticket.0);
        if let Some(list) = list {
            self.arrivals.remove(&arrival);
            self.flows[list].leave(flow, start, cost);
            self.leave_shares(PRIORITIES[list], cost);
        }
        waiter
    }

    /// Visits every waiter, also those that were popped. One for which `keep` returns false leaves its list;
    /// its ticket stays valid until it is removed.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let Self { lists, flows, arrivals, .. } = self;
        let mut left = [0u64; 2];
        lists.detach_unless(|queued, list| {
            let keeps = keep(&mut queued.waiter);
            if let (false, Some(list)) = (keeps, list) {
                flows[list].leave(queued.flow, queued.start, queued.cost);
                arrivals.remove(&queued.arrival);
                left[list] = left[list].saturating_add(queued.cost);
            }
            keeps
        });
        for (priority, cost) in PRIORITIES.into_iter().zip(left) {
            self.leave_shares(priority, cost);
        }
    }

    /// Waiters of this priority, which cost `cost` together, have left without a grant.
    fn leave_shares(&mut self, priority: Priority, cost: u64) {
        if let Some(first) = self.first_cost(priority) {
            self.shares.leave(priority, cost, first);
        }
    }

    /// Whether the turn of an arrival of this flow comes before that of the last waiter.
    fn displaces(&self, priority: Priority, flow: Flow) -> bool {
        let last = self.lists.at(priority as usize, ListEnd::Last);
        last.is_some_and(|last| self.lists.get(last).start > self.flows[priority as usize].next_start(flow))
    }

    /// How what is granted next is shared between the priorities.
    pub(crate) const fn shares(&self) -> PriorityShares {
        self.shares
    }

    fn next_priority(&self) -> Option<Priority> {
        let [interactive, batch] = PRIORITIES.map(|priority| self.first_cost(priority));
        self.shares.next(interactive, batch)
    }

    fn first_cost(&self, priority: Priority) -> Option<u64> {
        Some(self.lists.get(self.next_of(priority)?).cost)
    }

    /// The waiter of this priority that is served next.
    fn next_of(&self, priority: Priority) -> Option<u32> {
        let first = self.lists.at(priority as usize, ListEnd::First)?;
        let is_overloaded = priority == Priority::Interactive && self.len(priority) > self.max / 2;
        let newest = self.arrivals.last_key_value().filter(|_| is_overloaded);
        let has_returned = |first| self.flows[priority as usize].is_returning(self.lists.get(first).start);
        Some(newest.filter(|_| !has_returned(first)).map_or(first, |(_, newest)| *newest))
    }
}

#[cfg(test)]
mod tests;
