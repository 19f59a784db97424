//! What the links of a gate or member to its store have in common.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime;
use tokio::time::sleep;

use super::{Store, StoreListener, StoreUnavailable};
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// The listener of a link, which is empty before the first call.
#[derive(Default)]
pub(crate) struct JoinedListener {
    listener: OnceLock<Arc<dyn StoreListener>>,
    /// The state was read, or is being read.
    is_read: Arc<AtomicBool>,
}

/// Held by a read of the state. If it fails, or is dropped with its runtime, the next call reads.
#[derive(Debug)]
pub(crate) struct ReadGuard(Option<Arc<AtomicBool>>);

/// The shortest time between a read that failed and the next one.
const READ_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a task runs, of which there is one at a time.
#[derive(Debug, Default)]
pub(crate) struct TaskFlag(Arc<AtomicBool>);

/// Held by the task that runs. Dropped with it, also if its runtime ends: a runtime that has ended drops a
/// task while that is spawned, so that this takes no lock.
#[derive(Debug)]
pub(crate) struct TaskGuard(Arc<AtomicBool>);

/// A task that runs once more if it was requested while it ran.
#[derive(Debug, Default)]
pub(crate) struct RepeatedTask(Arc<AtomicU8>);

/// Held by the task that runs, and dropped with it, as a [`TaskGuard`] is.
#[derive(Debug)]
pub(crate) struct RunGuard(Option<Arc<AtomicU8>>);

const IDLE: u8 = 0;
const RUNS: u8 = 1;
const REQUESTED: u8 = 2;

impl RepeatedTask {
    /// Requests a run. Returns the guard for the task, unless it runs.
    pub(crate) fn request(&self) -> Option<RunGuard> {
        let before = self.0.swap(REQUESTED, Ordering::AcqRel);
        (before == IDLE).then(|| RunGuard(Some(Arc::clone(&self.0))))
    }
}

impl RunGuard {
    /// Begins a run, for everything that was requested before.
    pub(crate) fn begin_run(&self) {
        self.0.iter().for_each(|state| _ = state.swap(RUNS, Ordering::AcqRel));
    }

    /// Ends the task, unless another run was requested: then the guard is returned.
    pub(crate) fn end(mut self) -> Option<Self> {
        self.0
            .take_if(|state| state.compare_exchange(RUNS, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok());
        self.0.is_some().then_some(self)
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.0.iter().for_each(|state| state.store(IDLE, Ordering::Release));
    }
}

impl TaskFlag {
    /// The guard for a task, unless one runs.
    #[inline]
    pub(crate) fn try_begin(&self) -> Option<TaskGuard> {
        // A load leaves the cache line where it is.
        let runs = self.0.load(Ordering::Acquire) || self.0.swap(true, Ordering::AcqRel);
        (!runs).then(|| TaskGuard(Arc::clone(&self.0)))
    }

    /// Whether a task runs.
    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl JoinedListener {
    /// At the first call, listens to what other processes change at the name that `listener` returns, and
    /// reads the state in the store.
    #[inline]
    pub(crate) fn join<L: StoreListener + 'static>(
        &self,
        store: &Store,
        listener: impl FnOnce() -> (String, L),
    ) {
        if !self.is_read.load(Ordering::Relaxed) {
            self.read(store, listener);
        }
    }

    #[cold]
    fn read<L: StoreListener + 'static>(&self, store: &Store, listener: impl FnOnce() -> (String, L)) {
        if self.is_read.swap(true, Ordering::Relaxed) {
            return;
        }
        let listener = self.listener.get_or_init(|| {
            let (name, listener) = listener();
            let listener: Arc<dyn StoreListener> = Arc::new(listener);
            store.shared.listen(&name, Arc::downgrade(&listener));
            listener
        });
        listener.on_reconnected();
    }

    /// Begins a read of the state.
    pub(crate) fn begin_read(&self) -> ReadGuard {
        ReadGuard(Some(Arc::clone(&self.is_read)))
    }
}

impl ReadGuard {
    /// Ends the read. After one that has failed there is a pause. Messages are sent for changes alone.
    pub(crate) async fn end(mut self, result: Result<(), StoreUnavailable>) {
        match result {
            Ok(()) => self.0 = None,
            Err(StoreUnavailable) => sleep(READ_RETRY_INTERVAL).await,
        }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        self.0.iter().for_each(|is_read| is_read.store(false, Ordering::Relaxed));
    }
}

/// Starts a task. Returns `false` without a runtime.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> bool {
    runtime::Handle::try_current().map(|runtime| runtime.spawn(task)).is_ok()
}

#[cfg(all(test, tidegate_loom))]
mod loom {
    use ::loom::sync::{Arc, Mutex};
    use ::loom::thread;

    use super::{RepeatedTask, RunGuard};

    /// The latest value, and the one that the task has sent.
    type Sent = (RepeatedTask, Mutex<u32>, Mutex<u32>);

    fn set((task, latest, _): &Sent) -> Option<RunGuard> {
        *latest.lock().unwrap() += 1;
        task.request()
    }

    fn run((_, latest, sent): &Sent, guard: RunGuard) {
        let mut guard = Some(guard);
        while let Some(runs) = guard.take() {
            runs.begin_run();
            let value = *latest.lock().unwrap();
            *sent.lock().unwrap() = value;
            guard = runs.end();
        }
    }

    /// Regression: a value that was set in the moment in which the task ended was not sent.
    #[test]
    fn the_latest_value_is_sent() {
        ::loom::model(|| {
            let state = Arc::new(Sent::default());
            let guard = set(&state).unwrap();
            let other = Arc::clone(&state);
            let other = thread::spawn(move || set(&other).into_iter().for_each(|guard| run(&other, guard)));
            run(&state, guard);
            other.join().unwrap();
            assert_eq!(*state.2.lock().unwrap(), 2);
        });
    }
}
