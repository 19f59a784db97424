//! Stored answers, used when no target responds.
//!
//! # How it works
//! A prompt is reduced to a set of words ([`word_set`]), the set to a short [`signature`], and prompts with a
//! common band of their signatures share a bucket of the [`index`]. Only prompts of the same bucket are
//! compared word by word. Each exact prompt has a bucket of its own. All entries are in one [`store`] behind
//! one lock. The lock is held while entries are inserted, removed and looked up, and not while prompts are
//! parsed, compared or dropped.
//!
//! # Memory
//! `max_bytes` covers everything: prompts, answers, word sets, and index entries, which are about 500 bytes
//! per answer. The allocations of a full cache are between 0.9 and 1.0 of it, whatever the size of the
//! answers (`tests/cache_memory.rs`). Almost nothing is allocated before there are answers, and nothing stays
//! after they are removed.
//!
//! # Cost
//! Measured among 100 000 answers of one caller, on a machine with two cores (AMD EPYC), as printed by `cargo
//! bench -p tidegate-benches --bench answer_cache`; composing the response is included, and the first row is
//! that alone:
//!
//! | call | time |
//! |---|---|
//! | fallback to a fixed text | 4 µs |
//! | exact prompt found | 5 µs |
//! | similar prompt found | 14 µs |
//! | nothing found, then a fixed text | 14 µs |
//! | scan: the words of all 100 000 compared | 4 400 µs |
//! | an answer passes and is not stored | 0.5 µs |
//! | an answer is stored and another one evicted | 19 µs |
//! | the same on two threads at once | 48 µs for two |
//! | a prompt of 16 KiB (4 000 words), found / stored | 146 µs / 96 µs |
//!
//! So a lookup of a similar prompt costs a three hundredth of a scan; of 719 prompts that the scan found, the
//! lookup found 719. The process used 89 MiB for the answers. Two threads have no more throughput than one,
//! which is enough for calls that take seconds. The worst case is a prompt of 16 KiB that shares each bucket
//! with eight others of that length: 160 comparisons of some microseconds each.

mod index;
mod signature;
mod store;
mod word_set;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use self::index::BucketKeys;
use self::signature::Signature;
use self::store::{CacheEntry, CacheStore};
use self::word_set::WordSet;

use crate::sync::unpoisoned;

/// Stores complete answers, and finds those to the same or a similar prompt. Prompts are similar if they have
/// the same words and signs in the same order; only case, the mark at the end, and courtesies before and
/// after (`Hello,`, `please`) may differ.
///
/// A handle: clones share one cache, so that several routes may use it. Bounded by
/// [`max_bytes`](Self::max_bytes) and [`max_age`](Self::max_age). The lookup of a similar prompt costs the
/// same whatever the number of answers, a three hundredth of a scan if there are 100 000; for prompts above
/// 16 KiB only the exact prompt is found. Answers and prompts above 256 KiB, and answers to requests above
/// 512 KiB, are not stored.
///
/// Only complete answers in plain text are stored, each for the caller that sent the request. The
/// [`KeyBy`](crate::KeyBy) of the layer identifies the caller, by default by credential and tenant. A caller
/// that limits the tokens of the answer gets no longer answer: only one that was generated under a limit that
/// was no higher, or that has no more bytes than the limit has tokens.
#[derive(Clone)]
pub struct AnswerCache(Arc<CacheInner>);

struct CacheInner {
    settings: Settings,
    secret: RandomState,
    store: Mutex<CacheStore>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    max_bytes: u64,
    max_age: Duration,
    similarity: f64,
}

/// The part of a request that determines the answer.
#[derive(Clone, Copy)]
pub(super) struct CacheKey<'a> {
    /// The digests of the caller and of everything that matters besides the prompt.
    pub(super) scope: (u64, u64),
    pub(super) prompt: &'a str,
    /// The token limit of the answer, if the request sets one.
    pub(super) limit: Option<u64>,
}

/// A stored answer that matches.
#[derive(Clone)]
pub(super) struct CacheHit {
    entry: Arc<CacheEntry>,
    /// 1 for the exact prompt.
    pub(super) similarity: f64,
    pub(super) age: Duration,
}

/// The longest answer or prompt that is stored: 256 KiB.
const MAX_TEXT: usize = 256 * 1024;

/// The longest prompt for which similar prompts are found: 16 KiB. Comparing longer ones would occupy a
/// thread for too long.
const MAX_SIMILAR: usize = 16 * 1024;

impl Default for AnswerCache {
    fn default() -> Self {
        Self::new()
    }
}

impl AnswerCache {
    /// Creates a cache of 64 MiB, with answers that are valid for an hour; prompts are similar from a
    /// similarity of 0.8.
    #[must_use]
    pub fn new() -> Self {
        Self::with_settings(Settings {
            max_bytes: 64 * 1024 * 1024,
            max_age: Duration::from_secs(60 * 60),
            similarity: 0.8,
        })
    }

