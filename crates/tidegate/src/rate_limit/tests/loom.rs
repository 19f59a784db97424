//! The queue with the credits of two threads, model-checked with loom: every interleaving with at most three
//! preemptions. `.ci/loom` runs them.

use std::time::{Duration, Instant};

use ::loom::model::Builder;
use ::loom::sync::Arc;
use ::loom::sync::atomic::{AtomicU64, Ordering};
use ::loom::thread;

use crate::LimitUnit;
use crate::rate_limit::cost::CallCost;
use crate::rate_limit::queue::ConcurrentQueue;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::quota_set::QuotaSet;
use crate::thread_shard::TEST_SHARD;

/// Credits of two calls.
const CALLS: u64 = 32;

/// The queue, and an independent count of the admitted calls.
struct CheckedQueue {
    queue: ConcurrentQueue,
    admitted: AtomicU64,
    now: Instant,
}

impl CheckedQueue {
    fn new() -> Arc<Self> {
        let now = Instant::now();
        let quota = Quota::new(LimitUnit::Requests, CALLS, Duration::from_micros(1));
        let queue = ConcurrentQueue::new(QuotaSet::new(&[quota], None, now), 4, 2, now);
        Arc::new(Self { queue, admitted: AtomicU64::new(0), now })
    }

    fn admit(&self, shard: usize, calls: u64) {
        TEST_SHARD.with(|test| test.set(Some(shard)));
        for _ in 0..calls {
            if let Err(mut queue) = self.queue.admit_on_credit(self.now) {
                queue.limits.try_reserve(&CallCost::ONE_CALL, 0, self.now).unwrap();
                queue.credits.record_charged();
            }
            self.admitted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

#[test]
fn every_call_on_credit_is_charged_once() {
    explore(|| {
        let checked = CheckedQueue::new();
        let other = Arc::clone(&checked);
        let thread = thread::spawn(move || other.admit(1, 4));
        checked.admit(0, 2);
        drop(checked.queue.lock());
        checked.admit(0, 2);
        thread.join().unwrap();
        let queue = checked.queue.lock();
        assert_eq!(queue.limits.total_spent().calls, 8);
        assert_eq!(queue.limits.remaining(|_| true, checked.now), Some(CALLS - 8));
    });
}

/// Two threads that share a shard.
#[test]
fn no_credit_is_used_twice() {
    explore(|| {
        let checked = CheckedQueue::new();
        let other = Arc::clone(&checked);
        let thread = thread::spawn(move || other.admit(0, 3));
        checked.admit(0, 3);
        thread.join().unwrap();
        assert_eq!(checked.queue.lock().limits.total_spent().calls, 6);
    });
}

/// Under the lock, all calls that were admitted before are charged, and none is admitted meanwhile.
#[test]
fn under_the_lock_all_admitted_calls_are_charged() {
    explore(|| {
        let checked = CheckedQueue::new();
        let other = Arc::clone(&checked);
        let thread = thread::spawn(move || other.admit(1, 4));
        let before = checked.admitted.load(Ordering::SeqCst);
        let queue = checked.queue.lock();
        let charged = queue.limits.total_spent().calls;
        assert!(before <= charged);
        thread::yield_now();
        assert!(checked.admitted.load(Ordering::SeqCst) <= charged);
        drop(queue);
        thread.join().unwrap();
    });
}
