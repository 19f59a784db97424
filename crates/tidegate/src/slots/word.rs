/// The whole count in one number, so that every question about it has one answer at one moment.
///
/// ```text
/// 63        32 31           30       0
/// ┌───────────┬─────────────┬─────────┐
/// │   limit   │ waited for? │  taken  │
/// └───────────┴─────────────┴─────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

const MOST: u64 = (1 << 31) - 1;
const LIMIT_AT: u32 = 32;

impl Word {
    /// One slot.
    pub(super) const ONE: u64 = 1;
    /// Set while somebody waits.
    pub(super) const WAITED_FOR: u64 = 1 << 31;

    /// Nothing taken. A limit above 2^31 - 1 is taken as that.
    pub(super) fn new(limit: usize) -> Self {
        Self(0).with_limit(limit)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn taken(self) -> usize {
        (self.0 & MOST) as usize
    }

    pub(super) const fn limit(self) -> usize {
        (self.0 >> LIMIT_AT) as usize
    }

    pub(super) const fn is_waited_for(self) -> bool {
        self.0 & Self::WAITED_FOR != 0
    }

    pub(super) fn with_limit(self, limit: usize) -> Self {
        let limit = (limit as u64).min(MOST);
        Self(self.0 & (MOST | Self::WAITED_FOR) | limit << LIMIT_AT)
    }

    /// One more taken, by one who just came: only if there is room and nobody waits.
    pub(super) fn taking(self) -> Option<Self> {
        if self.is_waited_for() { None } else { self.handing() }
    }

    /// One more taken, by one who waits or comes first: only if there is room.
    pub(super) fn handing(self) -> Option<Self> {
        (self.taken() < self.limit()).then_some(Self(self.0 + Self::ONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_parts_do_not_touch_each_other() {
        let full = (0..3).fold(Word::new(3), |word, _| word.taking().unwrap());
        assert_eq!((full.taken(), full.limit(), full.taking()), (3, 3, None));
        let waited = Word(full.bits() | Word::WAITED_FOR).with_limit(usize::MAX);
        assert_eq!((waited.taken(), waited.limit(), waited.is_waited_for()), (3, (1 << 31) - 1, true));
        assert_eq!(waited.taking(), None);
        assert_eq!(waited.handing().unwrap().with_limit(0).taken(), 4);
        assert_eq!(Word::new(0).handing(), None);
    }
}
