//! The queue discipline: which waiter is granted the next permit. Plain code; every operation is O(1), except that an
//! arrival passes the waiters of flows that have had more turns.

use super::flows::{Flow, Flows};
use super::priority_shares::PriorityShares;
use super::slab_lists::{ListEnd, SlabLists};
use crate::Priority;

/// The waiters, in one list per priority. Each list has the same capacity, so that neither priority can
/// fill the queue of the other.
///
/// In a list the flows take turns, and an arrival whose turn comes sooner displaces the last waiter of a full list: a flow
/// with many waiters can neither delay nor keep out the waiters of another. The waiters of one flow alone are served first
/// come, first served.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    lists: SlabLists<Queued<T>, 2>,
    flows: [Flows; 2],
    max: usize,
    order: Order,
    shares: PriorityShares,
}

#[derive(Debug)]
struct Queued<T> {
    waiter: T,
    flow: Flow,
    round: u64,
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
    /// First come, first served until the queue is more than half full, then newest first. Under overload the
    /// callers of the oldest calls have most likely given up, so that a permit granted to them is wasted.
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
        Self { lists: SlabLists::new(), flows, max, order, shares: PriorityShares::new() }
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

    /// Adds a waiter to the list of its priority; `None` if that list is full. The waiter that it displaces, if any, leaves
    /// its list; its ticket stays valid until it is removed.
    pub(crate) fn enqueue(
        &mut self,
        priority: Priority,
        flow: Flow,
        waiter: T,
    ) -> Option<(Ticket, Option<&mut T>)> {
        if self.is_full(priority, flow) {
            return None;
        }
        let list = priority as usize;
        let is_displacing = self.len(priority) >= self.max;
        let displaced = is_displacing.then(|| self.lists.detach(list, ListEnd::Last)).flatten();
        if let Some(index) = displaced {
            let &mut Queued { flow, round, .. } = self.lists.get_mut(index);
            self.flows[list].leave(flow, round);
        }
        let round = self.flows[list].next_round(flow);
        self.flows[list].join(flow, round);
        let index = self.lists.insert(list, Queued { waiter, flow, round }, |other| other.round <= round);
        let displaced = displaced.map(|index| &mut self.lists.get_mut(index).waiter);
        Some((Ticket(index), displaced))
    }

    /// The waiters behind which an arrival of this flow would not be served, the last first.
    pub(crate) fn passed_by(&self, priority: Priority, flow: Flow) -> impl Iterator<Item = &T> {
        let round = self.flows[priority as usize].next_round(flow);
        let passed = self.lists.iter_rev(priority as usize).take_while(move |queued| queued.round > round);
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
        let end = self.end(priority);
        self.lists.peek_mut(priority as usize, end).map(|queued| &mut queued.waiter)
    }

    /// Takes the next waiter out of its list. Its ticket stays valid until it is removed.
    pub(crate) fn pop(&mut self) -> Option<&mut T> {
        let priority = self.next_priority()?;
        self.shares.record(priority, self.len(Priority::Batch));
        let end = self.end(priority);
        let index = self.lists.detach(priority as usize, end)?;
        let queued = self.lists.get_mut(index);
        let flows = &mut self.flows[priority as usize];
        match end {
            ListEnd::First => flows.grant(queued.flow, queued.round),
            // The rounds before it are still to come.
            ListEnd::Last => flows.leave(queued.flow, queued.round),
        }
        Some(&mut queued.waiter)
    }

    pub(crate) fn get_mut(&mut self, ticket: &Ticket) -> &mut T {
        &mut self.lists.get_mut(ticket.0).waiter
    }

    /// Removes the waiter of a ticket, whether it is still queued or already popped.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> T {
        let list = self.lists.list_of(ticket.0);
        let Queued { waiter, flow, round } = self.lists.remove(ticket.0);
        if let Some(list) = list {
            self.flows[list].leave(flow, round);
        }
        waiter
    }

    /// Visits every waiter, also those that were popped. One for which `keep` returns false leaves its list; its ticket
    /// stays valid until it is removed.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let Self { lists, flows, .. } = self;
        lists.detach_unless(|queued, list| {
            let keeps = keep(&mut queued.waiter);
            if let (false, Some(list)) = (keeps, list) {
                flows[list].leave(queued.flow, queued.round);
            }
            keeps
        });
    }

    /// Whether the turn of an arrival of this flow comes before that of the last waiter.
    fn displaces(&self, priority: Priority, flow: Flow) -> bool {
        let last = self.lists.peek(priority as usize, ListEnd::Last);
        last.is_some_and(|last| last.round > self.flows[priority as usize].next_round(flow))
    }

    fn next_priority(&self) -> Option<Priority> {
        self.shares.next(self.len(Priority::Interactive), self.len(Priority::Batch))
    }

    fn end(&self, priority: Priority) -> ListEnd {
        let first = self.lists.peek(priority as usize, ListEnd::First);
        if first.is_some_and(|first| self.flows[priority as usize].is_returning(first.round)) {
            return ListEnd::First;
        }
        let overloaded = self.len(priority) > self.max / 2;
        match (self.order, priority) {
            (Order::NewestFirstUnderOverload, Priority::Interactive) if overloaded => ListEnd::Last,
            _ => ListEnd::First,
        }
    }
}

#[cfg(test)]
mod tests;
