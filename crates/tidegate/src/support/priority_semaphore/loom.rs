//! Model checking with loom: every interleaving of two threads, and of three threads those with at most three
//! preemptions (`LOOM_MAX_PREEMPTIONS` overrides this).
//!
//! `.ci/loom` runs them. Loom panics on a deadlock, so that each test also proves that no thread waits for
//! ever while a permit is free.

use std::sync::Arc as StdArc;
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ::loom::model::Builder;
use ::loom::sync::Arc;
use ::loom::sync::atomic::{AtomicUsize, Ordering};
use ::loom::thread::{self, Thread};

use super::{Order, PrioritySemaphore, Ticket, TryAcquire};
use crate::Priority;
use crate::thread_shard::TEST_SHARD;

/// The semaphore, and an independent count of the threads that hold a permit.
struct CheckedSemaphore {
    semaphore: PrioritySemaphore,
    inside: AtomicUsize,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

impl CheckedSemaphore {
    fn new(limit: usize) -> Arc<Self> {
        let semaphore = PrioritySemaphore::new(limit, 4, Order::Fifo);
        Arc::new(Self { semaphore, inside: AtomicUsize::new(0) })
    }

    /// The same, of which two threads keep permits.
    fn kept(limit: usize, max_queued: usize) -> Arc<Self> {
        let semaphore = PrioritySemaphore::new(limit, max_queued, Order::Fifo).kept_by(2);
        Arc::new(Self { semaphore, inside: AtomicUsize::new(0) })
    }

    /// Acquires and releases a permit, waiting if necessary; asserts that at most `max` threads hold one,
    /// this one included.
    fn acquire_and_release(&self, priority: Priority, max: usize) {
        match self.semaphore.try_acquire_or_enqueue(priority, 0, far_future()) {
            TryAcquire::Acquired => {}
            TryAcquire::Queued(ticket) => self.wait(ticket),
            TryAcquire::QueueFull => panic!("the queue holds four"),
        }
        self.enter(max);
        self.exit();
    }

    fn wait(&self, ticket: Ticket) {
        let waker = Waker::from(StdArc::new(Unpark(thread::current())));
        while self.semaphore.poll_granted(&ticket, &waker) == Poll::Pending {
            thread::park();
        }
        assert!(self.semaphore.accept(ticket));
    }

    fn enter(&self, max: usize) {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(inside <= max, "{inside} permits in use where at most {max} are allowed");
    }

    fn exit(&self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.semaphore.release();
    }

    /// Acquires a permit or joins the queue, and gives up at once either way.
    fn acquire_and_cancel(&self) {
        match self.semaphore.try_acquire_or_enqueue(Priority::Interactive, 0, far_future()) {
            TryAcquire::Acquired => self.semaphore.release(),
            TryAcquire::Queued(ticket) => self.semaphore.cancel(ticket),
            TryAcquire::QueueFull => panic!("the queue holds four"),
        }
    }

