//! What a set of words looks like from afar: a few numbers, of which two sets share about as many as they share words.
//!
//! The smallest hash of two sets is the same with a probability that is their similarity (MinHash: Broder 1997). One hash
//! of each word gives all the numbers at once: it tells the word's place, and in each place the smallest stays (one
//! permutation: Li, Owen, Zhang 2012). An empty place takes what stands in another, picked at random but alike for all
//! sets, which keeps the probability what it was (optimal densification: Shrivastava 2017). Where that paper probes until
//! it meets a place that is filled, all filled places are compared here by a table that never changes: a prompt of one
//! word, with ninety-nine empty places, costs no more than others.

pub(super) const BANDS: usize = 20;
const ROWS: usize = 5;
const PLACES: usize = BANDS * ROWS;

/// How far each place is from each other one, at random. The last seven bits are the number of the other.
static DISTANCES: [[i16; PLACES]; PLACES] = {
    let mut distances = [[0; PLACES]; PLACES];
    let mut pair = 0;
    while pair < PLACES * PLACES {
        let random = mix(pair as u64) as i16 & 0x7f80;
        distances[pair / PLACES][pair % PLACES] = random | (pair / PLACES) as i16;
        pair += 1;
    }
    distances
};

/// The smallest word of each place.
pub(super) struct Signature([u64; PLACES]);

impl Signature {
    /// Of `words`, which are hashes.
    pub(super) fn of(words: &[u64]) -> Self {
        let mut smallest = [u64::MAX; PLACES];
        for &word in words {
            // The high bits tell the place, so the low ones are as good as new in it.
            let place = ((u128::from(word) * PLACES as u128) >> 64) as usize;
            smallest[place] = smallest[place].min(word);
        }
        let mut nearest = [i16::MAX; PLACES];
        for (distances, _) in DISTANCES.iter().zip(smallest).filter(|(_, word)| *word != u64::MAX) {
            for (nearest, distance) in nearest.iter_mut().zip(distances) {
                *nearest = (*nearest).min(*distance);
            }
        }
        Self(std::array::from_fn(|place| match smallest[place] {
            // Without any word the nearest of none is not a place, and all stay empty.
            u64::MAX => {
                smallest.get(usize::from(nearest[place].unsigned_abs() & 127)).copied().unwrap_or(u64::MAX)
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
const fn mix(mut bits: u64) -> u64 {
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
