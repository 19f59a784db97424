//! Answers that were given, for when nobody can give one.

mod index;
mod words;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use self::index::{Drawers, Index};
use self::words::Words;

/// Remembers whole answers, and finds those to the same or to a like question.
///
/// A handle: clones are the same cache, so that several routes may share one. Bounded by
/// [`max_bytes`](Self::max_bytes) and [`max_age`](Self::max_age). Looking up a like question costs the same whatever the
/// number of answers: a hundred hashes for each word of the prompt, and at most 160 comparisons. Of prompts above 16 KiB only
/// the same one is found. The index is bounded too, apart from `max_bytes`: it holds like questions for one answer in each
/// 4 KiB of it, the latest ones.
///
/// Only complete answers in plain text are remembered, each for the caller that asked: who that is tells the
/// [`KeyBy`](crate::KeyBy) of the layer, by credential and tenant unless told otherwise.
#[derive(Clone)]
pub struct AnswerCache(Arc<Inner>);

struct Inner {
    settings: Settings,
    secret: RandomState,
    answers: Cache<u64, Arc<Entry>, Weight>,
    index: Index,
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
}

struct Entry {
    scope: (u64, u64),
    prompt: Box<str>,
    words: Words,
    text: Arc<str>,
    stored: Instant,
}

/// An answer that was found.
#[derive(Clone, PartialEq)]
pub(super) struct Found {
    pub(super) text: Arc<str>,
    /// 1 for the same question.
    pub(super) similarity: f64,
    pub(super) age: Duration,
}

/// An answer, or a prompt, longer than this is not remembered: 256 KiB.
const MAX_TEXT: usize = 256 * 1024;

/// For a longer prompt only the same one will do: 16 KiB. To tell what is like it would keep a thread busy.
const MAX_LIKE: usize = 16 * 1024;

/// What an answer is guessed to need, for the number of drawers.
const USUAL: u64 = 4 * 1024;

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
        let answers = usize::try_from(settings.max_bytes / USUAL).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        Self(Arc::new(Inner {
            settings,
            secret: RandomState::new(),
            answers: Cache::with_weighter(answers, settings.max_bytes, Weight),
            index: Index::new(answers),
        }))
    }

    /// At most so many bytes of prompts and answers. The least used go first. Begins an empty cache.
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
        self.0.answers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.answers.is_empty()
    }

    /// Forgets them all.
    pub fn clear(&self) {
        self.0.answers.clear();
    }

    pub(super) fn insert(&self, key: Key<'_>, text: &str, now: Instant) {
        if key.prompt.len().max(text.len()) > MAX_TEXT {
            return;
        }
        let number = self.number(key);
        let words = Words::of(if key.prompt.len() <= MAX_LIKE { key.prompt } else { "" }, &self.0.secret);
        if key.prompt.len() <= MAX_LIKE {
            self.0.index.insert(&self.drawers(&words, key), number);
        }
        let entry =
            Entry { scope: key.scope, prompt: key.prompt.into(), words, text: text.into(), stored: now };
        self.0.answers.insert(number, Arc::new(entry));
    }

    /// The answer to the same question, else the one to the most like.
    pub(super) fn find(&self, key: Key<'_>, now: Instant) -> Option<Found> {
        let fresh = |number: &u64| {
            let entry = self.0.answers.get(number).filter(|entry| entry.scope == key.scope)?;
            (now.saturating_duration_since(entry.stored) < self.0.settings.max_age).then_some(entry)
        };
        let found = |entry: Arc<Entry>, similarity| Found {
            text: Arc::clone(&entry.text),
            similarity,
            age: now.saturating_duration_since(entry.stored),
        };
        if let Some(same) = fresh(&self.number(key)).filter(|entry| *entry.prompt == *key.prompt) {
            return Some(found(same, 1.0));
        }
        if self.0.settings.similarity > 1.0 || key.prompt.len() > MAX_LIKE {
            return None;
        }
        let words = Words::of(key.prompt, &self.0.secret);
        let candidates = self.0.index.candidates(&self.drawers(&words, key));
        candidates
            .iter()
            .filter_map(fresh)
            .map(|entry| (entry.words.similarity(&words), entry))
            .filter(|(similarity, _)| *similarity >= self.0.settings.similarity)
            // Of equals the latest.
            .max_by(|(a, one), (b, other)| a.total_cmp(b).then(one.stored.cmp(&other.stored)))
            .map(|(similarity, entry)| found(entry, similarity))
    }

    fn number(&self, key: Key<'_>) -> u64 {
        self.0.secret.hash_one((key.scope, key.prompt))
    }

    fn drawers(&self, words: &Words, key: Key<'_>) -> Drawers {
        Drawers::of(words, key.scope, &self.0.secret)
    }
}

/// The bytes that an answer takes.
#[derive(Clone, Copy)]
struct Weight;

impl Weighter<u64, Arc<Entry>> for Weight {
    fn weight(&self, _: &u64, entry: &Arc<Entry>) -> u64 {
        let lengths = entry.prompt.len() + entry.text.len() + entry.words.len() * size_of::<u64>();
        (size_of::<Entry>() + lengths) as u64
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCOPE: (u64, u64) = (1, 2);

    fn key(prompt: &str) -> Key<'_> {
        Key { scope: SCOPE, prompt }
    }

