//! Answers that were given, for when nobody can give one.
//!
//! # How
//! A prompt is a set of words ([`words`]), a set leaves a short [`signature`], and prompts whose signatures have a part in
//! common lie together in a drawer of the [`index`]: the only ones that are compared word by word. The same question has
//! a drawer of its own. All is in one [`store`] behind one lock, which is held while answers are put in, taken out and
//! looked up, and not while they are read, compared or dropped.
//!
//! # Memory
//! `max_bytes` is for everything: prompts, answers, words, and the places in the index, which are about 500 bytes an answer.
//! What is asked of the allocator for a full cache is between 0.9 and 1.0 of it, whatever the size of the answers
//! (`tests/cache_memory.rs`); next to nothing is set aside before there are answers, and nothing stays when they are gone.
//!
//! # Cost
//! Among 100 000 answers of one caller, on a machine of two cores (AMD EPYC), as `cargo bench -p tidegate-benches
//! --bench answer_cache` prints it; composing the answer is included, and the first line is that alone:
//!
//! | call | time |
//! |---|---|
//! | down the chain to a fixed text | 4 µs |
//! | the same question | 5 µs |
//! | a like question | 14 µs |
//! | none, then a fixed text | 14 µs |
//! | the words of all 100 000 compared | 4 400 µs |
//! | an answer passes, and is not remembered | 0.5 µs |
//! | and is remembered, and another goes | 19 µs |
//! | the same on two threads at once | 48 µs for two |
//! | a prompt of 16 KiB (4 000 words), found / remembered | 146 µs / 96 µs |
//!
//! So a like question costs a three hundredth of a scan; of 719 that the scan found, it was found for 719. They took
//! 89 MiB of the process. Two threads get no more through it than one: calls of seconds leave room for that. The worst
//! that a prompt can do is to be 16 KiB long and meet another eight like it in each drawer: 160 comparisons of some
//! microseconds.

mod entry;
mod index;
mod signature;
mod store;
mod words;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::entry::Entry;
use self::index::Drawers;
use self::signature::Signature;
use self::store::Store;
use self::words::Words;

/// Remembers whole answers, and finds those to the same or to a like question.
///
/// A handle: clones are the same cache, so that several routes may share one. Bounded by
/// [`max_bytes`](Self::max_bytes) and [`max_age`](Self::max_age). Looking for a like question costs the same whatever the
/// number of answers, a two hundredth of a look at all of them if these are 100 000; of prompts above 16 KiB only the same
/// one is found. Answers and prompts above 256 KiB, and answers to requests above 512 KiB, are not remembered.
///
/// Only complete answers in plain text are remembered, each for the caller that asked: who that is tells the
/// [`KeyBy`](crate::KeyBy) of the layer, by credential and tenant unless told otherwise. A caller who limits the tokens of
/// the answer gets none that may be longer: one given under a limit that was no higher, or of no more bytes than tokens
/// are wanted.
#[derive(Clone)]
pub struct AnswerCache(Arc<Inner>);

struct Inner {
    settings: Settings,
    secret: RandomState,
    store: Mutex<Store>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    max_bytes: u64,
    max_age: Duration,
    similarity: f64,
}

/// A question, as far as the answer depends on it.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    /// On whose behalf it is asked, and of all that matters besides the prompt.
    pub(super) scope: (u64, u64),
    pub(super) prompt: &'a str,
    /// The tokens that the answer may have, if somebody has said.
    pub(super) limit: Option<u64>,
}

/// An answer that was found.
#[derive(Clone)]
pub(super) struct Found {
    entry: Arc<Entry>,
    /// 1 for the same question.
    pub(super) similarity: f64,
    pub(super) age: Duration,
}

/// An answer, or a prompt, longer than this is not remembered: 256 KiB.
const MAX_TEXT: usize = 256 * 1024;

/// For a longer prompt only the same one will do: 16 KiB. To tell what is like it would keep a thread busy.
const MAX_LIKE: usize = 16 * 1024;

impl Default for AnswerCache {
    fn default() -> Self {
        Self::new()
    }
}

