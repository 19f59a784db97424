//! Decides, as plain code, which member a conversation stays with.
//!
//! Each member has a number that depends on the conversation and the name of the member alone, and the
//! highest one takes the call (rendezvous hashing: Thaler and Ravishankar, "Using Name-Based Mappings to
//! Increase Hit Rates", 1998; with weights: Schindelhauer and Schomaker, "Weighted Distributed Hash Tables",
//! 2005). So a member that leaves moves its own conversations only, and every process moves them to the same
//! members. A member with clearly more than its share of the recent calls passes the next one on (bounded
//! loads: Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016). The load is
//! that of the last minute, not of the moment: quotas are by the minute, and the calls in flight vary too
//! much to move conversations by.

use std::time::{Duration, Instant};

use super::member_set::MemberSet;
use super::weights::Weights;
use crate::key::spread_bits;

/// The key of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AffinityKey(u64);

/// The calls of the last minute, with exponential decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DecayingCount {
    count: f32,
    at: Instant,
}

/// A member may have this many times its share of the recent calls.
const MOST: f32 = 1.25;

/// And more by this many standard deviations: the number of independent calls varies by its square root.
const DEVIATIONS: f32 = 3.0;

/// The time in which a call loses most of its influence, in seconds.
const MEMORY: f32 = 60.0;

impl AffinityKey {
    /// The key of this text, the same in every process (64-bit FNV-1a, by Fowler, Noll and Vo).
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash)
    }

    /// The number of a member for this conversation: the higher, the more it is preferred.
    fn preference(self, member: Self, weight: f32) -> f32 {
        // Uniform in 0..1, never 0.
        let uniform =
            (spread_bits(self.0 ^ spread_bits(member.0)) >> 40) as f32 / (1_u32 << 24) as f32 + f32::EPSILON;
        weight / -uniform.min(1.0 - f32::EPSILON).ln()
    }
}

impl DecayingCount {
    pub(super) const fn new(now: Instant) -> Self {
        Self { count: 0.0, at: now }
    }

    pub(super) fn read(&self, now: Instant) -> f32 {
        let idle: Duration = now.saturating_duration_since(self.at);
        self.count * (-idle.as_secs_f32() / MEMORY).exp()
    }

    pub(super) fn add(&mut self, now: Instant) {
        *self = Self { count: self.read(now) + 1.0, at: self.at.max(now) };
    }
}

/// The members in the order in which the conversation prefers them. `members` has their hashed names,
/// `weights` their weights.
pub(super) fn ranked(
    key: AffinityKey,
    among: MemberSet,
    members: &[AffinityKey],
    weights: &Weights,
) -> Vec<usize> {
    let mut ranked: Vec<_> =
        among.iter().map(|index| (index, key.preference(members[index], weights.relative(index)))).collect();
    ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
    ranked.into_iter().map(|(index, _)| index).collect()
}

/// Whether a member with this many recent calls may take one more. `total` is the sum over the members that
/// could take it, and `share` the part of their weights that this one has.
pub(super) fn is_within_share(recent: f32, total: f32, share: f32) -> bool {
    let mean = (total + 1.0) * share;
    recent < mean * MOST + mean.sqrt() * DEVIATIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["a/m", "b/m", "c/m", "d/m"];

    fn members() -> Vec<AffinityKey> {
        NAMES.iter().map(|name| AffinityKey::of(&[name.as_bytes()])).collect()
    }

    fn key(number: u32) -> AffinityKey {
        AffinityKey::of(&[&number.to_le_bytes()])
    }

    #[test]
    fn conversations_are_spread_by_weight_and_a_member_that_leaves_moves_its_own_only() {
        let (members, shares) = (members(), [1.0, 1.0, 2.0, 1.0]);
        let weights = Weights::new(shares);
        let all = MemberSet::first(4);
        let mut counts = [0_u32; 4];
        for number in 0..10_000 {
            let first = ranked(key(number), all, &members, &weights)[0];
            counts[first] += 1;
            let left = ranked(key(number), all.without(1), &members, &weights)[0];
            assert!(left == first || first == 1);
        }
        for (count, weight) in counts.into_iter().zip(shares) {
            let share = count as f32 / 10_000.0;
            assert!((share - weight / 5.0).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn every_process_has_the_same_order() {
        let orders: Vec<_> = (0..3)
            .map(|number| ranked(key(number), MemberSet::first(4), &members(), &Weights::new([1.0; 4])))
            .collect();
        assert_eq!(orders, EXPECTED);
    }

    const EXPECTED: [[usize; 4]; 3] = [[2, 1, 0, 3], [2, 3, 0, 1], [0, 2, 3, 1]];

    #[test]
    fn a_member_with_more_than_its_share_passes_calls_on() {
        assert!(is_within_share(0.0, 0.0, 0.25) && is_within_share(3.0, 3.0, 0.25));
        assert!(is_within_share(45.0, 100.0, 0.25) && !is_within_share(48.0, 100.0, 0.25));
        assert!(is_within_share(12_700.0, 40_000.0, 0.25) && !is_within_share(12_900.0, 40_000.0, 0.25));
    }

    #[test]
    fn calls_are_forgotten() {
        let now = Instant::now();
        let mut recent = DecayingCount::new(now);
        (0..100).for_each(|_| recent.add(now));
        assert_eq!(recent.read(now), 100.0);
        let later = recent.read(now + Duration::from_secs(60));
        assert!((36.0..38.0).contains(&later), "{later}");
        assert!(recent.read(now + Duration::from_secs(600)) < 0.1);
    }

    #[test]
    fn texts_that_are_split_in_another_way_have_another_key() {
        assert_ne!(AffinityKey::of(&[b"ab", b"c"]), AffinityKey::of(&[b"a", b"bc"]));
    }
}
