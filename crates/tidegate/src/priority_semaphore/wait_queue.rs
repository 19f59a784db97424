//! The queue discipline: which waiter is granted the next permit. Plain code; every operation is O(1).

use super::priority_shares::PriorityShares;
use super::slab_lists::{ListEnd, SlabLists};
use crate::Priority;

/// The waiters, in one FIFO list per priority. Each list has the same capacity, so that neither priority can
/// fill the queue of the other.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    lists: SlabLists<T, 2>,
    max: usize,
    order: Order,
    shares: PriorityShares,
}

/// The order in which queued interactive calls are granted permits. Batch calls are always served first come,
/// first served, because batch callers do not give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
    pub(crate) const fn new(max: usize, order: Order) -> Self {
        Self { lists: SlabLists::new(), max, order, shares: PriorityShares::new() }
    }

    pub(crate) const fn len(&self, priority: Priority) -> usize {
        self.lists.len(priority as usize)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len(Priority::Interactive) == 0 && self.len(Priority::Batch) == 0
    }

    pub(crate) const fn is_full(&self, priority: Priority) -> bool {
        self.len(priority) >= self.max
    }

    /// Appends a waiter to the list of its priority; `None` if that list is full.
    pub(crate) fn enqueue(&mut self, priority: Priority, waiter: T) -> Option<Ticket> {
        (!self.is_full(priority)).then(|| Ticket(self.lists.push(priority as usize, waiter)))
    }

    /// The next waiter, which stays in its list.
    pub(crate) fn peek_mut(&mut self) -> Option<&mut T> {
        let priority = self.next_priority()?;
        self.lists.peek_mut(priority as usize, self.end(priority))
    }

    /// The first waiter of this priority, which stays in its list.
    pub(crate) fn first_of(&mut self, priority: Priority) -> Option<&mut T> {
        self.lists.peek_mut(priority as usize, self.end(priority))
    }

    /// Takes the next waiter out of its list. Its ticket stays valid until it is removed.
    pub(crate) fn pop(&mut self) -> Option<&mut T> {
        let priority = self.next_priority()?;
        self.shares.record(priority, self.len(Priority::Batch));
        let index = self.lists.detach(priority as usize, self.end(priority))?;
        Some(self.lists.get_mut(index))
    }

    pub(crate) fn get_mut(&mut self, ticket: &Ticket) -> &mut T {
        self.lists.get_mut(ticket.0)
    }

    /// Removes the waiter of a ticket, whether it is still queued or already popped.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> T {
        self.lists.remove(ticket.0)
    }

    /// Visits every waiter, also those that were popped. One for which `keep` returns false leaves its list; its ticket
    /// stays valid until it is removed.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.lists.detach_unless(keep);
    }

    fn next_priority(&self) -> Option<Priority> {
        self.shares.next(self.len(Priority::Interactive), self.len(Priority::Batch))
    }

    fn end(&self, priority: Priority) -> ListEnd {
        let overloaded = self.len(priority) > self.max / 2;
        match (self.order, priority) {
            (Order::NewestFirstUnderOverload, Priority::Interactive) if overloaded => ListEnd::Last,
            _ => ListEnd::First,
        }
    }
}

#[cfg(test)]
mod tests;
