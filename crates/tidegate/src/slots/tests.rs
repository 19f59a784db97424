use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn wait(slots: &Slots) -> Place {
    match slots.ask(Priority::Interactive) {
        Asked::Waits(place) => place,
        other => panic!("expected a place in the line, found {other:?}"),
    }
}

fn is_granted(slots: &Slots, place: &Place) -> bool {
    slots.poll(place, Waker::noop()).is_ready()
}

#[test]
fn a_freed_slot_goes_to_the_longest_waiter_and_not_to_one_who_just_came() {
    let slots = Slots::new(1, 8, Order::Fifo);
    assert!(slots.try_take());
    let (first, second) = (wait(&slots), wait(&slots));
    slots.release();
    assert!(!slots.try_take());
    assert!(is_granted(&slots, &first) && !is_granted(&slots, &second));
    slots.keep(first);
    slots.release();
    slots.keep(second);
    slots.release();
    assert!(slots.try_take());
}

#[test]
fn a_slot_handed_to_one_who_leaves_goes_on_to_the_next() {
    let slots = Slots::new(1, 8, Order::Fifo);
    assert!(slots.try_take());
    let (first, second, third) = (wait(&slots), wait(&slots), wait(&slots));
    slots.leave(second);
    slots.release();
    assert!(!is_granted(&slots, &third));
    slots.leave(first);
    assert!(is_granted(&slots, &third));
    slots.leave(third);
    assert_eq!((slots.taken(), slots.waiting(Priority::Interactive)), (0, 0));
    assert!(slots.try_take(), "nobody waits, so a slot is one try away again");
}

#[test]
fn a_higher_limit_wakes_as_many_as_it_has_room_for() {
    let slots = Slots::new(0, 8, Order::Fifo);
    let bells: [Arc<Bell>; 3] = Default::default();
    let places = bells.each_ref().map(|bell| {
        let place = wait(&slots);
        assert!(slots.poll(&place, &Waker::from(Arc::clone(bell))).is_pending());
        place
    });
    slots.set_limit(2);
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 1, 0]);
    assert_eq!(places.map(|place| is_granted(&slots, &place)), [true, true, false]);
    assert_eq!((slots.taken(), slots.limit()), (2, 2));
}

#[test]
fn a_lower_limit_takes_effect_as_slots_come_back() {
    let slots = Slots::new(3, 8, Order::Fifo);
    assert!((0..3).all(|_| slots.try_take()));
    let place = wait(&slots);
    slots.set_limit(1);
    slots.release();
    slots.release();
    assert_eq!((slots.taken(), is_granted(&slots, &place)), (1, false));
    slots.release();
    assert!(is_granted(&slots, &place));
}

#[test]
fn only_the_last_waker_given_is_woken() {
    let slots = Slots::new(0, 8, Order::Fifo);
    let (first, last) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    let place = wait(&slots);
    assert!(slots.poll(&place, &Waker::from(Arc::clone(&first))).is_pending());
    assert!(slots.poll(&place, &Waker::from(Arc::clone(&last))).is_pending());
    slots.set_limit(1);
    assert_eq!((first.rung(), last.rung()), (0, 1));
}

#[test]
fn full_is_full_for_each_priority_by_itself() {
    let slots = Slots::new(0, 1, Order::Fifo);
    let _person = wait(&slots);
    assert!(matches!(slots.ask(Priority::Interactive), Asked::Full));
    assert!(slots.is_full(Priority::Interactive) && !slots.is_full(Priority::Batch));
    assert!(matches!(slots.ask(Priority::Batch), Asked::Waits(_)));
    assert_eq!((slots.waiting(Priority::Interactive), slots.waiting(Priority::Batch)), (1, 1));
    let nobody_waits = Slots::new(1, 0, Order::Fifo);
    assert!(!nobody_waits.is_full(Priority::Batch));
    assert!(nobody_waits.try_take() && nobody_waits.is_full(Priority::Batch));
    assert!(matches!(nobody_waits.ask(Priority::Batch), Asked::Full));
}
