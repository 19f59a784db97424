//! Signatures of sets of words: a few numbers, of which two sets share about the same fraction as of their
//! words.
//!
//! The smallest hash of two sets is equal with a probability that is their similarity (MinHash: Broder 1997).
//! One hash of each word yields all numbers at once: it selects the bin of the word, and each bin keeps its
//! smallest hash (one permutation: Li, Owen, Zhang 2012). An empty bin takes the value of another bin, picked
//! at random but identically for all sets, which preserves the probability (optimal densification:
//! Shrivastava 2017). That paper probes until a filled bin is found; here all filled bins are compared by a
//! fixed table, so that a prompt of one word, with ninety-nine empty bins, costs no more than others.

use crate::key::spread_bits;

pub(super) const BANDS: usize = 20;
const ROWS: usize = 5;
const BINS: usize = BANDS * ROWS;

/// The random distance of each bin from each other bin. The last seven bits are the number of the other bin.
static DISTANCES: [[i16; BINS]; BINS] = {
    let mut distances = [[0; BINS]; BINS];
    let mut pair = 0;
    while pair < BINS * BINS {
        let random = mix(pair as u64) as i16 & 0x7f80;
        distances[pair / BINS][pair % BINS] = random | (pair / BINS) as i16;
        pair += 1;
    }
    distances
};

/// The smallest hash of each bin.
pub(super) struct Signature([u64; BINS]);

impl Signature {
    /// The signature of `words`, which are hashes.
    pub(super) fn of(words: &[u64]) -> Self {
        let mut smallest = [u64::MAX; BINS];
        for &word in words {
            // The high bits select the bin, so the low bits are still uniformly distributed in it.
            let bin = ((u128::from(word) * BINS as u128) >> 64) as usize;
            smallest[bin] = smallest[bin].min(word);
        }
        let mut nearest = [i16::MAX; BINS];
        for (distances, _) in DISTANCES.iter().zip(smallest).filter(|(_, word)| *word != u64::MAX) {
            for (nearest, distance) in nearest.iter_mut().zip(distances) {
                *nearest = (*nearest).min(*distance);
            }
        }
        Self(std::array::from_fn(|bin| match smallest[bin] {
            // Without any word there is no nearest filled bin, and all bins stay empty.
            u64::MAX => {
                smallest.get(usize::from(nearest[bin].unsigned_abs() & 127)).copied().unwrap_or(u64::MAX)
            }
            word => word,
        }))
    }

    /// One number for each band, equal for two sets with equal rows in that band and the same `scope`.
    pub(super) fn bands(&self, scope: u64) -> [u64; BANDS] {
        std::array::from_fn(|band| {
            let rows = &self.0[band * ROWS..][..ROWS];
            rows.iter().fold(mix(scope ^ band as u64), |bits, row| mix(bits ^ row))
        })
    }
}

/// The number that SplitMix64 generates from this state.
const fn mix(bits: u64) -> u64 {
    spread_bits(bits.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For sets of any size: one word, several, and many more than there are bins.
    #[test]
    fn two_sets_share_bins_in_proportion_to_their_shared_words() {
        let mut random = fastrand::Rng::with_seed(6);
        for (shared, own) in [(1, 1), (3, 1), (8, 1), (20, 5), (60, 20), (300, 100), (2_000, 500)] {
            let rounds = 400;
            let mut same = 0;
            for _ in 0..rounds {
                let words: Vec<u64> = (0..shared + 2 * own).map(|_| random.u64(..)).collect();
                let (one, other) = (Signature::of(&words[..shared + own]), Signature::of(&words[own..]));
                // The second set begins where the words of only the first one end.
                same += one.0.iter().zip(&other.0).filter(|(one, other)| one == other).count();
            }
            let share = same as f64 / (rounds * BINS) as f64;
            let expected = shared as f64 / (shared + 2 * own) as f64;
            assert!((share - expected).abs() < 0.03, "{shared} shared: {share} instead of {expected}");
        }
    }

    #[test]
    fn the_signature_of_an_empty_set_is_empty() {
        assert_eq!(Signature::of(&[]).0, [u64::MAX; BINS]);
        assert!(Signature::of(&[7]).0.iter().all(|word| *word == 7));
    }

    #[test]
    fn scopes_share_no_band() {
        let signature = Signature::of(&[1 << 60, 2 << 60, 3 << 60]);
        let both = signature.bands(1).into_iter().chain(signature.bands(2));
        assert_eq!(both.collect::<std::collections::BTreeSet<_>>().len(), 2 * BANDS);
    }
}
