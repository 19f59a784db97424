//! Decides, as plain code, which member takes a call: the better one of two that are drawn at random.
//!
//! Two choices keep the largest load close to the mean, and callers that see the same loads do not all move
//! to the same member (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). The
//! measure is that of Finagle's and tower's `PeakEwma`, expected time times load, with these differences: the
//! members are drawn by their weights, and the second one of a draw has to be clearly better, so that equal
//! members get exactly their shares; a member whose quota runs out counts as slower; and members that could
//! not start the call at once are left to those that can.

use std::cmp::Ordering;
use std::time::Duration;

use super::member_set::MemberSet;
use super::weights::Weights;

/// A member as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MemberView {
    pub(super) standing: Standing,
    pub(super) load: MemberLoad,
    /// The part of its quota that is left, from 0 to 1; 1 without a quota.
    pub(super) quota: f32,
}

/// What a member is busy with, whatever its gates are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MemberLoad {
    /// The expected time to the first token, in seconds; 0 if nothing is known about it.
    pub(super) first_token: f32,
    /// The calls in flight, response bodies included, divided by the weight of the member.
    pub(super) in_flight: f32,
}

/// What the gates of a member would do with the call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// They would admit it at once.
    Open,
    /// It would wait in a queue for about this time.
    Queued(Duration),
    /// They would reject it, for this time if it is known.
    Closed(Option<Duration>),
}

/// The members that were drawn: two, or the only one.
pub(super) type Drawn = (usize, Option<usize>);

/// The member that takes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) index: usize,
    pub(super) standing: Standing,
}

/// The first member of a draw keeps the call unless the other is better by this factor.
const CLEARLY: f32 = 1.25;

/// Added to every time, in seconds: a difference of milliseconds is noise.
const NOISE: f32 = 0.02;

/// A member with this part of its quota left is as good as one with all of it. With less it counts as slower.
const PLENTY: f32 = 0.5;

/// Smaller parts of a quota count as this one.
const LEAST_QUOTA: f32 = 0.01;

/// Chooses by the loads of the two members that were drawn, if the gates of the better one would certainly
/// admit the call and leave [`PLENTY`] of its quota: those of the other one could only make it worse. `None`
/// if the gates have to be looked at.
#[inline]
pub(super) fn choose_by_load<M: Copy>(
    drawn: Drawn,
    member: impl Fn(usize) -> M,
    load: impl Fn(M) -> MemberLoad,
    certainly_admits: impl Fn(M) -> bool,
) -> Option<Chosen> {
    let (first, second) = (drawn.0, drawn.1?);
    let (one, other) = (member(first), member(second));
    let chosen = better((first, load(one), 1.0), (second, load(other), 1.0));
    certainly_admits(if chosen.index == first { one } else { other }).then_some(chosen)
}

/// Chooses one of `members`, of which two were drawn, by their gates as well. Those of all are looked at only
/// if these two would not admit the call at once. `random` draws a number, each as likely as the others.
pub(super) fn choose_by_view(
    members: MemberSet,
    (first, second): Drawn,
    weights: &Weights,
    random: impl FnMut() -> u64,
    mut view: impl FnMut(usize) -> MemberView,
) -> Chosen {
    let of_first = view(first);
    let Some(second) = second else {
        return Chosen { index: first, standing: of_first.standing };
    };
    let of_second = view(second);
    let (one, other) = ((first, of_first), (second, of_second));
    match (of_first.standing, of_second.standing) {
        (Standing::Open, Standing::Open) => better(with_load(one), with_load(other)),
        (Standing::Open, _) => Chosen { index: first, standing: Standing::Open },
        (_, Standing::Open) => Chosen { index: second, standing: Standing::Open },
        _ => choose_of_all(members, [one, other], weights, random, view),
    }
}

/// The choice when two members would not admit the call at once: among those that would, or else the member
/// at which the call can start first.
#[cold]
fn choose_of_all(
    members: MemberSet,
    seen: [(usize, MemberView); 2],
    weights: &Weights,
    mut random: impl FnMut() -> u64,
    mut view: impl FnMut(usize) -> MemberView,
) -> Chosen {
    let rest = seen.iter().fold(members, |rest, (index, _)| rest.without(*index));
    let views: Vec<(usize, MemberView)> = rest.iter().map(|index| (index, view(index))).collect();
    let open: Vec<_> = views.iter().filter(|(_, view)| view.standing == Standing::Open).copied().collect();
    let among = open.iter().fold(MemberSet::default(), |set, (index, _)| set.with(*index));
    let with_view = |index: usize| open.iter().find(|(it, _)| *it == index).copied();
    if let Some((first, second)) = weights.draw_two(among, random()) {
        return match with_view(first).zip(second.and_then(with_view)) {
            Some((one, other)) => better(with_load(one), with_load(other)),
            None => Chosen { index: first, standing: Standing::Open },
        };
    }
    let all = seen.into_iter().chain(views);
    let first = all.min_by(soonest).unwrap_or(seen[0]);
    Chosen { index: first.0, standing: first.1.standing }
}

