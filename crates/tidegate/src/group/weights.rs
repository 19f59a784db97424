use super::choice::Drawn;
use super::member_set::MemberSet;

/// The weights of the members of a group, for draws at random.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// Relative to their mean.
    relative: Box<[f32]>,
    /// A table for draws among all members; then for each member one for draws among the others.
    tables: Box<[AliasSlot]>,
    all: MemberSet,
    /// All members, if there are at least two: draws among them are by the tables. Else a set that no draw is
    /// among.
    tabled: MemberSet,
}

/// One of as many equal parts of a draw as there are members. It belongs to its own member up to `end`, of
/// [`WHOLE`], and to another one from there (the alias method: Walker, 1977; tables as by Vose, "A Linear
/// Algorithm for Generating Random Numbers with a Given Distribution", 1991).
#[derive(Clone, Copy, Debug)]
struct AliasSlot {
    end: u64,
    alias: usize,
}

/// A draw is a 32-bit number.
const WHOLE: u64 = 1 << 32;

impl Weights {
    /// Positive weights, of at most [`MemberSet::MAX`] members.
    pub(super) fn new(weights: impl IntoIterator<Item = f32>) -> Self {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let sum: f64 = weights.iter().sum();
        let mean = sum / weights.len() as f64;
        let among_others = (0..weights.len()).map(|left_out| {
            let weight = |(index, weight)| if index == left_out { 0.0 } else { weight };
            weights.iter().copied().enumerate().map(weight).collect()
        });
        let tables = [weights.clone()].into_iter().chain(among_others).flat_map(|it| table(&it)).collect();
        Self {
            relative: weights.iter().map(|weight| (weight / mean) as f32).collect(),
            tables,
            all: MemberSet::first(weights.len()),
            tabled: MemberSet::first(if weights.len() < 2 { MemberSet::MAX } else { weights.len() }),
        }
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

    /// Two different members of `among`, or the only one. `random` is any number, each as likely as the
    /// others.
    #[inline]
    pub(super) fn draw_two(&self, among: MemberSet, random: u64) -> Option<Drawn> {
        let (first, second) = (random >> 32, random & (WHOLE - 1));
        if among != self.tabled {
            return self.draw_two_of_some(among, first, second);
        }
        let one = self.draw_from(0, first);
        Some((one, Some(self.draw_from(one + 1, second))))
    }

    #[cold]
    fn draw_two_of_some(&self, among: MemberSet, first: u64, second: u64) -> Option<Drawn> {
        let one = self.draw(among, first)?;
        Some((one, self.draw(among.without(one), second)))
    }

    /// Draws from a table. `random` is below [`WHOLE`].
    #[inline]
    fn draw_from(&self, table: usize, random: u64) -> usize {
        let members = self.relative.len();
        let point = random * members as u64;
        let index = (point >> 32) as usize;
        let slot = self.tables[table * members + index];
        if point & (WHOLE - 1) < slot.end { index } else { slot.alias }
    }

    /// Draws one of these members, by a search.
    fn draw(&self, among: MemberSet, random: u64) -> Option<usize> {
        let total: f64 = among.iter().map(|index| f64::from(self.relative[index])).sum();
        let mut point = random as f64 / WHOLE as f64 * total;
        let here = |index: &usize| {
            point -= f64::from(self.relative[*index]);
            point < 0.0
        };
        // Sums of floating-point numbers depend on their order, so that the point may be past the last one.
        among.iter().find(here).or_else(|| among.iter().last())
    }
}

/// A table that draws each member by its weight, which may be 0. A single member of the weight 0 is drawn by
/// no call.
fn table(weights: &[f64]) -> Vec<AliasSlot> {
    let sum: f64 = weights.iter().sum();
    let mut parts: Vec<f64> = weights.iter().map(|weight| weight * weights.len() as f64 / sum).collect();
    let mut slots: Vec<_> = (0..parts.len()).map(|alias| AliasSlot { end: WHOLE, alias }).collect();
    let (mut small, mut large): (Vec<_>, Vec<_>) = (0..parts.len()).partition(|index| parts[*index] < 1.0);
    while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
        slots[less] = AliasSlot { end: (parts[less] * WHOLE as f64) as u64, alias: more };
        parts[more] -= 1.0 - parts[less];
        if parts[more] < 1.0 {
            small.extend(large.pop());
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The part of all draws from a table that is a member.
    fn share(weights: &Weights, table: usize, member: usize) -> f64 {
        let members = weights.relative.len();
        let slots = weights.tables[table * members..].iter().take(members).enumerate();
        let own = |(index, slot): (usize, &AliasSlot)| {
            let of_index = if index == member { slot.end } else { 0 };
            of_index + if slot.alias == member { WHOLE - slot.end } else { 0 }
        };
        slots.map(own).sum::<u64>() as f64 / (members as u64 * WHOLE) as f64
    }

    #[test]
    fn a_member_with_a_hundred_thousandth_of_the_weights_is_drawn_that_often() {
        let weights = Weights::new([0.001, 1_000.0, 1.0, 3.0]);
        for (member, weight) in [0.001, 1_000.0, 1.0, 3.0].into_iter().enumerate() {
            assert!((share(&weights, 0, member) * 1_004.001 / weight - 1.0).abs() < 1e-4, "{weights:?}");
        }
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
        #[test]
        fn every_table_has_the_shares_of_the_weights(
            values in prop::collection::vec(0.001_f32..1_000.0, 2..=MemberSet::MAX),
        ) {
            let weights = Weights::new(values.iter().copied());
            for table in 0..=values.len() {
                let weight = |member: usize| if member + 1 == table { 0.0 } else { f64::from(values[member]) };
                let sum: f64 = (0..values.len()).map(weight).sum();
                for member in 0..values.len() {
                    let share = share(&weights, table, member);
                    prop_assert!((share - weight(member) / sum).abs() < 1e-7, "{} of table {}", member, table);
                    prop_assert!(share == 0.0 || weight(member) > 0.0);
                }
            }
        }

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
