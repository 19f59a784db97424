use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use super::entry::Entry;
use super::index::Index;

/// The answers in the order in which they came, and where they are found.
///
/// The oldest goes first. An answer that is given again takes the place of the one before and is the latest then, so that
/// what is asked often stays: the least recently *given* goes. A cache that keeps what is *read* would not do here: nothing
/// is read until the day on which nobody answers, and what came first would fill it for ever. So of the `LruCache` nothing
/// is asked that counts as use but to put in: answers are only peeked at.
pub(super) struct Store {
    answers: LruCache<u32, Arc<Entry>>,
    index: Index,
    weight: u64,
    /// The number of the next answer.
    next: u32,
}

/// Room for the first answers, which is doubled and halved as they come and go: as many as fit into a hash table of eight.
const ROOM: NonZeroUsize = NonZeroUsize::new(7).unwrap();

impl Default for Store {
    fn default() -> Self {
        Self { answers: LruCache::sparse(ROOM), index: Index::default(), weight: 0, next: 0 }
    }
}

impl Store {
    /// Puts in an answer, and takes out what is in its way: the one to the same question, those older than
    /// `max_age`, and the oldest as long as all together weigh more than `max_bytes`. These are given back, so that nobody waits
    /// until they are dropped.
    pub(super) fn insert(&mut self, entry: Entry, max_bytes: u64, max_age: Duration) -> Vec<Arc<Entry>> {
        let now = entry.stored;
        let mut gone: Vec<_> = self.same(&entry).and_then(|number| self.remove(number)).into_iter().collect();
        let Some(next) = self.next.checked_add(1) else {
            // After four billion answers it may begin anew.
            gone.extend(std::mem::take(self).answers.into_iter().map(|(_, entry)| entry));
            return gone;
        };
        let number = std::mem::replace(&mut self.next, next);
        self.weight += entry.weight();
        self.index.insert(&entry.drawers, number);
        self.make_room();
        self.answers.put(number, Arc::new(entry));
        while let Some((&oldest, entry)) = self.answers.peek_lru()
            && (self.weight > max_bytes || now.saturating_duration_since(entry.stored) >= max_age)
        {
            gone.extend(self.remove(oldest));
        }
        gone
    }

    fn remove(&mut self, number: u32) -> Option<Arc<Entry>> {
        let entry = self.answers.pop(&number)?;
        self.index.remove(&entry.drawers, number);
        self.weight -= entry.weight();
        Some(entry)
    }

    /// For one more, which would else drive out another whatever they weigh. A table gets smaller only when it is told to, and
    /// would stay as large as for the many short answers whose place a few long ones have taken.
    fn make_room(&mut self) {
        let (answers, room) = (self.answers.len(), self.answers.cap());
        let wanted = match room.get() {
            room if answers >= room => room.saturating_mul(2),
            room if answers < room / 8 * 3 => room / 2,
            room => room,
        };
        // Does nothing if it is the same.
        self.answers.resize(ROOM.max(NonZeroUsize::new(wanted).unwrap_or(ROOM)));
    }

    /// The number of the answer to the same question.
    fn same(&self, entry: &Entry) -> Option<u32> {
        let is_same = |other: &Entry| other.scope == entry.scope && other.prompt == entry.prompt;
        self.index
            .latest(entry.drawers.same())
            .find(|number| self.answers.peek(number).is_some_and(|other| is_same(other)))
    }

    /// Those who may be answers to the same question: usually there is one, or none.
    pub(super) fn same_as(&self, drawer: u32) -> impl Iterator<Item = &Arc<Entry>> {
        self.index.latest(drawer).filter_map(|number| self.answers.peek(&number))
    }

    /// Those who may be answers to like ones.
    pub(super) fn like(&self, drawers: &[u32]) -> Vec<Arc<Entry>> {
        let numbers = self.index.latest_of_all(drawers);
        numbers.iter().filter_map(|number| self.answers.peek(number).cloned()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// How many places in the index are taken.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.index.len()
    }
}
