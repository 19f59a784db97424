//! The similarity of two prompts.

use std::hash::{BuildHasher, Hash, Hasher};

/// Characters around words that are not part of them.
const PUNCTUATION: &[char] =
    &['.', ',', ';', ':', '!', '?', '"', '\'', '(', ')', '[', ']', '…', '–', '—', '。', '、', '？'];

/// The words of a prompt as a set of sorted hashes, in lower case and without surrounding punctuation.
///
/// Tokens that are not plain words (a number, an operator, an emoji, `C++`) are too significant for a set:
/// "20 + 30" is not similar to "20 - 30". They all have to be equal and in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WordSet {
    plain: Box<[u64]>,
    exact: u64,
}

impl WordSet {
    pub(super) fn of(text: &str, secret: &impl BuildHasher) -> Self {
        let (mut plain, mut exact) = (Vec::new(), secret.build_hasher());
        for token in text.to_lowercase().split_whitespace() {
            let word = token.trim_matches(PUNCTUATION);
            match word.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '-') {
                true if word.is_empty() => {}
                true => plain.push(secret.hash_one(word)),
                false => word.hash(&mut exact),
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
            ("", "a", 0.0),
            ("a", "", 0.0),
            ("?!", " ", 1.0),
            ("What is Rust?", "what is  rust", 1.0),
            ("a b c d", "d c b a a a", 1.0),
            ("a b c d", "a b c e", 3.0 / 5.0),
            ("a b c d e", "a b c d", 0.8),
            ("ÄPFEL und Birnen", "äpfel UND birnen", 1.0),
            ("don't", "dont", 0.0),
            ("What is 20 + 30?", "What is 20 - 30?", 0.0),
            ("What is 20 + 30?", "what is 20 + 30", 1.0),
            ("Is 5 greater than 3", "Is 3 greater than 5", 0.0),
            ("👍", "👎", 0.0),
            ("C", "C++", 0.0),
            ("x > y", "x < y", 0.0),
        ] {
            assert!((similarity(a, b) - expected).abs() < 1e-9, "{a:?} {b:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_sets(a in prop::collection::vec(0u8..12, 0..20), b in prop::collection::vec(0u8..12, 0..20)) {
            let secret = RandomState::new();
            let text = |words: &[u8]| words.iter().map(|word| format!("w{}", char::from(b'a' + word))).collect::<Vec<_>>().join(" ");
            let similarity = WordSet::of(&text(&a), &secret).similarity(&WordSet::of(&text(&b), &secret));
            let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.iter().collect(), b.iter().collect());
            let either = a.union(&b).count();
            let expected = if either == 0 { 1.0 } else { a.intersection(&b).count() as f64 / either as f64 };
            prop_assert!((similarity - expected).abs() < 1e-9);
        }
    }
}
