//! What a set of words looks like from afar: a few numbers, of which two sets share about as many as they share words.
//!
//! The smallest hash of two sets is the same with a probability that is their similarity (MinHash: Broder 1997). One hash
//! of each word gives all the numbers at once: it tells the word's place, and in each place the smallest stays (one
//! permutation: Li, Owen, Zhang 2012). An empty place takes what stands in another, picked at random but alike for all
//! sets, which keeps the probability what it was (optimal densification: Shrivastava 2017). The other is picked by
//! the smallest mix of both places, and not by probing, so that a prompt of one word costs no more than others:
//! at most 2 500 mixes, whatever the prompt.

pub(super) const BANDS: usize = 20;
const ROWS: usize = 5;
const PLACES: usize = BANDS * ROWS;

/// The smallest word of each place.
pub(super) struct Signature([u64; PLACES]);

impl Signature {
    /// Of `words`, which are hashes.
    pub(super) fn of(words: &[u64]) -> Self {
        let mut smallest = [u64::MAX; PLACES];
        for &word in words {
            // The high bits tell the place, so the low ones are as good as new in it.
            let place = (u128::from(word) * PLACES as u128 >> 64) as usize;
            smallest[place] = smallest[place].min(word);
        }
        let filled: Vec<usize> = (0..PLACES).filter(|place| smallest[*place] != u64::MAX).collect();
        Self(std::array::from_fn(|place| match smallest[place] {
            u64::MAX => {
                let other = filled.iter().min_by_key(|other| mix((place * PLACES + **other) as u64));
                other.map_or(u64::MAX, |other| smallest[*other])
            }
            word => word,
        }))
    }

    /// A number for each band, the same for two sets that have all its rows in common and the same `scope`.
    pub(super) fn bands(&self, scope: u64) -> [u64; BANDS] {
        std::array::from_fn(|band| {
            let rows = &self.0[band * ROWS..][..ROWS];
            rows.iter().fold(mix(scope ^ band as u64), |bits, row| mix(bits ^ row))
        })
    }
}

/// Spreads the bits of a number (the finaliser of SplitMix64, Steele et al. 2014).
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As often as the sets are alike, for sets of any size: one word, some, many more than there are places.
    #[test]
    fn two_sets_share_as_many_places_as_they_share_words() {
        let mut random = fastrand::Rng::with_seed(6);
        for (shared, own) in [(1, 1), (3, 1), (8, 1), (20, 5), (60, 20), (300, 100), (2_000, 500)] {
            let rounds = 400;
            let mut same = 0;
            for _ in 0..rounds {
                let words: Vec<u64> = (0..shared + 2 * own).map(|_| random.u64(..)).collect();
                let (one, other) = (Signature::of(&words[..shared + own]), Signature::of(&words[own..]));
                // The second begins where the words of the first alone have ended.
                same += one.0.iter().zip(&other.0).filter(|(one, other)| one == other).count();
            }
            let share = same as f64 / (rounds * PLACES) as f64;
            let expected = shared as f64 / (shared + 2 * own) as f64;
            assert!((share - expected).abs() < 0.03, "{shared} shared: {share} instead of {expected}");
        }
    }

    #[test]
    fn no_word_at_all_is_like_no_word() {
        assert_eq!(Signature::of(&[]).0, [u64::MAX; PLACES]);
        assert!(Signature::of(&[7]).0.iter().all(|word| *word == 7));
    }

    #[test]
    fn scopes_share_no_band() {
        let signature = Signature::of(&[1 << 60, 2 << 60, 3 << 60]);
        let both = signature.bands(1).into_iter().chain(signature.bands(2));
        assert_eq!(both.collect::<std::collections::BTreeSet<_>>().len(), 2 * BANDS);
    }
}
