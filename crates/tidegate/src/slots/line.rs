//! Who is next: plain code, in constant time.

use super::places::{End, Places};
use crate::Priority;

/// Of every so many slots handed over while both wait, at least one goes to batch.
///
/// Five: batch costs people at most a fifth of the provider, so that their line moves at worst a quarter slower,
/// and a batch call that is first in its line waits for at most four calls before it. Between two turns of batch
/// lie four of theirs, so whoever is first in the interactive line is passed by once at most: batch
/// delays a call at the head by one service time and never by two.
const SHARE: u8 = 5;

/// Those who wait, in a line for each priority. Each holds as many as the other, so that batch cannot take the
/// places that people would wait in, nor the other way round.
#[derive(Debug)]
pub(super) struct Line<T> {
    places: Places<T, 2>,
    max: usize,
    order: Order,
    /// How many interactive calls went ahead of batch since batch's last turn.
    ahead_of_batch: u8,
}

/// Who goes first among interactive calls. Batch is always first come first served: nobody is there to give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// First come, first served. The default.
    #[default]
    Fifo,
    /// First come, first served until the line is more than half full, then newest first: under overload the
    /// oldest calls are those whose callers have most likely given up, and serving them first serves nobody.
    ///
    /// Adaptive LIFO: Ben Maurer, "Fail at Scale", ACM Queue 13(8), 2015.
    NewestFirstUnderOverload,
}

/// The right to a place in the line; good until it is removed.
#[derive(Debug)]
pub(super) struct Ticket(u32);

impl<T> Line<T> {
    /// Nobody waits; at most `max` of each priority may.
    pub(super) const fn new(max: usize, order: Order) -> Self {
        Self { places: Places::new(), max, order, ahead_of_batch: 0 }
    }

    pub(super) const fn len(&self, priority: Priority) -> usize {
        self.places.len(priority as usize)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len(Priority::Interactive) == 0 && self.len(Priority::Batch) == 0
    }

    pub(super) const fn is_full(&self, priority: Priority) -> bool {
        self.len(priority) >= self.max
    }

    /// A place at the end of the line, if it is not full.
    pub(super) fn join(&mut self, priority: Priority, waiter: T) -> Option<Ticket> {
        (!self.is_full(priority)).then(|| Ticket(self.places.push(priority as usize, waiter)))
    }

    /// Whose turn it is. Out of the line from now on; the ticket is good until it is removed.
    pub(super) fn next(&mut self) -> Option<&mut T> {
        let priority = self.turn()?;
        self.ahead_of_batch = match priority {
            Priority::Batch => 0,
            Priority::Interactive => self.ahead_of_batch + u8::from(self.len(Priority::Batch) > 0),
        };
        let index = self.places.take_out(priority as usize, self.end(priority))?;
        Some(self.places.get_mut(index))
    }

    pub(super) fn get_mut(&mut self, ticket: &Ticket) -> &mut T {
        self.places.get_mut(ticket.0)
    }

    /// Forgets a ticket, in the line or out of it.
    pub(super) fn remove(&mut self, ticket: Ticket) -> T {
        self.places.remove(ticket.0)
    }

    fn turn(&self) -> Option<Priority> {
        match (self.len(Priority::Interactive), self.len(Priority::Batch)) {
            (0, 0) => None,
            (0, _) => Some(Priority::Batch),
            (_, 0) => Some(Priority::Interactive),
            _ if self.ahead_of_batch + 1 >= SHARE => Some(Priority::Batch),
            _ => Some(Priority::Interactive),
        }
    }

    fn end(&self, priority: Priority) -> End {
        let overloaded = self.len(priority) > self.max / 2;
        match (self.order, priority) {
            (Order::NewestFirstUnderOverload, Priority::Interactive) if overloaded => End::Last,
            _ => End::First,
        }
    }
}

#[cfg(test)]
mod tests;
