/// Lists that share one block of memory: joining, leaving from anywhere and looking at both ends in constant time.
///
/// A linked list by index. Joining allocates only when the block has never held so many before.
#[derive(Debug)]
pub(super) struct Places<T, const LISTS: usize> {
    places: Vec<Place<T>>,
    free: Option<u32>,
    ends: [Ends; LISTS],
}

#[derive(Debug)]
struct Place<T> {
    held: Option<T>,
    /// The list that it stands in; none if it is free, or has been taken out of its list.
    list: Option<usize>,
    before: Option<u32>,
    /// In a free place: the next free one.
    after: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    first: Option<u32>,
    last: Option<u32>,
    len: usize,
}

/// Which end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

impl<T, const LISTS: usize> Places<T, LISTS> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), free: None, ends: [Ends { first: None, last: None, len: 0 }; LISTS] }
    }

    /// How many the block has ever held at once.
    #[cfg(test)]
    pub(super) fn block(&self) -> usize {
        self.places.len()
    }

    pub(super) const fn len(&self, list: usize) -> usize {
        self.ends[list].len
    }

    /// Puts `held` at the end of a list.
    pub(super) fn push(&mut self, list: usize, held: T) -> u32 {
        let before = self.ends[list].last;
        let place = Place { held: Some(held), list: Some(list), before, after: None };
        let index = match self.free {
            Some(index) => {
                self.free = self.places[index as usize].after;
                self.places[index as usize] = place;
                index
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).expect("fewer than 2^32 wait")
            }
        };
        match before {
            Some(before) => self.places[before as usize].after = Some(index),
            None => self.ends[list].first = Some(index),
        }
        self.ends[list].last = Some(index);
        self.ends[list].len += 1;
        index
    }

    /// Takes the one at an end out of its list. It keeps its index until it is [removed](Self::remove).
    pub(super) fn take_out(&mut self, list: usize, end: End) -> Option<u32> {
        let index = match end {
            End::First => self.ends[list].first,
            End::Last => self.ends[list].last,
        }?;
        self.unlink(index);
        Some(index)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        self.places[index as usize].held.as_mut().expect("an index is good until it is removed")
    }

    /// Forgets the one at `index`, in a list or out of it.
    pub(super) fn remove(&mut self, index: u32) -> T {
        self.unlink(index);
        let place = &mut self.places[index as usize];
        let held = place.held.take().expect("an index is good until it is removed");
        place.after = self.free;
        self.free = Some(index);
        held
    }

    fn unlink(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        let Some(list) = place.list.take() else { return };
        let (before, after) = (place.before.take(), place.after.take());
        match before {
            Some(before) => self.places[before as usize].after = after,
            None => self.ends[list].first = after,
        }
        match after {
            Some(after) => self.places[after as usize].before = before,
            None => self.ends[list].last = before,
        }
        self.ends[list].len -= 1;
    }
}
