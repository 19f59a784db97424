//! The synchronisation primitives of the concurrent data structures: those of the standard library, or those
//! of loom, which tries every interleaving (`.ci/loom`).

#[cfg(not(tidegate_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(tidegate_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

/// The guard of a lock. A panic of a thread that held it is no reason for the others to panic.
pub(crate) fn unpoisoned<G>(guard: std::sync::LockResult<G>) -> G {
    guard.unwrap_or_else(std::sync::PoisonError::into_inner)
}
