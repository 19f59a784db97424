//! Finds what is alike without looking at all there is: MinHash signatures in bands (Broder 1997; Leskovec,
//! Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3).
//!
//! The smallest hash of two sets of words is the same with a probability that is their similarity. A signature is
//! [`ROWS`] x [`BANDS`] such hashes; two prompts meet if all rows of any band are the same. At a similarity of 0.8 they
//! meet with 99.96 %, at 0.5 with 47 %, at 0.3 with 5 %. A question looks into one drawer per band, whatever the
//! number of answers, and each drawer holds the few latest: at most 160 prompts are compared.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::words::Words;

const BANDS: usize = 20;
const ROWS: usize = 5;

/// So many answers to like questions are kept at hand in each drawer.
const DRAWER: usize = 8;

/// Which answers may be alike: drawers of numbers. A number whose answer is gone is found in vain, and goes when the
/// drawer is full.
pub(super) struct Index(Cache<u64, Arc<[u64]>>);

/// The drawers in which a prompt lies.
pub(super) struct Drawers([u64; BANDS]);

impl Drawers {
    /// Of `words`, within a `scope` that shares its drawers with no other.
    pub(super) fn of(words: &Words, scope: impl Hash, secret: &impl BuildHasher) -> Self {
        let scope = secret.hash_one(scope);
        Self(std::array::from_fn(|band| {
            let rows: [u64; ROWS] = std::array::from_fn(|row| {
                let seed = mix((band * ROWS + row + 1) as u64);
                words.iter().map(|word| mix(word ^ seed)).min().unwrap_or_default()
            });
            secret.hash_one((scope, band, rows))
        }))
    }
}

impl Index {
    /// For about so many answers.
    pub(super) fn new(answers: usize) -> Self {
        Self(Cache::new(answers.saturating_mul(BANDS).max(BANDS)))
    }

    /// Puts an answer where like questions will find it.
    pub(super) fn insert(&self, drawers: &Drawers, answer: u64) {
        for &drawer in &drawers.0 {
            let others = self.0.peek(&drawer);
            let others = others.iter().flat_map(|others| others.iter().copied());
            let latest = std::iter::once(answer).chain(others.filter(|other| *other != answer)).take(DRAWER);
            // Two at once may lose one of them to like questions, but never to the same one.
            self.0.insert(drawer, latest.collect());
        }
    }

    /// Answers to questions that may be alike, each once.
    pub(super) fn candidates(&self, drawers: &Drawers) -> Vec<u64> {
        let mut found: Vec<u64> = drawers
            .0
            .iter()
            .filter_map(|drawer| self.0.get(drawer))
            .flat_map(|found| found.to_vec())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Spreads the bits of a number (the finaliser of SplitMix64, Steele et al. 2014).
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
