use std::time::Instant;

use super::index::{Drawers, PLACE};
use super::words::Words;

/// An answer, and the question to which it was given.
pub(super) struct Entry {
    pub(super) scope: (u64, u64),
    pub(super) prompt: Box<str>,
    pub(super) words: Words,
    /// The tokens that the answer was allowed to have; the most there are if nobody has said.
    pub(super) limit: u64,
    pub(super) text: Box<str>,
    pub(super) stored: Instant,
    pub(super) drawers: Drawers,
}

/// What an answer takes besides what it says: its place among the others, the counts of those who hold it, and what
/// allocators add to each of its parts.
const OVERHEAD: usize = 144;

impl Entry {
    /// The bytes that it takes, in the index and wherever it is.
    pub(super) fn weight(&self) -> u64 {
        let texts = self.prompt.len() + self.text.len();
        let words = self.words.len() * size_of::<u64>();
        let drawers = self.drawers.len() * (size_of::<u32>() + PLACE);
        (size_of::<Self>() + OVERHEAD + texts + words + drawers) as u64
    }

    /// Whether it is no longer than somebody wants who has set a `limit` of tokens. No token is shorter than a byte.
    pub(super) fn fits(&self, limit: Option<u64>) -> bool {
        limit.is_none_or(|limit| limit >= self.limit.min(self.text.len() as u64))
    }
}