    fn text(cache: &AnswerCache, prompt: &str, now: Instant) -> Option<(String, f64)> {
        cache.find(key(prompt), now).map(|found| (found.text.to_string(), found.similarity))
    }

    #[test]
    fn the_same_question_goes_before_a_like_one_and_that_before_one_less_like() {
        let (cache, now) = (AnswerCache::new(), Instant::now());
        let base = "a b c d e f g h i j";
        cache.insert(key(&format!("{base} k")), "eleven", now);
        cache.insert(key(&format!("{base} k l")), "twelve", now);
        assert_eq!(text(&cache, &format!("{base} k"), now), Some(("eleven".into(), 1.0)));
        let (best, similarity) = text(&cache, base, now).unwrap();
        assert_eq!((&*best, similarity > 0.9), ("eleven", true));
        assert_eq!(text(&cache, "z y x w v", now), None);
        // The same words are as good as the same prompt, but that one is the answer to this.
        cache.insert(key(&format!("k {base}")), "turned", now);
        assert_eq!(text(&cache, &format!("{base} k"), now), Some(("eleven".into(), 1.0)));
    }

    #[test]
    fn nobody_gets_the_answer_to_another_scope() {
        let (cache, now) = (AnswerCache::new(), Instant::now());
        cache.insert(key("what is rust"), "a language", now);
        for scope in [(1, 3), (3, 2)] {
            assert_eq!(cache.find(Key { scope, prompt: "what is rust" }, now), None);
            assert_eq!(cache.find(Key { scope, prompt: "what is Rust?" }, now), None);
        }
    }

    #[test]
    fn an_answer_grows_old_and_a_newer_one_takes_its_place() {
        let (cache, start) = (AnswerCache::new().max_age(Duration::from_secs(10)), Instant::now());
        cache.insert(key("q"), "old", start);
        let later = start + Duration::from_secs(9);
        assert_eq!(cache.find(key("q"), later).unwrap().age, Duration::from_secs(9));
        assert_eq!(text(&cache, "Q!", start + Duration::from_secs(10)), None);
        cache.insert(key("q"), "new", later);
        assert_eq!(text(&cache, "q", start + Duration::from_secs(10)), Some(("new".into(), 1.0)));
        cache.clear();
        assert!(cache.is_empty() && text(&cache, "q", later).is_none());
    }

    #[test]
    fn similarity_may_be_switched_off_and_lowered() {
        let now = Instant::now();
        for (least, like) in [(1.1, false), (1.0, true), (0.5, true)] {
            let cache = AnswerCache::new().similarity(least);
            cache.insert(key("what is rust"), "a language", now);
            assert_eq!(text(&cache, "What is Rust?", now).is_some(), like, "{least}");
            assert!(text(&cache, "what is rust", now).is_some());
        }
    }

    #[test]
    fn is_bounded_in_bytes_and_forgets_nothing_larger_than_its_bound() {
        let (cache, now) = (AnswerCache::new().max_bytes(256 * 1024), Instant::now());
        for number in 0..10_000 {
            cache.insert(key(&format!("question number {number}")), &"x".repeat(1000), now);
        }
        assert!(cache.0.answers.weight() <= 256 * 1024, "{}", cache.0.answers.weight());
        assert!(cache.len() > 100);
        cache.insert(key("long"), &"x".repeat(MAX_TEXT + 1), now);
        cache.insert(key(&"x".repeat(MAX_TEXT + 1)), "long", now);
        assert_eq!(cache.find(key("long"), now), None);
    }

    #[test]
    fn nothing_of_a_prompt_or_an_answer_shows() {
        let (cache, now) = (AnswerCache::new(), Instant::now());
        cache.insert(key("secret question"), "secret answer", now);
        let shown = format!("{cache:?} {:?}", cache.find(key("secret question"), now));
        assert!(!shown.contains("secret"), "{shown}");
    }

    /// A word for a number.
    fn letters(mut number: u32) -> String {
        let mut word = String::new();
        while number > 0 || word.is_empty() {
            word.push(char::from(b'a' + (number % 26) as u8));
            number /= 26;
        }
        word
    }

    proptest! {
        /// The index finds what a look at everything would have found, but for the few that signatures miss.
        #[test]
        fn finds_what_is_alike_among_many(
            seed in any::<u64>(), length in 10usize..60, changed in 0usize..4, crowd in 0usize..40,
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut sentence = |words: usize| -> Vec<String> {
                (0..words).map(|_| letters(random.u32(0..5_000))).collect()
            };
            let (cache, now) = (AnswerCache::new(), Instant::now());
            let mut original = sentence(length);
            cache.insert(key(&original.join(" ")), "found", now);
            for _ in 0..crowd {
                cache.insert(key(&sentence(length).join(" ")), "crowd", now);
            }
            let before = Words::of(&original.join(" "), &cache.0.secret);
            for word in original.iter_mut().take(changed) {
                *word += "x";
            }
            let asked = original.join(" ");
            let similarity = before.similarity(&Words::of(&asked, &cache.0.secret));
            let found = text(&cache, &asked, now);
            if similarity >= 0.9 {
                prop_assert_eq!(found, Some(("found".into(), similarity)));
            } else if similarity < 0.8 {
                prop_assert_eq!(found, None);
            }
        }
    }
}
