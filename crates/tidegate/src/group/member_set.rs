/// A set of members by their positions in the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberSet(u64);

impl MemberSet {
    /// The most members of a group.
    pub(super) const MAX: usize = 64;

    /// The first `count` members.
    pub(super) const fn first(count: usize) -> Self {
        if count >= Self::MAX { Self(u64::MAX) } else { Self((1 << count) - 1) }
    }

    #[must_use]
    pub(super) const fn with(self, index: usize) -> Self {
        Self(self.0 | 1 << index)
    }

    #[must_use]
    pub(super) const fn without(self, index: usize) -> Self {
        Self(self.0 & !(1 << index))
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    /// The positions, in ascending order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            (left != 0).then(|| {
                left &= left - 1;
                index
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_each_member_once_and_in_order() {
        let set = MemberSet::first(MemberSet::MAX).without(0).without(63).with(63).with(5);
        assert!(set.iter().eq(1..64));
        assert!(MemberSet::first(3).without(1).with(1).iter().eq(0..3));
        assert!(set.contains(63) && set.contains(5) && !set.contains(0));
        assert!(MemberSet::first(0).is_empty() && !MemberSet::first(1).is_empty());
    }
}
