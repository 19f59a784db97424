use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{GatesBelow, Handle};

/// What a service, its clones and their calls under way have in common.
///
/// In one place, so that a call that begins and ends writes to one count of owners. A stack is a dozen shared parts; a
/// clone of it for every call, for a second attempt that hardly one of them makes, wrote to the counts of all of them
/// twice.
pub(super) struct RetryShared<S> {
    pub(super) handle: Handle,
    pub(super) gates_below: GatesBelow,
    /// What second attempts are made with clones of; there is none before the first call that may need one.
    spare: OnceLock<Mutex<S>>,
}

impl<S> RetryShared<S> {
    pub(super) fn new(handle: Handle, gates_below: GatesBelow) -> Self {
        Self { handle, gates_below, spare: OnceLock::new() }
    }
}

impl<S: Clone> RetryShared<S> {
    /// A call goes to `service` that may need a clone of it.
    pub(super) fn keep_service(&self, service: &S) {
        self.spare.get_or_init(|| Mutex::new(service.clone()));
    }

    /// A service for one more attempt, yet to be made ready. Behind a lock, as not every service may be looked at by
    /// two threads at once; it is for those alone that ask again.
    pub(super) fn clone_service(&self) -> S {
        let spare = self.spare.get().expect("kept before the first attempt");
        spare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S> fmt::Debug for RetryShared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handle, gates_below, .. } = self;
        f.debug_struct("RetryShared").field("handle", handle).field("gates_below", gates_below).finish_non_exhaustive()
    }
}