    fn with_settings(settings: Settings) -> Self {
        Self(Arc::new(CacheInner { settings, secret: RandomState::new(), store: Mutex::default() }))
    }

    /// The most bytes of memory for prompts, answers and the index. The least recently stored answer is
    /// removed first. Starts an empty cache.
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Self::with_settings(Settings { max_bytes, ..self.0.settings })
    }

    /// How long an answer is valid. Starts an empty cache.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self::with_settings(Settings { max_age, ..self.0.settings })
    }

    /// The least similarity of two prompts for the answer to one to be used for the other: the number of
    /// words in both, divided by the number of words in either, if all but courtesies are the same. 1
    /// requires the same words; a value above 1 requires the exact prompt. Starts an empty cache.
    #[must_use]
    #[doc(alias = "similarity_threshold")]
    pub fn similarity(self, similarity: f64) -> Self {
        // Not `max`, which turns NaN into 0: all prompts would be similar.
        Self::with_settings(Settings { similarity: similarity.clamp(0.0, f64::INFINITY), ..self.0.settings })
    }

    /// The number of stored answers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store().len()
    }

    /// Whether no answer is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all answers.
    pub fn clear(&self) {
        let removed = std::mem::take(&mut *self.store());
        // Dropped after the lock is released.
        drop(removed);
    }

    pub(super) fn insert(&self, key: CacheKey<'_>, text: &str, now: Instant) {
        let Settings { max_bytes, max_age, .. } = self.0.settings;
        if key.prompt.len().max(text.len()) > MAX_TEXT {
            return;
        }
        let words = self.word_set(key);
        let entry = CacheEntry {
            scope: key.scope,
            prompt: key.prompt.into(),
            buckets: self.bucket_keys(key, words.as_ref()),
            words: words.unwrap_or_default(),
            limit: key.limit.unwrap_or(u64::MAX),
            text: text.into(),
            stored: now,
        };
        if entry.weight() <= max_bytes {
            let removed = self.store().insert(entry, max_bytes, max_age);
            drop(removed);
        }
    }

    /// The answer to the exact prompt, else to the most similar prompt.
    pub(super) fn find(&self, key: CacheKey<'_>, now: Instant) -> Option<CacheHit> {
        let Settings { max_age, similarity: min_similarity, .. } = self.0.settings;
        let age = |entry: &CacheEntry| now.saturating_duration_since(entry.stored);
        let is_usable = |entry: &CacheEntry| {
            entry.scope == key.scope && age(entry) < max_age && entry.fits_limit(key.limit)
        };
        let hit = |similarity, entry: Arc<CacheEntry>| CacheHit { similarity, age: age(&entry), entry };

        let bucket = self.bucket_keys(key, None).exact();
        let is_exact = |entry: &&Arc<CacheEntry>| *entry.prompt == *key.prompt && is_usable(entry);
        if let Some(entry) = self.store().exact_candidates(bucket).find(is_exact).cloned() {
            return Some(hit(1.0, entry));
        }
        let words = self.word_set(key)?;
        let candidates = self.store().similar_candidates(self.bucket_keys(key, Some(&words)).similar());
        let usable = candidates.into_iter().filter(|entry| is_usable(entry));
        usable
            .map(|entry| (entry.words.similarity(&words), entry))
            .filter(|(similarity, _)| *similarity >= min_similarity)
            // Of equally similar prompts the latest.
            .max_by(|(a, one), (b, other)| a.total_cmp(b).then(one.stored.cmp(&other.stored)))
            .map(|(similarity, entry)| hit(similarity, entry))
    }

    /// The words of a prompt, if a similar prompt would match.
    fn word_set(&self, key: CacheKey<'_>) -> Option<WordSet> {
        let allows_similar = self.0.settings.similarity <= 1.0 && key.prompt.len() <= MAX_SIMILAR;
        allows_similar.then(|| WordSet::of(key.prompt, &self.0.secret))
    }

    fn bucket_keys(&self, key: CacheKey<'_>, words: Option<&WordSet>) -> BucketKeys {
        let exact = self.0.secret.hash_one((key.scope, key.prompt));
        let similar = words.map(|words| {
            let scope = self.0.secret.hash_one((key.scope, words.exact()));
            Signature::of(words.plain()).bands(scope)
        });
        BucketKeys::new(exact, similar.into_iter().flatten())
    }

    fn store(&self) -> MutexGuard<'_, CacheStore> {
        unpoisoned(self.0.store.lock())
    }
}

impl CacheHit {
    pub(super) fn text(&self) -> &str {
        &self.entry.text
    }
}

impl fmt::Debug for AnswerCache {
    /// Without the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache")
            .field("settings", &self.0.settings)
            .field("answers", &self.len())
            .finish_non_exhaustive()
    }
}

partial_debug!([] CacheHit, "CacheHit", similarity, age);

#[cfg(test)]
mod tests;
