//! Finds what is alike without looking at all there is: signatures in bands (Leskovec, Rajaraman, Ullman, "Mining
//! of Massive Datasets", chapter 3).
//!
//! Two prompts meet in a drawer if all rows of any band of their [signatures](super::signature) are the same. At a
//! similarity of 0.8 they meet with 99.96 %, at 0.5 with 47 %, at 0.3 with 5 %. A question looks into one drawer for
//! each band, whatever the number of answers, and at no more than the latest in each.

use std::collections::BTreeSet;

use super::signature::BANDS;

/// So many answers of a drawer are looked at, the latest first.
pub(super) const DEPTH: usize = 8;

/// What one answer takes in one drawer, in bytes: a pair of numbers in a tree whose nodes are filled to two thirds.
pub(super) const PLACE: usize = 16;

/// The drawers in which an answer lies: first the one for the same question, then those for like ones.
#[derive(Default)]
pub(super) struct Drawers(Box<[u32]>);

/// Which answers lie in which drawer, by their numbers. As small as the answers are few: what goes leaves nothing behind.
#[derive(Default)]
pub(super) struct Index(BTreeSet<(u32, u32)>);

impl Drawers {
    pub(super) fn new(same: u64, like: impl IntoIterator<Item = u64>) -> Self {
        // Half of the bits will do: who lies in a drawer by chance is looked at in vain.
        Self(std::iter::once(same).chain(like).map(|drawer| drawer as u32).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn same(&self) -> u32 {
        self.0[0]
    }

    pub(super) fn like(&self) -> &[u32] {
        &self.0[1..]
    }
}

impl Index {
    pub(super) fn insert(&mut self, drawers: &Drawers, number: u32) {
        self.0.extend(drawers.0.iter().map(|drawer| (*drawer, number)));
    }

    pub(super) fn remove(&mut self, drawers: &Drawers, number: u32) {
        for drawer in &drawers.0 {
            self.0.remove(&(*drawer, number));
        }
    }

    /// The latest answers in `drawer`.
    pub(super) fn latest(&self, drawer: u32) -> impl Iterator<Item = u32> {
        self.0.range((drawer, 0)..=(drawer, u32::MAX)).rev().take(DEPTH).map(|(_, number)| *number)
    }

    /// Those in any of `drawers`, each once.
    pub(super) fn latest_of_all(&self, drawers: &[u32]) -> Vec<u32> {
        let mut found = Vec::with_capacity(BANDS);
        drawers.iter().for_each(|drawer| found.extend(self.latest(*drawer)));
        found.sort_unstable();
        found.dedup();
        found
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
