/// The limit, two flags and the count of permits in use, packed into one integer that is read and changed
/// atomically.
///
/// ```text
/// 63          62      32 31           30       0
/// ┌───────────┬─────────┬─────────────┬─────────┐
/// │ keeps     │  limit  │ has waiters │ in use  │
/// └───────────┴─────────┴─────────────┴─────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedState(u64);

const COUNT_MASK: u64 = (1 << 31) - 1;
const LIMIT_SHIFT: u32 = 32;

/// Threads keep permits where at least this many are free. A small limit would have to collect them often.
const MIN_FREE: usize = if cfg!(tidegate_loom) { 1 } else { 8 };

impl PackedState {
    /// One permit.
    pub(super) const ONE: u64 = 1;
    /// Set while the queue is not empty.
    pub(super) const HAS_WAITERS: u64 = 1 << 31;

    /// Set while threads may keep permits, which are counted as in use.
    const KEEPS: u64 = 1 << 63;

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
        (self.0 >> LIMIT_SHIFT & COUNT_MASK) as usize
    }

    pub(super) const fn keeps_permits(self) -> bool {
        self.0 & Self::KEEPS != 0
    }

    pub(super) const fn has_waiters(self) -> bool {
        self.0 & Self::HAS_WAITERS != 0
    }

    pub(super) fn with_limit(self, limit: usize) -> Self {
        let limit = (limit as u64).min(COUNT_MASK);
        Self(self.0 & !(COUNT_MASK << LIMIT_SHIFT) | limit << LIMIT_SHIFT)
    }

    /// Whether so many permits are free that threads may keep some.
    pub(super) const fn has_permits_to_keep(self) -> bool {
        let free = self.limit().saturating_sub(self.in_use());
        !self.has_waiters() && free >= MIN_FREE && free >= self.in_use()
    }

    /// The state in which threads may keep permits; `None` if too few are free.
    pub(super) fn with_keeping(self) -> Option<Self> {
        self.has_permits_to_keep().then_some(Self(self.0 | Self::KEEPS))
    }

    /// The state after all `kept` permits were returned.
    pub(super) const fn without_keeping(self, kept: usize) -> Self {
        Self((self.0 & !Self::KEEPS) - kept as u64)
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
