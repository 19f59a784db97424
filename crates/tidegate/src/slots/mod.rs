//! Counted slots with a waiting line: the concurrent core of backpressure, and of whatever else lets so many
//! through at once.
//!
//! [`word`](self::word) is the whole count in one number, [`line`](self::line) decides who is next; both are
//! plain. This file is the small rest in which threads meet.
//!
//! One rule carries it: *while the waiting bit is set, nobody takes a slot but under the lock.* So a free slot is
//! one compare-and-swap away when nobody waits, and nobody barges past those who do. The bit is set under the
//! lock before its owner looks for room once more, and everybody who makes room looks at the bit after making
//! it; since both are in one word, one of the two sees the other.

use std::sync::PoisonError;
use std::task::{Poll, Waker};

use self::line::{Line, Ticket};
use self::word::Word;
use crate::Priority;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

mod line;
#[cfg(all(test, tidegate_loom))]
mod loom;
mod places;
mod word;

pub use self::line::Order;

/// So many slots, and those who wait for one. Whoever takes a slot must [`release`](Self::release) it.
///
/// The word comes first, beside the count of an `Arc` around it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Slots {
    word: AtomicU64,
    max_waiting: usize,
    line: Mutex<Line<Waiter>>,
}

/// One who waits, or who was handed a slot and does not know yet.
#[derive(Debug, Default)]
struct Waiter {
    granted: bool,
    waker: Option<Waker>,
}

/// What became of one who asked for a slot.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A slot was free.
    Taken,
    /// A place in the line; it must be polled to the end or [left](Slots::leave).
    Waits(Place),
    /// As many wait as may.
    Full,
}

/// A place in the line.
#[derive(Debug)]
pub(crate) struct Place(Ticket);

impl Slots {
    /// `limit` slots, for which at most `max_waiting` of each priority wait.
    pub(crate) fn new(limit: usize, max_waiting: usize, order: Order) -> Self {
        Self {
            word: AtomicU64::new(Word::new(limit).bits()),
            max_waiting,
            line: Mutex::new(Line::new(max_waiting, order)),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.word().limit()
    }

    /// How many slots are taken; more than the limit for a while after it shrank.
    pub(crate) fn taken(&self) -> usize {
        self.word().taken()
    }

    /// How many of this priority wait.
    pub(crate) fn waiting(&self, priority: Priority) -> usize {
        if self.word().is_waited_for() { self.line().len(priority) } else { 0 }
    }

    /// Whether one who asked now would take a slot. Takes nothing.
    pub(crate) fn has_room(&self) -> bool {
        self.word().taking().is_some()
    }

    /// Whether one who asked now would be told [`Asked::Full`]. Takes nothing.
    pub(crate) fn is_full(&self, priority: Priority) -> bool {
        !self.has_room() && (self.max_waiting == 0 || self.line().is_full(priority))
    }

    /// Takes a slot if one is free and nobody waits: one compare-and-swap.
    pub(crate) fn try_take(&self) -> bool {
        self.update(Word::taking).is_ok()
    }

    /// Takes a slot, or a place in the line.
    pub(crate) fn ask(&self, priority: Priority) -> Asked {
        if self.try_take() {
            return Asked::Taken;
        }
        // Where nobody may wait, nobody does, and the one try has decided: no lock.
        if self.max_waiting == 0 {
            return Asked::Full;
        }
        let mut line = self.line();
        let is_first = line.is_empty();
        let Some(ticket) = line.join(priority, Waiter::default()) else { return Asked::Full };
        // From here on nobody else takes a slot, and whoever gives one back comes for the lock.
        self.set_waited_for(true);
        if is_first && self.update(Word::handing).is_ok() {
            line.remove(ticket);
            self.set_waited_for(false);
            return Asked::Taken;
        }
        Asked::Waits(Place(ticket))
    }

    /// Asks whether a slot was handed to this place; the place is used up once it was.
    pub(crate) fn poll(&self, place: &Place, waker: &Waker) -> Poll<()> {
        let mut line = self.line();
        let waiter = line.get_mut(&place.0);
        if waiter.granted {
            return Poll::Ready(());
        }
        let stale = match &waiter.waker {
            Some(known) if known.will_wake(waker) => None,
            _ => waiter.waker.replace(waker.clone()),
        };
        // The last waker of a task may drop the task, which may leave a place of its own: not under the lock.
        drop(line);
        drop(stale);
        Poll::Pending
    }

    /// Gives up a place that was handed a slot, and keeps the slot.
    pub(crate) fn keep(&self, place: Place) {
        let waiter = self.line().remove(place.0);
        debug_assert!(waiter.granted, "kept a slot that nobody handed over");
    }

    /// Gives up a place; a slot that was handed to it goes on to the next.
    pub(crate) fn leave(&self, place: Place) {
        let mut line = self.line();
        let waiter = line.remove(place.0);
        if line.is_empty() {
            self.set_waited_for(false);
        }
        drop(line);
        if waiter.granted {
            self.release();
        }
    }

    /// Gives a slot back, to the next in the line if there is one.
    pub(crate) fn release(&self) {
        let before = Word::from_bits(self.word.fetch_sub(Word::ONE, Ordering::AcqRel));
        debug_assert!(before.taken() > 0, "gave back a slot that nobody took");
        if before.is_waited_for() {
            self.hand_over();
        }
    }

    /// Changes the limit. A higher one is handed out at once; a lower one takes effect as slots come back.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.store_limit(limit);
        self.hand_over();
    }

    /// Changes the limit and wakes nobody: for one who holds a lock. [`hand_over`](Self::hand_over) must follow.
    pub(crate) fn store_limit(&self, limit: usize) {
        let _ = self.update(|word| Some(word.with_limit(limit)));
    }

    /// Hands free slots to those who wait; they are woken without the lock.
    pub(crate) fn hand_over(&self) {
        if !self.word().is_waited_for() {
            return;
        }
        while let Some(waker) = self.hand_one_over() {
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Hands a free slot to the next in the line: whom to wake, if there was one who has been polled.
    fn hand_one_over(&self) -> Option<Option<Waker>> {
        let mut line = self.line();
        if line.is_empty() || self.update(Word::handing).is_err() {
            return None;
        }
        let waiter = line.next().expect("the line is not empty");
        waiter.granted = true;
        let waker = waiter.waker.take();
        if line.is_empty() {
            self.set_waited_for(false);
        }
        Some(waker)
    }

    /// Only ever called under the lock.
    fn set_waited_for(&self, waited_for: bool) {
        if waited_for {
            self.word.fetch_or(Word::WAITED_FOR, Ordering::AcqRel);
        } else {
            self.word.fetch_and(!Word::WAITED_FOR, Ordering::AcqRel);
        }
    }

    /// The word before the change, or as it is if there was none to make.
    fn update(&self, change: impl Fn(Word) -> Option<Word>) -> Result<Word, Word> {
        let mut word = self.word();
        loop {
            let Some(next) = change(word) else { return Err(word) };
            let swapped = self.word.compare_exchange_weak(
                word.bits(),
                next.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => return Ok(word),
                Err(bits) => word = Word::from_bits(bits),
            }
        }
    }

    fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    fn line(&self) -> MutexGuard<'_, Line<Waiter>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests;
