use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::index::{BucketKeys, INDEX_ENTRY_BYTES, SimilarityIndex};
use super::word_set::WordSet;

/// The entries in the order of insertion, and their index.
///
/// The oldest entry is removed first. A repeated answer replaces the earlier one and becomes the latest, so
/// that frequent prompts stay: the least recently *stored* entry is removed. An order by the last *read*
/// would not work: entries are read only when no target responds, so the first entries would fill the cache
/// for ever. Therefore the `LruCache` is only inserted into and peeked at, which does not count as a use.
pub(super) struct CacheStore {
    entries: LruCache<u32, Arc<CacheEntry>>,
    index: SimilarityIndex,
    weight: u64,
    /// The id of the next entry.
    next_id: u32,
}

/// The initial capacity, which is doubled and halved with the number of entries: as many as fit into a hash
/// table of eight.
const INITIAL_CAPACITY: NonZeroUsize = NonZeroUsize::new(7).unwrap();

impl Default for CacheStore {
    fn default() -> Self {
        Self {
            entries: LruCache::sparse(INITIAL_CAPACITY),
            index: SimilarityIndex::default(),
            weight: 0,
            next_id: 0,
        }
    }
}

impl CacheStore {
    /// Inserts an entry, and removes the entries that it displaces: the one of the same prompt, those older
    /// than `max_age`, and the oldest as long as all together weigh more than `max_bytes`. The removed
    /// entries are returned, so that they are dropped outside of the lock.
    pub(super) fn insert(
        &mut self,
        entry: CacheEntry,
        max_bytes: u64,
        max_age: Duration,
    ) -> Vec<Arc<CacheEntry>> {
        let now = entry.stored;
        let mut removed: Vec<_> =
            self.find_exact(&entry).and_then(|id| self.remove(id)).into_iter().collect();
        let Some(next_id) = self.next_id.checked_add(1) else {
            // After four billion insertions the ids start again, with an empty store.
            removed.extend(std::mem::take(self).entries.into_iter().map(|(_, entry)| entry));
            return removed;
        };
        let id = std::mem::replace(&mut self.next_id, next_id);
        self.weight += entry.weight();
        self.index.insert(&entry.buckets, id);
        self.resize_for_insert();
        self.entries.put(id, Arc::new(entry));
        while let Some((&oldest, entry)) = self.entries.peek_lru()
            && (self.weight > max_bytes || now.saturating_duration_since(entry.stored) >= max_age)
        {
            removed.extend(self.remove(oldest));
        }
        removed
    }

    fn remove(&mut self, id: u32) -> Option<Arc<CacheEntry>> {
        let entry = self.entries.pop(&id)?;
        self.index.remove(&entry.buckets, id);
        self.weight -= entry.weight();
        Some(entry)
    }

    /// Makes room for one more entry, which would otherwise evict another one regardless of their weight. A
    /// table shrinks only on request, and would otherwise keep the size for many short answers after a few
    /// long ones have replaced them.
    fn resize_for_insert(&mut self) {
        let (entries, capacity) = (self.entries.len(), self.entries.cap());
        let target = match capacity.get() {
            capacity if entries >= capacity => capacity.saturating_mul(2),
            capacity if entries < capacity / 8 * 3 => capacity / 2,
            capacity => capacity,
        };
        // Does nothing if the capacity is unchanged.
        self.entries.resize(INITIAL_CAPACITY.max(NonZeroUsize::new(target).unwrap_or(INITIAL_CAPACITY)));
    }

    /// The id of the entry with the same prompt.
    fn find_exact(&self, entry: &CacheEntry) -> Option<u32> {
        let is_exact = |other: &CacheEntry| other.scope == entry.scope && other.prompt == entry.prompt;
        self.index
            .latest(entry.buckets.exact())
            .find(|id| self.entries.peek(id).is_some_and(|other| is_exact(other)))
    }

    /// The candidates for the exact prompt: usually one or none.
    pub(super) fn exact_candidates(&self, bucket: u32) -> impl Iterator<Item = &Arc<CacheEntry>> {
        self.index.latest(bucket).filter_map(|id| self.entries.peek(&id))
    }

    /// The candidates for similar prompts.
    pub(super) fn similar_candidates(&self, buckets: &[u32]) -> Vec<Arc<CacheEntry>> {
        let ids = self.index.latest_in_any(buckets);
        ids.iter().filter_map(|id| self.entries.peek(id).cloned()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// The number of index entries.
    #[cfg(test)]
    pub(super) fn index_len(&self) -> usize {
        self.index.len()
    }
}

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
