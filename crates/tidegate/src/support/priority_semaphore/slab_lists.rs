use std::iter::successors;

/// Doubly linked lists that share one slab: inserting at the end, removing from any position and taking from
/// either end are O(1).
///
/// Links are indices into the slab. A push allocates only when the slab has never held so many entries
/// before.
#[derive(Debug)]
pub(super) struct SlabLists<T, const LISTS: usize> {
    entries: Vec<SlabEntry<T>>,
    first_free: Option<u32>,
    ends: [ListEnds; LISTS],
}

#[derive(Debug)]
struct SlabEntry<T> {
    value: Option<T>,
    /// The list that contains this entry; `None` if the entry is free or detached.
    list: Option<usize>,
    prev: Option<u32>,
    /// In a free entry: the index of the next free entry.
    next: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ListEnds {
    first: Option<u32>,
    last: Option<u32>,
    len: usize,
}

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListEnd {
    First,
    Last,
}

impl<T, const LISTS: usize> SlabLists<T, LISTS> {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            first_free: None,
            ends: [ListEnds { first: None, last: None, len: 0 }; LISTS],
        }
    }

    /// The most entries that the slab has held at once.
    #[cfg(test)]
    pub(super) fn peak_len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn len(&self, list: usize) -> usize {
        self.ends[list].len
    }

    /// Inserts `value` into a list, behind the last entry that may be `before` it, and returns its index. The
    /// cost grows with the number of entries behind.
    pub(super) fn insert(&mut self, list: usize, value: T, before: impl Fn(&T) -> bool) -> u32 {
        let (mut prev, mut next) = (self.ends[list].last, None);
        while let Some(index) = prev
            && let entry = &self.entries[index as usize]
            && !entry.value.as_ref().is_some_and(&before)
        {
            (prev, next) = (entry.prev, Some(index));
        }
        let entry = SlabEntry { value: Some(value), list: Some(list), prev, next };
        let index = match self.first_free {
            Some(index) => {
                self.first_free = self.entries[index as usize].next;
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 entries")
            }
        };
        match prev {
            Some(prev) => self.entries[prev as usize].next = Some(index),
            None => self.ends[list].first = Some(index),
        }
        match next {
            Some(next) => self.entries[next as usize].prev = Some(index),
            None => self.ends[list].last = Some(index),
        }
        self.ends[list].len += 1;
        index
    }

    /// The list with the entry at `index`; `None` if it is detached.
    pub(super) fn list_of(&self, index: u32) -> Option<usize> {
        self.entries[index as usize].list
    }

    /// The values of a list, the last first.
    pub(super) fn iter_rev(&self, list: usize) -> impl Iterator<Item = &T> {
        let entry = |index: Option<u32>| index.map(|index| &self.entries[index as usize]);
        let entries = successors(entry(self.ends[list].last), move |last| entry(last.prev));
        entries.filter_map(|entry| entry.value.as_ref())
    }

    /// Visits the values behind the entry at `index` in its list, in their order.
    pub(super) fn for_each_behind(&mut self, index: u32, mut visit: impl FnMut(&mut T)) {
        let mut next = self.entries[index as usize].next;
        while let Some(index) = next {
            let entry = &mut self.entries[index as usize];
            entry.value.as_mut().into_iter().for_each(&mut visit);
            next = entry.next;
        }
    }

    /// Visits every value with its list, and unlinks the entries for which `keep` returns false. Their
    /// indices stay valid until they are [removed](Self::remove).
    pub(super) fn detach_unless(&mut self, mut keep: impl FnMut(&mut T, Option<usize>) -> bool) {
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            let list = entry.list;
            if entry.value.as_mut().is_some_and(|value| !keep(value, list)) {
                self.detach(index as u32);
            }
        }
    }

    /// The index of the entry at one end of a list.
    pub(super) fn at(&self, list: usize, end: ListEnd) -> Option<u32> {
        match end {
            ListEnd::First => self.ends[list].first,
            ListEnd::Last => self.ends[list].last,
        }
    }

    pub(super) fn get(&self, index: u32) -> &T {
        self.entries[index as usize].value.as_ref().expect("an index is valid until it is removed")
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        self.entries[index as usize].value.as_mut().expect("an index is valid until it is removed")
    }

    /// Frees the entry at `index`, which may be linked or detached, and returns its value.
    pub(super) fn remove(&mut self, index: u32) -> T {
        self.detach(index);
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take().expect("an index is valid until it is removed");
        entry.next = self.first_free;
        self.first_free = Some(index);
        value
    }

    /// Unlinks an entry from its list, if it is in one. The index stays valid until the entry is
    /// [removed](Self::remove).
    pub(super) fn detach(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let Some(list) = entry.list.take() else { return };
        let (prev, next) = (entry.prev.take(), entry.next.take());
        match prev {
            Some(prev) => self.entries[prev as usize].next = next,
            None => self.ends[list].first = next,
        }
        match next {
            Some(next) => self.entries[next as usize].prev = prev,
            None => self.ends[list].last = prev,
        }
        self.ends[list].len -= 1;
    }
}
