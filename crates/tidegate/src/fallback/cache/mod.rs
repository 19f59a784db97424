//! Answers that were given, for when nobody can give one.

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
/// [`max_bytes`](Self::max_bytes) and [`max_age`](Self::max_age).
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
        Self::of(Settings { similarity: similarity.max(0.0), ..self.0.settings })
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
