//! A semaphore with a bounded queue per [`Priority`]: the concurrent core of backpressure, and of every other
//! place that limits concurrency.
//!
//! [`packed_state`](self::packed_state) holds the counters in one integer, and
//! [`wait_queue`](self::wait_queue) selects the next waiter. Both are plain code without synchronization; all
//! synchronization is in this file.
//!
//! The invariant: *while the waiter bit is set, a permit is acquired only under the lock.* An uncontended
//! acquire is therefore one compare-and-swap, and a new arrival cannot barge past the queue. A waiter sets
//! the bit under the lock before it checks for a free permit again, and every release or limit change reads
//! the bit after it frees a permit. Bit and count are in one atomic integer, so that at least one of the two
//! sides observes the other.
//!
//! A thread [keeps](self::kept_permits) the permits that it releases for its next calls, while at least half
//! of the limit is free. Permits are kept only while the queue is empty, and all are returned before a call
//! is queued or rejected, and after the limit was changed. So a call is rejected only at an instant at which
//! no permit is free.
//!
//! A granted permit is in use from the grant on, also while its waiter is not polled. A
//! [sweep](PrioritySemaphore::sweep) therefore revokes grants that no poll has accepted for a whole interval,
//! and takes waiters whose time is up out of the queue. Every waiter sweeps when it is polled, so that a
//! future that is kept without being polled delays the others by at most two intervals.
//!
//! ```text
//!               a permit is free                poll
//!   waiting ─────────────────────▶ granted ───────────▶ accepted
//!      │                              │
//!      │ sweep: time is up            │ sweep: not polled for an interval
//!      └─────────────▶ removed ◀──────┘
//! ```

use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use self::kept_permits::KeptPermits;
use self::packed_state::PackedState;
use crate::Priority;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, unpoisoned};
use crate::thread_shard::thread_shard;

mod flows;
mod kept_permits;
#[cfg(all(test, tidegate_loom))]
mod loom;
mod packed_state;
mod priority_shares;
mod slab_lists;
mod wait_queue;

pub(crate) use self::flows::{Arrival, Flow, NEW_FLOW, flow_of};
pub(crate) use self::priority_shares::{PriorityShares, other_than};
pub use self::wait_queue::Order;
pub(crate) use self::wait_queue::{Ticket, WaitQueue};

/// A limited number of permits and the queue of waiters. Every acquired permit must be
/// [released](Self::release).
///
/// `state` is the first field, so that it is adjacent to the reference count of the surrounding `Arc`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct PrioritySemaphore {
    state: AtomicU64,
    kept: KeptPermits,
    max_queued: usize,
    queue: Mutex<WaitQueue<Waiter>>,
    last_sweep: Mutex<Option<Instant>>,
}

/// A queued call, or one that has left the queue and has not been polled since.
#[derive(Debug)]
struct Waiter {
    state: WaiterState,
    /// The end of the wait. The waiter is not polled in time if it is still queued then.
    until: Instant,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaiterState {
    Waiting,
    /// The waiter owns a permit. `is_stale`: it did so at the last sweep already.
    Granted {
        is_stale: bool,
    },
    /// Taken out of the queue, displaced by another waiter, or its permit was revoked.
    Removed,
}

/// The least time between two sweeps.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Every waiter costs one permit.
const COST: u64 = 1;

/// The result of [`PrioritySemaphore::try_acquire_or_enqueue`].
#[derive(Debug)]
pub(crate) enum TryAcquire {
    /// A permit was free and has been acquired.
    Acquired,
    /// The call was queued. The ticket must be polled until it is granted and then
    /// [accepted](PrioritySemaphore::accept), or be [cancelled](PrioritySemaphore::cancel).
    Queued(Ticket),
    /// The queue of this priority is full.
    QueueFull,
}

impl PrioritySemaphore {
    /// A semaphore of `limit` permits and a queue of at most `max_queued` waiters per priority.
    pub(crate) fn new(limit: usize, max_queued: usize, order: Order) -> Self {
        Self {
            state: AtomicU64::new(PackedState::new(limit).bits()),
            kept: KeptPermits::new(0),
            max_queued,
            queue: Mutex::new(WaitQueue::new(max_queued, order)),
            last_sweep: Mutex::new(None),
        }
    }

    /// Lets this many threads keep permits.
    pub(crate) fn kept_by(self, threads: usize) -> Self {
        Self { kept: KeptPermits::new(threads), ..self }
    }

    pub(crate) fn limit(&self) -> usize {
        self.state().limit()
    }

