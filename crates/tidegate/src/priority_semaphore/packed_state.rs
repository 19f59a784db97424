/// The limit, the waiter bit and the count of permits in use, packed into one integer that is read and
/// changed atomically.
///
/// ```text
/// 63        32 31           30       0
/// ┌───────────┬─────────────┬─────────┐
/// │   limit   │ has waiters │ in use  │
/// └───────────┴─────────────┴─────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedState(u64);

const COUNT_MASK: u64 = (1 << 31) - 1;
const LIMIT_SHIFT: u32 = 32;

impl PackedState {
    /// One permit.
    pub(super) const ONE: u64 = 1;
    /// Set while the queue is not empty.
    pub(super) const HAS_WAITERS: u64 = 1 << 31;

    /// A state with no permit in use. A limit above 2^31 - 1 is clamped to it.
    pub(super) fn new(limit: usize) -> Self {
        Self(0).with_limit(limit)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn in_use(self) -> usize {
        (self.0 & COUNT_MASK) as usize
    }

    pub(super) const fn limit(self) -> usize {
        (self.0 >> LIMIT_SHIFT) as usize
    }

    pub(super) const fn has_waiters(self) -> bool {
        self.0 & Self::HAS_WAITERS != 0
    }

    pub(super) fn with_limit(self, limit: usize) -> Self {
        let limit = (limit as u64).min(COUNT_MASK);
        Self(self.0 & (COUNT_MASK | Self::HAS_WAITERS) | limit << LIMIT_SHIFT)
    }

    /// The state after a new arrival acquires a permit; `None` if no permit is free or the queue is not
    /// empty.
    pub(super) fn with_acquired(self) -> Option<Self> {
        if self.has_waiters() { None } else { self.with_granted() }
    }

    /// The state after a permit is granted to a waiter; `None` if no permit is free.
    pub(super) fn with_granted(self) -> Option<Self> {
        (self.in_use() < self.limit()).then_some(Self(self.0 + Self::ONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_fields_are_independent() {
        let full = (0..3).fold(PackedState::new(3), |state, _| state.with_acquired().unwrap());
        assert_eq!((full.in_use(), full.limit(), full.with_acquired()), (3, 3, None));
        let queued = PackedState(full.bits() | PackedState::HAS_WAITERS).with_limit(usize::MAX);
        assert_eq!((queued.in_use(), queued.limit(), queued.has_waiters()), (3, (1 << 31) - 1, true));
        assert_eq!(queued.with_acquired(), None);
        assert_eq!(queued.with_granted().unwrap().with_limit(0).in_use(), 4);
        assert_eq!(PackedState::new(0).with_granted(), None);
    }
}
