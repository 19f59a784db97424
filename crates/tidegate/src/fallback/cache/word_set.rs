//! The similarity of two prompts.

use std::hash::{BuildHasher, Hash, Hasher};

/// Quotes and brackets before words, and punctuation after them, that are not part of them.
const BEFORE: &[char] = &['"', '\'', '“', '„', '‘', '«', '(', '[', '¿', '¡'];
const AFTER: &[char] =
    &['.', ',', ';', ':', '!', '?', '"', '\'', '“', '”', '’', '»', ')', ']', '…', '。', '、', '？', '！'];

/// What may follow any other token, or stand alone, without a meaning.
const END_OF_SENTENCE: &[char] = &['.', ',', ';', ':', '?', '…', '–', '—', '。', '、', '？'];

/// Words that do not change the meaning of a prompt.
const FILLERS: [&str; 12] =
    ["an", "hallo", "hello", "hey", "hi", "kindly", "ok", "okay", "please", "thanks", "thank-you", "the"];

/// The words of a prompt as a set of sorted hashes, in lower case and without surrounding punctuation.
///
/// One word may turn a prompt into another one: a name, a number, "without" for "with", and so may the order of two
/// words. All tokens but [`FILLERS`] therefore have to be equal and in the same order. That includes tokens that are not
/// plain words, such as an operator, an emoji, `C++` or `.5`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WordSet {
    plain: Box<[u64]>,
    exact: u64,
}

impl WordSet {
    pub(super) fn of(text: &str, secret: &impl BuildHasher) -> Self {
        let (mut plain, mut exact) = (Vec::new(), secret.build_hasher());
        for token in text.to_lowercase().split_whitespace() {
            match plain_word(token) {
                Some(word) => {
                    plain.push(secret.hash_one(word));
                    if !FILLERS.contains(&word) {
                        word.hash(&mut exact);
                    }
                }
                None => {
                    let token = token.trim_end_matches(END_OF_SENTENCE);
                    if !token.is_empty() {
                        token.hash(&mut exact);
                    }
                }
            }
        }
        plain.sort_unstable();
        plain.dedup();
        Self { plain: plain.into(), exact: exact.finish() }
    }

    /// The number of words in both, divided by the number of words in either (Jaccard 1901). Two prompts
    /// without words are equal; a prompt without words is not similar to one with words.
    pub(super) fn similarity(&self, other: &Self) -> f64 {
        if self.exact != other.exact {
            return 0.0;
        }
        let (mut a, mut b) = (self.plain.iter().peekable(), other.plain.iter().peekable());
        let mut shared = 0usize;
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            match x.cmp(y) {
                std::cmp::Ordering::Less => drop(a.next()),
                std::cmp::Ordering::Greater => drop(b.next()),
                std::cmp::Ordering::Equal => {
                    shared += 1;
                    a.next();
                    b.next();
                }
            }
        }
        match self.plain.len() + other.plain.len() - shared {
            0 => 1.0,
            either => shared as f64 / either as f64,
        }
    }

    /// The hashes of the plain words, without duplicates.
    pub(super) fn plain(&self) -> &[u64] {
        &self.plain
    }

    /// A hash of all tokens that have to be equal.
    pub(super) fn exact(&self) -> u64 {
        self.exact
    }

    pub(super) fn len(&self) -> usize {
        self.plain.len()
    }
}