    /// The number of permits in use; it exceeds the limit for a while after the limit was lowered.
    pub(crate) fn in_use(&self) -> usize {
        self.state().in_use().saturating_sub(self.kept.count())
    }

    /// The number of waiters of this priority.
    pub(crate) fn queued(&self, priority: Priority) -> usize {
        if self.state().has_waiters() { self.queue().len(priority) } else { 0 }
    }

    /// Whether an acquire would succeed now without queueing. Acquires nothing.
    #[inline]
    pub(crate) fn can_acquire(&self) -> bool {
        let state = self.state();
        state.with_acquired().is_some() || (state.keeps_permits() && self.kept.count() > 0)
    }

    /// Whether [`try_acquire_or_enqueue`](Self::try_acquire_or_enqueue) would return
    /// [`TryAcquire::QueueFull`] now. Acquires nothing.
    pub(crate) fn would_reject(&self, priority: Priority, flow: Flow) -> bool {
        !self.can_acquire() && (self.max_queued == 0 || self.queue().is_full(priority, flow))
    }

    /// Acquires a permit if one is free and the queue is empty: one compare-and-swap, unless other threads
    /// have to return those that they keep.
    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        self.kept.take(thread_shard())
            || match self.update(PackedState::with_acquired) {
                Ok(_) => true,
                Err(state) => state.keeps_permits() && self.return_and_acquire(),
            }
    }

    #[cold]
    fn return_and_acquire(&self) -> bool {
        let queue = self.queue();
        self.return_kept(&queue);
        self.update(PackedState::with_acquired).is_ok()
    }

    /// Returns the permits that threads keep. From here on none are kept until the lock is released.
    fn return_kept(&self, _: &MutexGuard<'_, WaitQueue<Waiter>>) {
        if self.state().keeps_permits() {
            let kept = self.kept.close();
            let _ = self.update(|state| Some(state.without_keeping(kept)));
        }
    }

    /// Lets this thread keep permits, if there are enough of them.
    #[cold]
    fn keep_from_now_on(&self, shard: usize) {
        if let Ok(queue) = self.queue.try_lock()
            && queue.is_empty()
            && self.update(PackedState::with_keeping).is_ok()
        {
            self.kept.open(shard);
        }
    }

    /// Acquires a permit, or joins the queue until `until`. A waiter that is displaced is woken, and queues
    /// again if there is room for it.
    pub(crate) fn try_acquire_or_enqueue(
        &self,
        priority: Priority,
        flow: Flow,
        until: Instant,
    ) -> TryAcquire {
        if self.try_acquire() {
            return TryAcquire::Acquired;
        }
        // Without a queue the failed attempt is final, and needs no lock.
        if self.max_queued == 0 {
            return TryAcquire::QueueFull;
        }
        let mut queue = self.queue();
        self.return_kept(&queue);
        let is_first = queue.is_empty();
        let waiter = Waiter { state: WaiterState::Waiting, until, waker: None };
        let Some((ticket, displaced)) = queue.enqueue(priority, flow, COST, waiter) else {
            return TryAcquire::QueueFull;
        };
        let displaced = displaced.and_then(|waiter| {
            waiter.state = WaiterState::Removed;
            waiter.waker.take()
        });
        // From here on permits are acquired under the lock only, and every release takes the lock.
        self.set_has_waiters(true);
        if is_first && self.update(PackedState::with_granted).is_ok() {
            queue.remove(ticket);
            self.set_has_waiters(false);
            return TryAcquire::Acquired;
        }
        drop(queue);
        if let Some(waker) = displaced {
            waker.wake();
        }
        TryAcquire::Queued(ticket)
    }

    /// Ready once this ticket has left the queue. It must then be [accepted](Self::accept).
    pub(crate) fn poll_granted(&self, ticket: &Ticket, waker: &Waker) -> Poll<()> {
        let mut queue = self.queue();
        let waiter = queue.get_mut(ticket);
        if waiter.state != WaiterState::Waiting {
            return Poll::Ready(());
        }
        let stale = match &waiter.waker {
            Some(stored) if stored.will_wake(waker) => None,
            _ => waiter.waker.replace(waker.clone()),
        };
        // Dropping the last waker of a task may drop the task, which may cancel a ticket and so take the
        // lock: release the lock first.
        drop(queue);
        drop(stale);
        Poll::Pending
    }

    /// Consumes a ticket that has left the queue. Returns whether the caller now owns its permit; otherwise
    /// another waiter has displaced it, or a [sweep](Self::sweep) has removed it.
    pub(crate) fn accept(&self, ticket: Ticket) -> bool {
        let waiter = self.queue().remove(ticket);
        matches!(waiter.state, WaiterState::Granted { .. })
    }

