use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The bytes that the request bodies of all calls may take up together. Clones share them.
#[derive(Clone)]
pub(crate) struct BodyBudget(Arc<BudgetState>);

struct BudgetState {
    limit: usize,
    used: AtomicUsize,
}

/// A part of the budget, which is released when this is dropped.
#[derive(Debug)]
pub(super) struct HeldBytes {
    budget: BodyBudget,
    bytes: usize,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BudgetExceeded;

impl BodyBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(BudgetState { limit, used: AtomicUsize::new(0) }))
    }

    /// An empty part of the budget.
    pub(super) fn hold(&self) -> HeldBytes {
        HeldBytes { budget: self.clone(), bytes: 0 }
    }
}

impl HeldBytes {
    /// Takes `bytes` more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        let BudgetState { limit, used } = &*self.budget.0;
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| used <= limit)
        });
        taken.map_err(|_| BudgetExceeded)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The bytes as a body. They are released with its last clone.
    pub(super) fn into_body(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(HeldBody { bytes, _held: self })
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct HeldBody<T> {
    bytes: T,
    _held: HeldBytes,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for HeldBody<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl fmt::Debug for BodyBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyBudget({} of {} bytes)", self.0.used.load(Ordering::Relaxed), self.0.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_until_the_last_clone_of_a_body_is_dropped() {
        let budget = BodyBudget::new(10);
        let mut held = budget.hold();
        held.grow(6).unwrap();
        held.grow(4).unwrap();
        assert_eq!(held.grow(1), Err(BudgetExceeded));
        let body = held.into_body(vec![0; 10]);
        let part = body.slice(1..2);
        drop(body);
        assert_eq!(budget.hold().grow(1), Err(BudgetExceeded));
        drop(part);
        budget.hold().grow(10).unwrap();
        assert_eq!(budget.hold().grow(usize::MAX), Err(BudgetExceeded));
    }
}