/// A member, its load and the part of its quota that is left.
type Loaded = (usize, MemberLoad, f32);

const fn with_load((index, view): (usize, MemberView)) -> Loaded {
    (index, view.load, view.quota)
}

/// The first of two members that admit the call, or the second if it is clearly better.
#[inline]
fn better(one: Loaded, other: Loaded) -> Chosen {
    let are_known = one.1.first_token * other.1.first_token > 0.0;
    let (first, second) = if are_known { (cost(one), cost(other)) } else { costs_without_times(one, other) };
    let index = if second * CLEARLY < first { other.0 } else { one.0 };
    Chosen { index, standing: Standing::Open }
}

/// Without a time of both, only their loads and quotas can be compared.
#[cold]
fn costs_without_times(one: Loaded, other: Loaded) -> (f32, f32) {
    let cost = |(index, load, quota): Loaded| cost((index, MemberLoad { first_token: 1.0, ..load }, quota));
    (cost(one), cost(other))
}

/// What a further call costs at a member: its time, multiplied by its load, and by how scarce its quota is.
#[inline]
fn cost((_, load, quota): Loaded) -> f32 {
    let quota = (quota / PLENTY).clamp(LEAST_QUOTA, 1.0);
    (load.first_token + NOISE) * (1.0 + load.in_flight) / quota
}

/// Orders members by when the call could start: queues before rejections, and rejections without a time last.
fn soonest(one: &(usize, MemberView), other: &(usize, MemberView)) -> Ordering {
    let rank = |standing| match standing {
        Standing::Open => (0, Duration::ZERO),
        Standing::Queued(wait) => (1, wait),
        Standing::Closed(Some(wait)) => (2, wait),
        Standing::Closed(None) => (3, Duration::MAX),
    };
    let load = |(_, view): &(usize, MemberView)| view.load.in_flight;
    rank(one.1.standing).cmp(&rank(other.1.standing)).then(load(one).total_cmp(&load(other)))
}

#[cfg(test)]
mod tests {
    use std::iter;

    use proptest::prelude::*;

    use super::*;

    const OPEN: MemberView = with(1.0, 0.0);

    /// A member with this time, 0 if it is unknown, and these calls in flight.
    const fn with(first_token: f32, in_flight: f32) -> MemberView {
        let load = MemberLoad { first_token, in_flight };
        MemberView { standing: Standing::Open, load, quota: 1.0 }
    }

    fn is_certain(view: MemberView) -> bool {
        view.standing == Standing::Open && view.quota >= PLENTY
    }

    fn choose_with(views: &[MemberView], weights: &Weights, random: &mut fastrand::Rng) -> Option<Chosen> {
        choose_by(MemberSet::first(views.len()), weights, random, views)
    }

    /// The choice, which is the same whether the gates of a member that certainly admits the call are looked
    /// at or not.
    fn choose_by(
        members: MemberSet,
        weights: &Weights,
        random: &mut fastrand::Rng,
        views: &[MemberView],
    ) -> Option<Chosen> {
        let (view, load) = (|index: usize| views[index], |index: usize| views[index].load);
        let drawn = weights.draw_two(members, random.u64(..))?;
        let by_view = choose_by_view(members, drawn, weights, || random.u64(..), view);
        if let Some(by_load) = choose_by_load(drawn, |index| index, load, |index| is_certain(views[index])) {
            assert_eq!(by_load, by_view);
        }
        Some(by_view)
    }

    /// The share of each member in many choices with the same views.
    fn shares<const N: usize>(views: [MemberView; N], weights: [f32; N]) -> [f32; N] {
        const CALLS: u32 = 20_000;
        let (mut random, mut counts) = (fastrand::Rng::with_seed(7), [0_u32; N]);
        let weights = Weights::new(weights);
        let mut views = views;
        for (index, view) in views.iter_mut().enumerate() {
            view.load.in_flight /= weights.relative(index);
        }
        for _ in 0..CALLS {
            counts[choose_with(&views, &weights, &mut random).unwrap().index] += 1;
        }
        counts.map(|count| count as f32 / CALLS as f32)
    }

    fn assert_shares<const N: usize>(shares: [f32; N], expected: [f32; N]) {
        for (share, expected) in iter::zip(shares, expected) {
            assert!((share - expected).abs() < 0.02, "{shares:?}, expected {expected:?}");
        }
    }

    #[test]
    fn members_that_do_not_differ_get_the_shares_of_their_weights() {
        assert_shares(shares([OPEN; 4], [1.0; 4]), [0.25; 4]);
        assert_shares(shares([OPEN; 3], [2.0, 0.5, 0.5]), [0.667, 0.167, 0.167]);
        let slightly = with(1.2, 0.0);
        assert_shares(shares([OPEN, slightly], [1.0; 2]), [0.5, 0.5]);
        assert_shares(shares([with(0.001, 0.0), with(0.003, 0.0)], [1.0; 2]), [0.5, 0.5]);
    }