/// The word in `token`, if that is a plain one. A single letter may be a variable or a grade, and signs around it belong
/// to it.
fn plain_word(token: &str) -> Option<&str> {
    let word = token.trim_start_matches(BEFORE).trim_end_matches(AFTER);
    let is_plain = word.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '-');
    (is_plain && word.starts_with(char::is_alphabetic) && word.chars().nth(1).is_some()).then_some(word)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::collections::hash_map::RandomState;

    use proptest::prelude::*;

    use super::*;

    /// Seed item 44.
    #[test]
    fn words_are_compared_as_sets_in_lower_case() {
        let secret = RandomState::new();
        let similarity = |a, b| WordSet::of(a, &secret).similarity(&WordSet::of(b, &secret));
        for (a, b, expected) in [
            ("", "", 1.0),
            ("", "word", 0.0),
            ("word", "", 0.0),
            ("?", " ", 1.0),
            ("What is Rust?", "what is  rust", 1.0),
            ("please tell me the time", "Tell me the time, please!", 1.0),
            ("tell me the time", "Please tell me the time.", 0.8),
            ("(hello) tell us", "tell us", 2.0 / 3.0),
            ("ÄPFEL und Birnen", "äpfel UND birnen", 1.0),
            ("What is 20 + 30?", "what is 20 + 30", 1.0),
            ("It costs 5.", "it costs 5", 1.0),
        ] {
            assert!((similarity(a, b) - expected).abs() < 1e-9, "{a:?} {b:?}");
        }
    }

    /// Regression: the answer to one of them was given for the other, among enough other words.
    #[test]
    fn prompts_about_different_things_are_not_similar() {
        let secret = RandomState::new();
        let rest = "and explain the answer to a curious child in a few short and simple words";
        for (a, b) in [
            ("what is the capital of France", "what is the capital of Germany"),
            ("a recipe with nuts", "a recipe without nuts"),
            ("who won in 2023", "who won in 2024"),
            ("is it safe to eat", "is it not safe to eat"),
            ("is it safe to eat", "is it unsafe to eat"),
            ("flights from Paris to London", "flights from London to Paris"),
            ("does the dog bite the man", "does the man bite the dog"),
            ("what is vitamin A", "what is vitamin"),
            ("what is hepatitis B", "what is hepatitis C"),
            ("can you drink it", "can't you drink it"),
            ("don't stop", "dont stop"),
            ("what is 20 + 30", "what is 20 - 30"),
            ("is 5 greater than 3", "is 3 greater than 5"),
            ("what is 5", "what is 5!"),
            ("add .5 grams", "add 5 grams"),
            ("it is -5 degrees", "it is 5 degrees"),
            ("if (ready)", "if (!ready)"),
            ("what is f(x)", "what is f'(x)"),
            ("he is 5' tall", "he is 5\" tall"),
            ("learn C", "learn C++"),
            ("is x > y", "is x < y"),
            ("I feel 👍", "I feel 👎"),
            ("before midnight", "after midnight"),
            ("translate no", "translate no no"),
            ("always", "never"),
        ] {
            let [one, other] = [a, b].map(|prompt| WordSet::of(&format!("{prompt} {rest}"), &secret));
            assert!(one.similarity(&other) < 1e-9, "{a:?} {b:?}");
        }
    }

    fn is_filler(word: &String) -> bool {
        FILLERS.contains(&&**word)
    }

    proptest! {
        /// Words of any script, numbers, signs and fillers, in any order.
        #[test]
        fn agrees_with_sets_of_words_if_the_rest_is_equal(
            a in prop::collection::vec("an|the|please|not|[a-f]{2}|[0-9]|[+-]|[а-я]{2}", 0..12),
            b in prop::collection::vec("an|the|please|not|[a-f]{2}|[0-9]|[+-]|[а-я]{2}", 0..12),
            replaced in any::<prop::sample::Index>(),
        ) {
            let secret = RandomState::new();
            let similarity = |a: &[String], b: &[String]| {
                WordSet::of(&a.join(" "), &secret).similarity(&WordSet::of(&b.join(" ").to_uppercase(), &secret))
            };
            let meaning = |words: &[String]| -> Vec<String> {
                words.iter().filter(|word| !is_filler(word)).cloned().collect()
            };
            // The same words with other fillers, and any two prompts.
            let same = [&b.iter().filter(|word| is_filler(word)).cloned().collect::<Vec<_>>()[..], &meaning(&a)].concat();
            for other in [&same, &b] {
                let set = |words: &[String]| -> BTreeSet<String> {
                    words.iter().filter(|word| word.chars().all(char::is_alphabetic)).cloned().collect()
                };
                let either = set(&a).union(&set(other)).count();
                let share = set(&a).intersection(&set(other)).count() as f64 / either.max(1) as f64;
                let expected = match meaning(&a) == meaning(other) {
                    true if either == 0 => 1.0,
                    true => share,
                    false => 0.0,
                };
                prop_assert!((similarity(&a, other) - expected).abs() < 1e-9, "{:?} {:?}", a, other);
            }
            // One token that is no filler makes a difference, wherever it is.
            if let Some(word) = a.get(replaced.index(a.len().max(1))).filter(|word| !is_filler(word)) {
                let other: Vec<String> = a.iter().map(|it| if it == word { format!("{it}x") } else { it.clone() }).collect();
                prop_assert!(similarity(&a, &other) < 1e-9, "{:?} {:?}", a, other);
            }
        }
    }
}