impl AnswerCache {
    /// 64 MiB of answers, each for an hour; like questions are those of a similarity of at least 0.8.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Settings {
            max_bytes: 64 * 1024 * 1024,
            max_age: Duration::from_secs(60 * 60),
            similarity: 0.8,
        })
    }

    fn of(settings: Settings) -> Self {
        Self(Arc::new(Inner { settings, secret: RandomState::new(), store: Mutex::default() }))
    }

    /// At most so many bytes of memory for prompts, answers and all that finds them. What was given least recently goes
    /// first. Begins an empty cache.
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Self::of(Settings { max_bytes, ..self.0.settings })
    }

    /// An answer is good for this long. Begins an empty cache.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self::of(Settings { max_age, ..self.0.settings })
    }

    /// How alike two prompts have to be for the answer to one to do for the other: the words that both have, as a
    /// share of those that either has. 1 asks for the same words; above that, for the same prompt. Begins an empty
    /// cache.
    #[must_use]
    pub fn similarity(self, similarity: f64) -> Self {
        // Not `max`, to which what is no number is the same as 0: all would be alike.
        Self::of(Settings { similarity: similarity.clamp(0.0, f64::INFINITY), ..self.0.settings })
    }

    /// How many answers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets them all.
    pub fn clear(&self) {
        let gone = std::mem::take(&mut *self.store());
        // Dropped when the others may go on.
        drop(gone);
    }

    pub(super) fn insert(&self, key: Key<'_>, text: &str, now: Instant) {
        let Settings { max_bytes, max_age, .. } = self.0.settings;
        if key.prompt.len().max(text.len()) > MAX_TEXT {
            return;
        }
        let words = self.words(key);
        let entry = Entry {
            scope: key.scope,
            prompt: key.prompt.into(),
            drawers: self.drawers(key, words.as_ref()),
            words: words.unwrap_or_default(),
            limit: key.limit.unwrap_or(u64::MAX),
            text: text.into(),
            stored: now,
        };
        if entry.weight() <= max_bytes {
            let gone = self.store().insert(entry, max_bytes, max_age);
            drop(gone);
        }
    }

    /// The answer to the same question, else the one to the most like.
    pub(super) fn find(&self, key: Key<'_>, now: Instant) -> Option<Found> {
        let Settings { max_age, similarity: least, .. } = self.0.settings;
        let age = |entry: &Entry| now.saturating_duration_since(entry.stored);
        let will_do =
            |entry: &Entry| entry.scope == key.scope && age(entry) < max_age && entry.fits(key.limit);
        let found = |similarity, entry: Arc<Entry>| Found { similarity, age: age(&entry), entry };

        let drawer = self.drawers(key, None).same();
        let is_same = |entry: &&Arc<Entry>| *entry.prompt == *key.prompt && will_do(entry);
        if let Some(same) = self.store().same_as(drawer).find(is_same).cloned() {
            return Some(found(1.0, same));
        }
        let words = self.words(key)?;
        let candidates = self.store().like(self.drawers(key, Some(&words)).like());
        let alike = candidates.into_iter().filter(|entry| will_do(entry));
        alike
            .map(|entry| (entry.words.similarity(&words), entry))
            .filter(|(similarity, _)| *similarity >= least)
            // Of equals the latest.
            .max_by(|(a, one), (b, other)| a.total_cmp(b).then(one.stored.cmp(&other.stored)))
            .map(|(similarity, entry)| found(similarity, entry))
    }

    /// The words of a prompt for which a like one would do.
    fn words(&self, key: Key<'_>) -> Option<Words> {
        let may_be_like = self.0.settings.similarity <= 1.0 && key.prompt.len() <= MAX_LIKE;
        may_be_like.then(|| Words::of(key.prompt, &self.0.secret))
    }

    fn drawers(&self, key: Key<'_>, words: Option<&Words>) -> Drawers {
        let same = self.0.secret.hash_one((key.scope, key.prompt));
        let like = words.map(|words| {
            let scope = self.0.secret.hash_one((key.scope, words.others()));
            Signature::of(words.plain()).bands(scope)
        });
        Drawers::new(same, like.into_iter().flatten())
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    pub(super) fn text(&self) -> &str {
        &self.entry.text
    }
}

impl fmt::Debug for AnswerCache {
    /// Nothing of what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache")
            .field("settings", &self.0.settings)
            .field("answers", &self.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("similarity", &self.similarity)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
