use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. A panic of a thread that held it is no reason for the others to panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
