//! Random numbers that depend on the seed and on names alone, so that every stack meets the same calls and
//! faults.

/// A generator for one purpose: the same `parts`, the same numbers.
pub(crate) fn generator(seed: u64, parts: &[u64]) -> fastrand::Rng {
    fastrand::Rng::with_seed(parts.iter().fold(mixed(seed), |state, part| mixed(state ^ part)))
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
const fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
