use super::member_set::MemberSet;

/// The weights of the members of a group, for draws at random.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// Relative to their mean.
    relative: Box<[f32]>,
    /// The weights laid end to end on [`TOTAL`] points: where that of each member ends.
    ends: Box<[u64]>,
    all: MemberSet,
    /// They do not differ, and there are at least two.
    is_equal: bool,
}

/// The points of all members together. A draw is a 32-bit number, so it is a point as it is.
const TOTAL: u64 = 1 << 32;

impl Weights {
    /// Positive weights, of at most [`MemberSet::MAX`] members.
    pub(super) fn new(weights: impl IntoIterator<Item = f32>) -> Self {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let sum: f64 = weights.iter().sum();
        let relative = weights.iter().map(|weight| (weight * weights.len() as f64 / sum) as f32).collect();
        let mut end = 0.0;
        let mut ends: Box<[u64]> = weights
            .iter()
            .map(|weight| {
                end += weight;
                (end / sum * TOTAL as f64) as u64
            })
            .collect();
        // Sums of floating-point numbers depend on their order.
        if let Some(last) = ends.last_mut() {
            *last = TOTAL;
        }
        let is_equal = weights.len() > 1 && weights.iter().all(|weight| *weight == weights[0]);
        Self { relative, ends, all: MemberSet::first(weights.len()), is_equal }
    }

    /// The weight of a member, relative to the mean of all.
    #[inline]
    pub(super) fn relative(&self, index: usize) -> f32 {
        self.relative[index]
    }

    /// The members with these weights.
    #[inline]
    pub(super) const fn all(&self) -> MemberSet {
        self.all
    }

    /// Two different members of `among`, or the only one. `random` is any number, each as likely as the others.
    #[inline]
    pub(super) fn draw_two(&self, among: MemberSet, random: u64) -> Option<(usize, Option<usize>)> {
        let (first, second) = (random >> 32, random & (TOTAL - 1));
        if !self.is_equal || among != self.all {
            return self.draw_two_by_weight(among, first, second);
        }
        // By position, without a search.
        let count = self.ends.len() as u64;
        let (one, other) = ((first * count) >> 32, (second * (count - 1)) >> 32);
        Some((one as usize, Some((other + u64::from(other >= one)) as usize)))
    }

    #[inline(never)]
    fn draw_two_by_weight(
        &self,
        among: MemberSet,
        first: u64,
        second: u64,
    ) -> Option<(usize, Option<usize>)> {
        if among != self.all || self.ends.len() < 2 {
            return self.draw_two_of_some(among, first, second);
        }
        let (one, own) = self.at(first);
        // A point among those of the others.
        let mut point = (second * (TOTAL - own.len)) >> 32;
        if point >= own.begin {
            point += own.len;
        }
        Some((one, Some(self.at(point).0)))
    }

    #[cold]
    fn draw_two_of_some(&self, among: MemberSet, first: u64, second: u64) -> Option<(usize, Option<usize>)> {
        let one = self.draw(among, first)?;
        Some((one, self.draw(among.without(one), second)))
    }

    fn draw(&self, among: MemberSet, random: u64) -> Option<usize> {
        let total: u64 = among.iter().map(|index| self.points(index).len).sum();
        let mut point = (random * total) >> 32;
        among.iter().find(|index| {
            let len = self.points(*index).len;
            let is_here = point < len;
            point = point.saturating_sub(len);
            is_here
        })
    }

    /// The member at a point.
    #[inline]
    fn at(&self, point: u64) -> (usize, Points) {
        let index = self.ends.partition_point(|end| *end <= point);
        (index, self.points(index))
    }

    #[inline]
    fn points(&self, index: usize) -> Points {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        Points { begin, len: self.ends[index] - begin }
    }
}

/// The points of a member.
struct Points {
    begin: u64,
    len: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_weights_share_all_points() {
        let weights = Weights::new([0.001, 1_000.0, 1.0, 3.0]);
        let lens: Vec<_> = (0..4).map(|index| weights.points(index).len).collect();
        assert_eq!(lens.iter().sum::<u64>(), TOTAL);
        assert!(lens[0] > 4_000 && lens[3].abs_diff(3 * lens[2]) < 3, "{lens:?}");
        assert!((weights.relative(1) - 3.984).abs() < 0.001);
    }

    #[test]
    fn each_member_is_second_by_its_weight_among_the_others() {
        let weights = Weights::new([2.0, 1.0, 1.0]);
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [[0_u32; 3]; 3];
        for _ in 0..40_000 {
            let (first, second) = weights.draw_two(weights.all(), random.u64(..)).unwrap();
            counts[first][second.unwrap()] += 1;
        }
        let share = |first: usize, second: usize| {
            f64::from(counts[first][second]) / f64::from(counts[first].iter().sum::<u32>())
        };
        assert!((share(0, 1) - 0.5).abs() < 0.02 && (share(1, 0) - 0.667).abs() < 0.02, "{counts:?}");
        assert!((0..3).all(|index| counts[index][index] == 0), "{counts:?}");
    }

    proptest! {
        /// All members or some: two different ones of the set are drawn, whatever the number is.
        #[test]
        fn two_different_members_of_the_set_are_drawn(
            values in prop_oneof![
                prop::collection::vec(0.001_f32..1_000.0, 1..=MemberSet::MAX),
                (1..=MemberSet::MAX).prop_map(|count| vec![1.0; count]),
            ],
            members: u64,
            random in prop_oneof![Just(0), Just(u64::MAX), any::<u64>()],
        ) {
            let weights = Weights::new(values);
            let some = weights.all().iter().filter(|index| members >> index & 1 == 1);
            for among in [weights.all(), some.fold(MemberSet::default(), MemberSet::with)] {
                let count = among.iter().count();
                let drawn = weights.draw_two(among, random);
                prop_assert_eq!(drawn.is_some(), count > 0);
                if let Some((first, second)) = drawn {
                    prop_assert!(among.iter().any(|index| index == first));
                    prop_assert_eq!(second.is_some(), count > 1);
                    prop_assert!(second.is_none_or(|it| it != first && among.iter().any(|index| index == it)));
                }
            }
        }
    }
}
