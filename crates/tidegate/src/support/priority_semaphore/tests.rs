use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;
use crate::thread_shard::TEST_SHARD;

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

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn wait(semaphore: &PrioritySemaphore) -> Ticket {
    match semaphore.try_acquire_or_enqueue(Priority::Interactive, 0, far_future()) {
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
    assert!(matches!(
        semaphore.try_acquire_or_enqueue(Priority::Interactive, 0, far_future()),
        TryAcquire::QueueFull
    ));
    assert!(semaphore.would_reject(Priority::Interactive, 0) && !semaphore.would_reject(Priority::Batch, 0));
    assert!(matches!(
        semaphore.try_acquire_or_enqueue(Priority::Batch, 0, far_future()),
        TryAcquire::Queued(_)
    ));
    assert_eq!((semaphore.queued(Priority::Interactive), semaphore.queued(Priority::Batch)), (1, 1));
    let without_queue = PrioritySemaphore::new(1, 0, Order::Fifo);
    assert!(!without_queue.would_reject(Priority::Batch, 0));
    assert!(without_queue.try_acquire() && without_queue.would_reject(Priority::Batch, 0));
    assert!(matches!(
        without_queue.try_acquire_or_enqueue(Priority::Batch, 0, far_future()),
        TryAcquire::QueueFull
    ));
}

/// Regression: a call that was granted a permit and not polled held it without end.
#[test]
fn a_grant_that_is_not_accepted_for_an_interval_is_revoked() {
    let semaphore = PrioritySemaphore::new(1, 8, Order::Fifo);
    let start = Instant::now();
    assert!(semaphore.try_acquire());
    let (unpolled, second) = (wait(&semaphore), wait(&semaphore));
    semaphore.release();
    semaphore.sweep(start);
    assert!(!is_granted(&semaphore, &second), "the first sweep only marks the grant");
    semaphore.sweep(start + SWEEP_INTERVAL / 2);
    assert!(!is_granted(&semaphore, &second), "too early for another sweep");
    semaphore.sweep(start + SWEEP_INTERVAL);
    assert!(is_granted(&semaphore, &second));
    assert_eq!(semaphore.in_use(), 1);
    assert!(!semaphore.accept(unpolled), "its permit belongs to the second");
    assert!(semaphore.accept(second));
    semaphore.release();
    assert!(semaphore.in_use() == 0 && semaphore.try_acquire());
}

/// Regression: a call whose time was up and that was not polled was granted the next permit.
#[test]
fn a_waiter_whose_time_is_up_is_passed_over() {
    let semaphore = PrioritySemaphore::new(1, 2, Order::Fifo);
    let start = Instant::now();
    assert!(semaphore.try_acquire());
    let enqueue = |until| match semaphore.try_acquire_or_enqueue(Priority::Interactive, 0, until) {
        TryAcquire::Queued(ticket) => ticket,
        other => panic!("expected a queued call, found {other:?}"),
    };
    let (late, second) = (enqueue(start + SWEEP_INTERVAL), enqueue(far_future()));
    semaphore.sweep(start + SWEEP_INTERVAL);
    assert_eq!(semaphore.queued(Priority::Interactive), 1, "its place in the queue is free as well");
    semaphore.release();
    assert!(is_granted(&semaphore, &second));
    semaphore.cancel(late);
    assert_eq!((semaphore.in_use(), semaphore.accept(second)), (1, true));
}

fn on_shard<T>(shard: usize, run: impl FnOnce() -> T) -> T {
    TEST_SHARD.with(|test| test.set(Some(shard)));
    let result = run();
    TEST_SHARD.with(|test| test.set(None));
    result
}

/// A semaphore of which every thread of `threads` keeps `each` permits, at most two.
fn kept(limit: usize, max_queued: usize, threads: usize, each: usize) -> PrioritySemaphore {
    let semaphore = PrioritySemaphore::new(limit, max_queued, Order::Fifo).kept_by(threads);
    for shard in 0..threads {
        on_shard(shard, || {
            // The first release lets the thread keep the next ones.
            assert!(semaphore.try_acquire());
            semaphore.release();
            assert!((0..each).all(|_| semaphore.try_acquire()));
            (0..each).for_each(|_| semaphore.release());
        });
    }
    assert_eq!((semaphore.state().in_use(), semaphore.in_use()), (threads * each, 0));
    semaphore
}

#[test]
fn a_thread_takes_the_permits_that_it_keeps_without_a_write_to_the_shared_state() {
    let semaphore = kept(16, 8, 2, 2);
    let before = semaphore.state();
    on_shard(1, || assert!(semaphore.try_acquire() && semaphore.try_acquire()));
    assert_eq!((semaphore.state(), semaphore.in_use()), (before, 2));
    on_shard(0, || (0..2).for_each(|_| semaphore.release()));
    assert_eq!((semaphore.state().in_use(), semaphore.in_use()), (2, 0), "of four, the first keeps two");
}

#[test]
fn permits_that_other_threads_keep_are_free_for_every_call() {
    for max_queued in [0, 8] {
        let semaphore = kept(16, max_queued, 3, 2);
        on_shard(3, || assert!((0..16).all(|_| semaphore.can_acquire() && semaphore.try_acquire())));
        assert!(!semaphore.can_acquire() && !semaphore.try_acquire());
        assert_eq!(semaphore.in_use(), 16);
    }
}

#[test]
fn while_a_call_waits_no_permit_is_kept() {
    let semaphore = kept(16, 8, 2, 2);
    (0..16).for_each(|_| assert!(semaphore.try_acquire()));
    let ticket = wait(&semaphore);
    on_shard(0, || semaphore.release());
    assert!(is_granted(&semaphore, &ticket));
    assert!(semaphore.accept(ticket));
}

#[test]
fn no_kept_permit_outlives_a_lower_limit() {
    let semaphore = kept(32, 0, 2, 2);
    assert!((0..8).all(|_| semaphore.try_acquire()));
    semaphore.set_limit(8);
    for shard in 0..3 {
        on_shard(shard, || assert!(!semaphore.can_acquire() && !semaphore.try_acquire()));
    }
    semaphore.set_limit(9);
    assert!(semaphore.try_acquire());
}

#[test]
fn a_small_limit_is_not_kept_by_threads() {
    let semaphore = PrioritySemaphore::new(7, 0, Order::Fifo).kept_by(2);
    for _ in 0..4 {
        assert!(semaphore.try_acquire());
        semaphore.release();
    }
    assert_eq!(semaphore.state().in_use(), 0);
}

proptest::proptest! {
    /// Whatever the interleaving: permits in use are those that were acquired, granted and accepted, the
    /// limit is kept, a call is queued or rejected only if no permit is free, and at the end everything is
    /// free.
    #[test]
    fn sweeps_lose_and_invent_no_permit(
        steps in proptest::collection::vec((0u8..12, 0usize..8, 0u64..700, 0usize..3), 1..300),
        mut limit in 1usize..20,
        max_queued in 0usize..5,
        threads in 0usize..4,
    ) {
        let semaphore = PrioritySemaphore::new(limit, max_queued, Order::Fifo).kept_by(threads);
        let mut now = Instant::now();
        let (mut tickets, mut held) = (Vec::new(), 0usize);
        for (step, index, millis, shard) in steps {
            now += Duration::from_millis(millis);
            TEST_SHARD.with(|test| test.set(Some(shard)));
            match step {
                0 | 1 | 6 | 7 | 8 => {
                    let priority = if index % 3 == 0 { Priority::Batch } else { Priority::Interactive };
                    let until = now + Duration::from_millis(100 * index as u64);
                    let is_free = semaphore.can_acquire();
                    let acquired = semaphore.try_acquire_or_enqueue(priority, 0, until);
                    proptest::prop_assert_eq!(is_free, matches!(acquired, TryAcquire::Acquired));
                    match acquired {
                        TryAcquire::Acquired => {
                            held += 1;
                            proptest::prop_assert!(semaphore.in_use() <= limit);
                        }
                        TryAcquire::Queued(ticket) => tickets.push(ticket),
                        TryAcquire::QueueFull => {}
                    }
                    if !is_free {
                        proptest::prop_assert!(semaphore.in_use() >= limit);
                    }
                }
                9 if index == 0 => {
                    limit = 1 + (millis as usize) % 19;
                    semaphore.set_limit(limit);
                }
                10 if held > 0 => {
                    held -= 1;
                    semaphore.release();
                }
                2 if held > 0 => {
                    held -= 1;
                    semaphore.release();
                }
                3 => semaphore.sweep(now),
                4 if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(index % tickets.len());
                    if is_granted(&semaphore, &ticket) { held += usize::from(semaphore.accept(ticket)) } else { tickets.push(ticket) }
                }
                5 if !tickets.is_empty() => semaphore.cancel(tickets.swap_remove(index % tickets.len())),
                _ => {}
            }
            let in_use = semaphore.in_use();
            proptest::prop_assert!(held <= in_use && in_use <= held + tickets.len());
        }
        tickets.into_iter().for_each(|ticket| semaphore.cancel(ticket));
        (0..held).for_each(|_| semaphore.release());
        proptest::prop_assert_eq!(semaphore.in_use(), 0);
        proptest::prop_assert!(semaphore.try_acquire(), "the queue is empty, so that the fast path works");
    }
}
