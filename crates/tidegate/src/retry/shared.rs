use std::sync::{Arc, Mutex, OnceLock};

use super::Handle;
use crate::attempt::AttemptGates;
use crate::sync::unpoisoned;
use crate::thread_shard::ByThread;

/// State that a service, its clones and their calls in progress share. Each thread has a copy.
///
/// A copy is one allocation, so that each call updates one reference count when it begins and one when it
/// ends. A stack consists of a dozen shared parts. A clone of the stack for every call, for a second attempt
/// that is rarely made, updated the reference counts of all of them twice.
// Two cache lines, because processors prefetch them in pairs.
#[repr(align(128))]
pub(super) struct RetryShared<S> {
    pub(super) handle: Handle,
    pub(super) gates_below: Option<AttemptGates>,
    /// Cloned for second attempts; empty before the first call that may need one.
    spare: Arc<OnceLock<Mutex<S>>>,
}

impl<S> RetryShared<S> {
    pub(super) fn new(handle: Handle, gates_below: Option<AttemptGates>) -> Self {
        Self { handle, gates_below, spare: Arc::default() }
    }

    /// The same state with a spare of its own, for a service that may differ from its clones.
    pub(super) fn with_own_spare(&self) -> Self {
        Self::new(self.handle.clone(), self.gates_below.clone())
    }

    /// The state as the services hold it.
    pub(super) fn by_thread(self) -> ByThread<Arc<Self>> {
        ByThread::new(Arc::new(self), |original| {
            let Self { handle, gates_below, spare } = &**original;
            let (handle, gates_below) = (handle.clone(), gates_below.clone());
            Arc::new(Self { handle, gates_below, spare: Arc::clone(spare) })
        })
    }
}

impl<S: Clone> RetryShared<S> {
    /// Keeps a clone of `service` for retries, if there is none yet.
    pub(super) fn keep_service(&self, service: &S) {
        self.spare.get_or_init(|| Mutex::new(service.clone()));
    }

    /// A service for one more attempt, not yet ready. It is behind a lock, since a service need not be
    /// `Sync`; only retries take the lock.
    pub(super) fn clone_service(&self) -> S {
        let spare = self.spare.get().expect("kept before the first attempt");
        unpoisoned(spare.lock()).clone()
    }
}

partial_debug!([S] RetryShared<S>, "RetryShared", handle, gates_below);
