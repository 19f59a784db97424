use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The bytes that the request bodies of all calls may take up together. Clones share them.
#[derive(Clone)]
pub(crate) struct BodyBudget {
    all: ByteCount,
    /// The bytes of one caller, for its calls.
    of_caller: Option<ByteCount>,
}

/// The bytes that the request bodies of a caller take up.
#[derive(Clone, Debug, Default)]
pub(super) struct CallerBytes(Arc<AtomicUsize>);

/// A number of bytes with a limit.
#[derive(Clone)]
struct ByteCount {
    limit: usize,
    used: Arc<AtomicUsize>,
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
        Self { all: ByteCount { limit, used: Arc::default() }, of_caller: None }
    }

    /// The same bytes under another limit.
    pub(crate) fn with_limit(&self, limit: usize) -> Self {
        Self { all: ByteCount { limit, ..self.all.clone() }, of_caller: None }
    }

    pub(super) const fn limit(&self) -> usize {
        self.all.limit
    }

    /// The same bytes, of which this caller may take up `limit`.
    pub(super) fn of_caller(&self, limit: usize, CallerBytes(used): &CallerBytes) -> Self {
        Self { of_caller: Some(ByteCount { limit, used: Arc::clone(used) }), ..self.clone() }
    }

    fn counts(&self) -> impl Iterator<Item = &ByteCount> {
        self.of_caller.iter().chain([&self.all])
    }

    /// An empty part of the budget.
    pub(super) fn hold(&self) -> HeldBytes {
        HeldBytes { budget: self.clone(), bytes: 0 }
    }
}

impl ByteCount {
    fn take(&self, bytes: usize) -> Result<(), BudgetExceeded> {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.limit)
        });
        taken.map(drop).map_err(|_| BudgetExceeded)
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl HeldBytes {
    /// Takes `bytes` more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        let BodyBudget { all, of_caller } = &self.budget;
        of_caller.as_ref().map_or(Ok(()), |count| count.take(bytes))?;
        if let Err(exceeded) = all.take(bytes) {
            of_caller.iter().for_each(|count| count.release(bytes));
            return Err(exceeded);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Takes over the part of `other`.
    pub(super) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// The bytes as a body. They are released with its last clone.
    pub(super) fn into_body(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(HeldBody { bytes, _held: self })
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.budget.counts().for_each(|count| count.release(self.bytes));
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
        write!(f, "BodyBudget({} of {} bytes)", self.all.used.load(Ordering::Relaxed), self.all.limit)
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

    #[test]
    fn another_limit_counts_the_bytes_that_are_held_already() {
        let budget = BodyBudget::new(10);
        let mut held = budget.hold();
        held.grow(8).unwrap();
        let raised = budget.with_limit(12);
        assert_eq!(raised.hold().grow(5), Err(BudgetExceeded));
        raised.hold().grow(4).unwrap();
        drop(held);
        raised.hold().grow(12).unwrap();
    }
}