    /// Asserts that no permit is in use, the queue is empty and the fast path works.
    fn assert_idle(&self) {
        let queued = self.semaphore.queued(Priority::Interactive) + self.semaphore.queued(Priority::Batch);
        assert_eq!((self.semaphore.in_use(), queued), (0, 0));
        assert!(self.semaphore.try_acquire(), "the queue is empty, but the waiter bit is set");
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.check(model);
}

/// These operations of other threads, beside those of this one.
fn race<const OTHERS: usize>(
    semaphore: fn() -> Arc<CheckedSemaphore>,
    others: [fn(&CheckedSemaphore); OTHERS],
    this: fn(&CheckedSemaphore),
) {
    explore((OTHERS > 1).then_some(3), move || {
        let checked = semaphore();
        let threads = others.map(|other| {
            let checked = Arc::clone(&checked);
            thread::spawn(move || other(&checked))
        });
        this(&checked);
        threads.map(|thread| thread.join().unwrap());
        checked.assert_idle();
    });
}

/// Acquires and releases one of at most `MAX` permits.
fn interactive<const MAX: usize>(checked: &CheckedSemaphore) {
    checked.acquire_and_release(Priority::Interactive, MAX);
}

fn batch<const MAX: usize>(checked: &CheckedSemaphore) {
    checked.acquire_and_release(Priority::Batch, MAX);
}

#[test]
fn two_threads_share_one_permit() {
    race(|| CheckedSemaphore::new(1), [batch::<1>], interactive::<1>);
}

#[test]
fn three_threads_share_one_permit() {
    race(|| CheckedSemaphore::new(1), [interactive::<1>, batch::<1>], interactive::<1>);
}

#[test]
fn three_threads_share_two_permits() {
    race(|| CheckedSemaphore::new(2), [interactive::<2>, interactive::<2>], batch::<2>);
}

#[test]
fn a_permit_granted_to_a_cancelled_waiter_reaches_the_other() {
    let acquired = || {
        let checked = CheckedSemaphore::new(1);
        assert!(checked.semaphore.try_acquire());
        checked.enter(1);
        checked
    };
    race(acquired, [CheckedSemaphore::acquire_and_cancel, interactive::<1>], CheckedSemaphore::exit);
}

#[test]
fn raising_the_limit_admits_the_waiters() {
    let raise = |checked: &CheckedSemaphore| checked.semaphore.set_limit(1);
    race(|| CheckedSemaphore::new(0), [interactive::<1>, batch::<1>], raise);
}

#[test]
fn lowering_and_raising_the_limit_loses_no_waiter() {
    race(
        || CheckedSemaphore::new(1),
        [interactive::<2>, interactive::<2>],
        |checked| {
            checked.semaphore.set_limit(0);
            checked.semaphore.set_limit(2);
        },
    );
}

/// A permit acquired after the limit was lowered to one is the only one in use, whatever was in use before.
#[test]
fn a_lowered_limit_holds_for_every_later_acquire() {
    explore(Some(3), || {
        let checked = CheckedSemaphore::new(2);
        let other = Arc::clone(&checked);
        let thread = thread::spawn(move || {
            other.acquire_and_release(Priority::Interactive, 2);
            other.acquire_and_release(Priority::Batch, 2);
        });
        checked.semaphore.set_limit(1);
        checked.acquire_and_release(Priority::Interactive, 1);
        thread.join().unwrap();
        assert_eq!((checked.semaphore.limit(), checked.semaphore.in_use()), (1, 0));
        checked.assert_idle();
    });
}

fn on_shard(shard: usize) {
    TEST_SHARD.with(|test| test.set(Some(shard)));
}

/// One of two permits is free at every instant, wherever the other thread keeps it.
#[test]
fn a_call_is_not_rejected_while_another_thread_keeps_a_permit() {
    explore(Some(3), || {
        let checked = CheckedSemaphore::kept(2, 0);
        let other = Arc::clone(&checked);
        let thread = thread::spawn(move || {
            on_shard(1);
            for _ in 0..2 {
                assert!(other.semaphore.try_acquire());
                other.enter(2);
                other.exit();
            }
        });
        on_shard(0);
        for _ in 0..2 {
            assert!(checked.semaphore.can_acquire() && checked.semaphore.try_acquire());
            checked.enter(2);
            checked.exit();
        }
        thread.join().unwrap();
        checked.assert_idle();
    });
}

/// A thread that waits for both permits gets them, wherever the other thread keeps one.
#[test]
fn a_waiter_gets_the_permit_that_another_thread_would_keep() {
    explore(Some(3), || {
        let checked = CheckedSemaphore::kept(2, 4);
        let other = Arc::clone(&checked);
        let thread = thread::spawn(move || {
            on_shard(1);
            other.acquire_and_release(Priority::Interactive, 2);
            other.acquire_and_release(Priority::Interactive, 2);
        });
        on_shard(0);
        match checked.semaphore.try_acquire_or_enqueue(Priority::Interactive, 0, far_future()) {
            TryAcquire::Acquired => {}
            TryAcquire::Queued(ticket) => checked.wait(ticket),
            TryAcquire::QueueFull => panic!("the queue holds four"),
        }
        checked.enter(2);
        checked.acquire_and_release(Priority::Batch, 2);
        checked.exit();
        thread.join().unwrap();
        checked.assert_idle();
    });
}

/// Kept permits are returned when the limit is lowered: no later acquire is beyond it.
#[test]
fn no_permit_is_acquired_after_the_limit_fell_to_zero() {
    explore(Some(3), || {
        let checked = CheckedSemaphore::kept(2, 0);
        let is_zero = Arc::new(AtomicUsize::new(0));
        let (other, is_zero_there) = (Arc::clone(&checked), Arc::clone(&is_zero));
        let thread = thread::spawn(move || {
            on_shard(1);
            for _ in 0..3 {
                let was_zero = is_zero_there.load(Ordering::SeqCst) == 1;
                if other.semaphore.try_acquire() {
                    assert!(!was_zero);
                    other.semaphore.release();
                }
            }
        });
        checked.semaphore.set_limit(0);
        is_zero.store(1, Ordering::SeqCst);
        thread.join().unwrap();
        assert_eq!(checked.semaphore.in_use(), 0);
    });
}
