use std::time::Instant;

use super::index::{BucketKeys, INDEX_ENTRY_BYTES};
use super::word_set::WordSet;

/// A stored answer and its prompt.
pub(super) struct CacheEntry {
    pub(super) scope: (u64, u64),
    pub(super) prompt: Box<str>,
    pub(super) words: WordSet,
    /// The token limit under which the answer was generated; the maximum if there was none.
    pub(super) limit: u64,
    pub(super) text: Box<str>,
    pub(super) stored: Instant,
    pub(super) buckets: BucketKeys,
}

/// The bytes of an entry besides its contents: its node in the LRU map, reference counts, and the overhead of
/// the allocator for each of its parts.
const OVERHEAD: usize = 144;

impl CacheEntry {
    /// The bytes of the entry, including those in the index.
    pub(super) fn weight(&self) -> u64 {
        let texts = self.prompt.len() + self.text.len();
        let words = self.words.len() * size_of::<u64>();
        let buckets = self.buckets.len() * (size_of::<u32>() + INDEX_ENTRY_BYTES);
        (size_of::<Self>() + OVERHEAD + texts + words + buckets) as u64
    }

    /// Whether the answer is no longer than `limit` tokens. No token is shorter than a byte.
    pub(super) fn fits_limit(&self, limit: Option<u64>) -> bool {
        limit.is_none_or(|limit| limit >= self.limit.min(self.text.len() as u64))
    }
}
