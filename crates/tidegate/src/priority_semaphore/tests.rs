use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;

/// A waker that counts its wake-ups.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl WakeCounter {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn wait(semaphore: &PrioritySemaphore) -> Ticket {
    match semaphore.try_acquire_or_enqueue(Priority::Interactive) {
        TryAcquire::Queued(ticket) => ticket,
        other => panic!("expected a queued call, found {other:?}"),
    }
}

fn is_granted(semaphore: &PrioritySemaphore, ticket: &Ticket) -> bool {
    semaphore.poll_granted(ticket, Waker::noop()).is_ready()
}

#[test]
fn a_released_permit_is_granted_to_the_longest_waiter_before_new_arrivals() {
    let semaphore = PrioritySemaphore::new(1, 8, Order::Fifo);
    assert!(semaphore.try_acquire());
    let (first, second) = (wait(&semaphore), wait(&semaphore));
    semaphore.release();
    assert!(!semaphore.try_acquire());
    assert!(is_granted(&semaphore, &first) && !is_granted(&semaphore, &second));
    semaphore.accept(first);
    semaphore.release();
    semaphore.accept(second);
    semaphore.release();
    assert!(semaphore.try_acquire());
}

#[test]
fn a_permit_granted_to_a_cancelled_waiter_is_passed_to_the_next() {
    let semaphore = PrioritySemaphore::new(1, 8, Order::Fifo);
    assert!(semaphore.try_acquire());
    let (first, second, third) = (wait(&semaphore), wait(&semaphore), wait(&semaphore));
    semaphore.cancel(second);
    semaphore.release();
    assert!(!is_granted(&semaphore, &third));
    semaphore.cancel(first);
    assert!(is_granted(&semaphore, &third));
    semaphore.cancel(third);
    assert_eq!((semaphore.in_use(), semaphore.queued(Priority::Interactive)), (0, 0));
    assert!(semaphore.try_acquire(), "the queue is empty, so that the fast path works again");
}

#[test]
fn a_higher_limit_wakes_as_many_waiters_as_it_has_permits() {
    let semaphore = PrioritySemaphore::new(0, 8, Order::Fifo);
    let counters: [Arc<WakeCounter>; 3] = Default::default();
    let tickets = counters.each_ref().map(|counter| {
        let ticket = wait(&semaphore);
        assert!(semaphore.poll_granted(&ticket, &Waker::from(Arc::clone(counter))).is_pending());
        ticket
    });
    semaphore.set_limit(2);
    assert_eq!(counters.each_ref().map(|counter| counter.wakes()), [1, 1, 0]);
    assert_eq!(tickets.map(|ticket| is_granted(&semaphore, &ticket)), [true, true, false]);
    assert_eq!((semaphore.in_use(), semaphore.limit()), (2, 2));
}

#[test]
fn a_lower_limit_takes_effect_as_permits_are_released() {
    let semaphore = PrioritySemaphore::new(3, 8, Order::Fifo);
    assert!((0..3).all(|_| semaphore.try_acquire()));
    let ticket = wait(&semaphore);
    semaphore.set_limit(1);
    semaphore.release();
    semaphore.release();
    assert_eq!((semaphore.in_use(), is_granted(&semaphore, &ticket)), (1, false));
    semaphore.release();
    assert!(is_granted(&semaphore, &ticket));
}

#[test]
fn only_the_latest_waker_is_woken() {
    let semaphore = PrioritySemaphore::new(0, 8, Order::Fifo);
    let (first, last) = (Arc::new(WakeCounter::default()), Arc::new(WakeCounter::default()));
    let ticket = wait(&semaphore);
    assert!(semaphore.poll_granted(&ticket, &Waker::from(Arc::clone(&first))).is_pending());
    assert!(semaphore.poll_granted(&ticket, &Waker::from(Arc::clone(&last))).is_pending());
    semaphore.set_limit(1);
    assert_eq!((first.wakes(), last.wakes()), (0, 1));
}

#[test]
fn each_priority_has_its_own_queue_bound() {
    let semaphore = PrioritySemaphore::new(0, 1, Order::Fifo);
    let _interactive = wait(&semaphore);
    assert!(matches!(semaphore.try_acquire_or_enqueue(Priority::Interactive), TryAcquire::QueueFull));
    assert!(semaphore.would_reject(Priority::Interactive) && !semaphore.would_reject(Priority::Batch));
    assert!(matches!(semaphore.try_acquire_or_enqueue(Priority::Batch), TryAcquire::Queued(_)));
    assert_eq!((semaphore.queued(Priority::Interactive), semaphore.queued(Priority::Batch)), (1, 1));
    let without_queue = PrioritySemaphore::new(1, 0, Order::Fifo);
    assert!(!without_queue.would_reject(Priority::Batch));
    assert!(without_queue.try_acquire() && without_queue.would_reject(Priority::Batch));
    assert!(matches!(without_queue.try_acquire_or_enqueue(Priority::Batch), TryAcquire::QueueFull));
}
