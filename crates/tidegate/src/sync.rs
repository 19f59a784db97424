//! The synchronisation primitives of the concurrent data structures: those of the standard library, or those
//! of loom, which tries every interleaving (`.ci/loom`).

#[cfg(not(tidegate_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(tidegate_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
