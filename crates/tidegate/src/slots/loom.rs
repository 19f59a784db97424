//! Every interleaving of two and three threads, as far as loom explores: all of them for two, and for three all with
//! at most three preemptions (`LOOM_MAX_PREEMPTIONS` may say otherwise).
//!
//! Run by `RUSTFLAGS='--cfg tidegate_loom' cargo test -p tidegate --lib --release slots::loom`. Loom ends a run in which
//! somebody waits for ever with a panic, so each of these also proves that nobody does while a slot is free.

use std::sync::Arc as StdArc;
use std::task::{Poll, Wake, Waker};

use ::loom::model::Builder;
use ::loom::sync::Arc;
use ::loom::sync::atomic::{AtomicUsize, Ordering};
use ::loom::thread::{self, Thread};

use super::{Asked, Order, Place, Slots};
use crate::Priority;

/// The slots, and how many are inside: counted apart, so that the word is not its own witness.
struct Room {
    slots: Slots,
    inside: AtomicUsize,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

impl Room {
    fn new(limit: usize) -> Arc<Self> {
        let slots = Slots::new(limit, 4, Order::Fifo);
        Arc::new(Self { slots, inside: AtomicUsize::new(0) })
    }

    /// Goes in and out, waiting if need be; finds no more than `most` inside, itself included.
    fn visit(&self, priority: Priority, most: usize) {
        match self.slots.ask(priority) {
            Asked::Taken => {}
            Asked::Waits(place) => self.wait(place),
            Asked::Full => panic!("the line holds four"),
        }
        self.enter(most);
        self.leave();
    }

    fn wait(&self, place: Place) {
        let waker = Waker::from(StdArc::new(Unpark(thread::current())));
        while self.slots.poll(&place, &waker) == Poll::Pending {
            thread::park();
        }
        self.slots.keep(place);
    }

    fn enter(&self, most: usize) {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(inside <= most, "{inside} where at most {most} may be");
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.slots.release();
    }

    /// Asks for a slot and leaves again, wherever that got it.
    fn give_up(&self) {
        match self.slots.ask(Priority::Interactive) {
            Asked::Taken => self.slots.release(),
            Asked::Waits(place) => self.slots.leave(place),
            Asked::Full => panic!("the line holds four"),
        }
    }

    /// Nothing is taken, nobody waits, and a slot is one try away.
    fn assert_empty(&self) {
        let waiting = self.slots.waiting(Priority::Interactive) + self.slots.waiting(Priority::Batch);
        assert_eq!((self.slots.taken(), waiting), (0, 0));
        assert!(self.slots.try_take(), "the line is empty, but the bit says that somebody waits");
    }
}

fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.check(model);
}

#[test]
fn two_share_one_slot() {
    explore(None, || {
        let room = Room::new(1);
        let other = Arc::clone(&room);
        let thread = thread::spawn(move || other.visit(Priority::Batch, 1));
        room.visit(Priority::Interactive, 1);
        thread.join().unwrap();
        room.assert_empty();
    });
}

#[test]
fn three_share_one_slot() {
    explore(Some(3), || {
        let room = Room::new(1);
        let threads = [Priority::Interactive, Priority::Batch].map(|priority| {
            let room = Arc::clone(&room);
            thread::spawn(move || room.visit(priority, 1))
        });
        room.visit(Priority::Interactive, 1);
        for thread in threads {
            thread.join().unwrap();
        }
        room.assert_empty();
    });
}

#[test]
fn three_share_two_slots() {
    explore(Some(3), || {
        let room = Room::new(2);
        let threads = [Priority::Interactive, Priority::Interactive].map(|priority| {
            let room = Arc::clone(&room);
            thread::spawn(move || room.visit(priority, 2))
        });
        room.visit(Priority::Batch, 2);
        for thread in threads {
            thread.join().unwrap();
        }
        room.assert_empty();
    });
}

#[test]
fn a_slot_handed_to_one_who_gives_up_reaches_the_other() {
    explore(Some(3), || {
        let room = Room::new(1);
        assert!(room.slots.try_take());
        room.enter(1);
        let (gives_up, waits) = (Arc::clone(&room), Arc::clone(&room));
        let threads = [
            thread::spawn(move || gives_up.give_up()),
            thread::spawn(move || waits.visit(Priority::Interactive, 1)),
        ];
        room.leave();
        for thread in threads {
            thread.join().unwrap();
        }
        room.assert_empty();
    });
}

#[test]
fn a_limit_that_rises_lets_in_those_who_wait() {
    explore(Some(3), || {
        let room = Room::new(0);
        let visitors = [Priority::Interactive, Priority::Batch].map(|priority| {
            let room = Arc::clone(&room);
            thread::spawn(move || room.visit(priority, 1))
        });
        room.slots.set_limit(1);
        for thread in visitors {
            thread.join().unwrap();
        }
        room.assert_empty();
    });
}

#[test]
fn a_limit_that_falls_and_rises_loses_nobody() {
    explore(Some(3), || {
        let room = Room::new(1);
        let visitors = [Priority::Interactive, Priority::Interactive].map(|priority| {
            let room = Arc::clone(&room);
            thread::spawn(move || room.visit(priority, 2))
        });
        room.slots.set_limit(0);
        room.slots.set_limit(2);
        for thread in visitors {
            thread.join().unwrap();
        }
        room.assert_empty();
    });
}

/// Who takes a slot after the limit fell to one has it alone, whoever was inside before.
#[test]
fn a_limit_that_fell_holds_for_all_who_come_after() {
    explore(Some(3), || {
        let room = Room::new(2);
        let other = Arc::clone(&room);
        let visitor = thread::spawn(move || {
            other.visit(Priority::Interactive, 2);
            other.visit(Priority::Batch, 2);
        });
        room.slots.set_limit(1);
        room.visit(Priority::Interactive, 1);
        visitor.join().unwrap();
        assert_eq!((room.slots.limit(), room.slots.taken()), (1, 0));
        room.assert_empty();
    });
}