    #[test]
    fn a_clearly_worse_member_gets_no_call_beside_a_better_one() {
        let slow = with(10.0, 0.0);
        let loaded = with(1.0, 9.0);
        let scarce = MemberView { quota: 0.1, ..OPEN };
        for worse in [slow, loaded, scarce] {
            assert_shares(shares([OPEN, worse, OPEN], [1.0; 3]), [0.5, 0.0, 0.5]);
        }
        // Twice the weight carries twice the load.
        assert_shares(shares([with(1.0, 2.0), loaded], [1.9, 0.1]), [1.0, 0.0]);
        let (twice, once) = (with(1.0, 8.0), with(1.0, 4.0));
        assert_shares(shares([twice, once], [1.333, 0.667]), [0.667, 0.333]);
    }

    #[test]
    fn a_member_without_a_time_is_compared_by_its_load() {
        let new = with(0.0, 0.0);
        let slow = with(10.0, 0.0);
        assert_shares(shares([new, OPEN], [1.0; 2]), [0.5, 0.5]);
        assert_shares(shares([new, slow], [1.0; 2]), [0.5, 0.5]);
        assert_shares(shares([with(0.0, 3.0), OPEN], [1.0; 2]), [0.0, 1.0]);
    }

    #[test]
    fn the_member_at_which_the_call_can_start_first_is_chosen() {
        let secs = Duration::from_secs;
        let standing = |standing| MemberView { standing, ..OPEN };
        let (queued, closed) = (
            |wait| standing(Standing::Queued(secs(wait))),
            |wait| standing(Standing::Closed(Some(secs(wait)))),
        );
        let unknown = standing(Standing::Closed(None));
        let mut random = fastrand::Rng::with_seed(7);
        for (views, expected) in [
            (vec![unknown, closed(1), queued(9), OPEN], 3),
            (vec![queued(3), closed(1), queued(2), unknown], 2),
            (vec![unknown, closed(5), closed(4)], 2),
            (vec![unknown], 0),
            (vec![queued(3), queued(3), queued(3)], 0),
        ] {
            for _ in 0..50 {
                let chosen =
                    choose_with(&views, &Weights::new(views.iter().map(|_| 1.0)), &mut random).unwrap();
                let is_tie = views[chosen.index] == views[expected];
                assert!(chosen.index == expected || is_tie, "{views:?}: {chosen:?}");
                assert_eq!(chosen.standing, views[expected].standing);
            }
        }
        assert_eq!(choose_with(&[], &Weights::new([]), &mut random), None);
    }

    #[test]
    fn no_more_gates_are_looked_at_than_those_of_two_members() {
        let mut seen = 0;
        let view = |_| {
            seen += 1;
            OPEN
        };
        let (weights, mut random) = (Weights::new([1.0; 8]), fastrand::Rng::with_seed(7));
        let drawn = weights.draw_two(weights.all(), random.u64(..)).unwrap();
        assert!(choose_by_load(drawn, |index| index, |_| OPEN.load, |_| true).is_some());
        assert_eq!(choose_by_load(drawn, |index| index, |_| OPEN.load, |_| false), None);
        choose_by_view(weights.all(), drawn, &weights, || random.u64(..), view);
        assert_eq!(seen, 2);
    }

    proptest! {
        /// Whatever the members are, one of them is chosen, and none that would make the call wait if another
        /// would not.
        #[test]
        fn an_open_member_is_never_left_for_another(
            standings in prop::collection::vec(0_u64..4, 1..12),
            loads in prop::collection::vec((0.0_f32..9.0, 0.0_f32..1.0, prop_oneof![Just(0.0_f32), 0.0_f32..99.0]), 12),
            members in 1_u64..4096,
            seed: u64,
        ) {
            let views: Vec<MemberView> = iter::zip(&standings, loads)
                .map(|(standing, (in_flight, quota, first_token))| MemberView {
                    standing: match standing {
                        0 => Standing::Open,
                        1 => Standing::Closed(None),
                        2 => Standing::Closed(Some(Duration::from_secs(1))),
                        _ => Standing::Queued(Duration::from_secs(1)),
                    },
                    load: MemberLoad { first_token, in_flight },
                    quota,
                })
                .collect();
            let all = MemberSet::first(views.len());
            let members = all.iter().filter(|index| members >> index & 1 == 1);
            let members = members.fold(MemberSet::default(), MemberSet::with);
            let mut random = fastrand::Rng::with_seed(seed);
            let weights = Weights::new(views.iter().map(|_| 1.0));
            let chosen = choose_by(members, &weights, &mut random, &views);
            let has_open = members.iter().any(|index| views[index].standing == Standing::Open);
            match chosen {
                None => prop_assert!(members.is_empty()),
                Some(chosen) => {
                    prop_assert!(members.iter().any(|index| index == chosen.index));
                    prop_assert_eq!(chosen.standing, views[chosen.index].standing);
                    prop_assert_eq!(chosen.standing == Standing::Open, has_open);
                }
            }
        }
    }
}
