use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime;

/// Whether a task runs, of which there is one at a time.
#[derive(Debug, Default)]
pub(crate) struct TaskFlag(Arc<AtomicBool>);

/// Held by the task that runs. Dropped with it, also if its runtime ends: a runtime that has ended drops a
/// task while that is spawned, so that this takes no lock.
#[derive(Debug)]
pub(crate) struct TaskGuard(Arc<AtomicBool>);

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

/// Starts a task. Returns `false` without a runtime.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> bool {
    runtime::Handle::try_current().map(|runtime| runtime.spawn(task)).is_ok()
}