    /// Takes the waiters whose time is up out of the queue, and revokes the permits that were granted before
    /// the last sweep and not accepted since. At most one sweep is made in an interval; its cost grows with
    /// the queue.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut last_sweep = unpoisoned(self.last_sweep.lock());
        if last_sweep.is_some_and(|last| now.saturating_duration_since(last) < SWEEP_INTERVAL) {
            return;
        }
        *last_sweep = Some(now);
        drop(last_sweep);
        let mut queue = self.queue();
        let mut revoked = 0;
        queue.retain(|waiter| match &mut waiter.state {
            WaiterState::Waiting if waiter.until <= now => {
                waiter.state = WaiterState::Removed;
                false
            }
            WaiterState::Granted { is_stale: true } => {
                waiter.state = WaiterState::Removed;
                revoked += 1;
                false
            }
            WaiterState::Granted { is_stale } => {
                *is_stale = true;
                true
            }
            WaiterState::Waiting | WaiterState::Removed => true,
        });
        if queue.is_empty() {
            self.set_has_waiters(false);
        }
        drop(queue);
        (0..revoked).for_each(|_| self.release());
    }

    /// Removes a ticket from the queue; a permit that was granted to it is released to the next waiter.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        let mut queue = self.queue();
        let waiter = queue.remove(ticket);
        if queue.is_empty() {
            self.set_has_waiters(false);
        }
        drop(queue);
        if matches!(waiter.state, WaiterState::Granted { .. }) {
            self.release();
        }
    }

    /// Releases a permit and grants it to the next waiter, if there is one.
    pub(crate) fn release(&self) {
        let shard = thread_shard();
        if self.kept.keep(shard) {
            return;
        }
        let before = PackedState::from_bits(self.state.fetch_sub(PackedState::ONE, Ordering::AcqRel));
        debug_assert!(before.in_use() > 0, "released a permit that was not acquired");
        if before.has_waiters() {
            self.grant_waiting();
        } else if before.has_permits_to_keep() && self.kept.can_open(shard) {
            self.keep_from_now_on(shard);
        }
    }

    /// Changes the limit. New permits are granted at once; a lower limit takes effect as permits are
    /// released.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.store_limit(limit);
        if self.state().keeps_permits() {
            self.return_kept(&self.queue());
        }
        self.grant_waiting();
    }

    /// Changes the limit without waking any waiter, for callers that hold a lock, where no thread keeps
    /// permits. A call of [`grant_waiting`](Self::grant_waiting) must follow.
    pub(crate) fn store_limit(&self, limit: usize) {
        let _ = self.update(|state| Some(state.with_limit(limit)));
    }

    /// Grants free permits to waiters. The wakers are called without the lock.
    pub(crate) fn grant_waiting(&self) {
        if !self.state().has_waiters() {
            return;
        }
        while let Some(waker) = self.grant_next() {
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Grants a free permit to the next waiter. `None` if there is no waiter or no free permit; `Some(None)`
    /// if the waiter has no waker because it has not been polled yet.
    fn grant_next(&self) -> Option<Option<Waker>> {
        let mut queue = self.queue();
        if queue.is_empty() || self.update(PackedState::with_granted).is_err() {
            return None;
        }
        let waiter = queue.pop().expect("the queue is not empty");
        waiter.state = WaiterState::Granted { is_stale: false };
        let waker = waiter.waker.take();
        if queue.is_empty() {
            self.set_has_waiters(false);
        }
        Some(waker)
    }

    /// Must be called under the lock.
    fn set_has_waiters(&self, has_waiters: bool) {
        if has_waiters {
            self.state.fetch_or(PackedState::HAS_WAITERS, Ordering::AcqRel);
        } else {
            self.state.fetch_and(!PackedState::HAS_WAITERS, Ordering::AcqRel);
        }
    }

    /// Applies `change` atomically. `Ok` holds the previous state; `Err` the current one, if `change`
    /// returned `None`.
    fn update(
        &self,
        change: impl Fn(PackedState) -> Option<PackedState>,
    ) -> Result<PackedState, PackedState> {
        let mut state = self.state();
        loop {
            let Some(next) = change(state) else { return Err(state) };
            let swapped = self.state.compare_exchange_weak(
                state.bits(),
                next.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => return Ok(state),
                Err(bits) => state = PackedState::from_bits(bits),
            }
        }
    }

    fn state(&self) -> PackedState {
        PackedState::from_bits(self.state.load(Ordering::Acquire))
    }

    fn queue(&self) -> MutexGuard<'_, WaitQueue<Waiter>> {
        unpoisoned(self.queue.lock())
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests;
