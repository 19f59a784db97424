//! The similarity of two prompts.

use std::hash::{BuildHasher, Hash, Hasher};
use std::iter;

/// Quotes and brackets before words, and punctuation after them, that are not part of them.
const BEFORE: &[char] = &['"', '\'', '“', '„', '‘', '«', '(', '[', '¿', '¡'];
const AFTER: &[char] =
    &['.', ',', ';', ':', '!', '?', '"', '\'', '“', '”', '’', '»', ')', ']', '…', '。', '、', '？', '！'];

/// What may end a prompt without a meaning: one of these.
const END: &[char] = &['.', '?', ',', '…', '。', '？', '、'];

/// What divides a courtesy from the prompt.
const DIVIDERS: &[char] = &[',', '.', '?', '!', '…', '。', '？', '！'];

/// Words that do not change the meaning of a prompt, if they are divided from its beginning or end.
const COURTESIES: [&str; 7] = ["hallo", "hello", "hey", "hi", "ok", "okay", "thanks"];

/// The words of a prompt as a set of sorted hashes, in lower case and without surrounding punctuation.
///
/// One word may turn a prompt into another one: a name, a number, "without" for "with", and so may the order
/// of two words, a sign, a bracket in code, or how far a line is indented. All tokens therefore have to be
/// equal and in the same order, but for [`COURTESIES`] around them and for the mark at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WordSet {
    plain: Box<[u64]>,
    exact: u64,
}

impl WordSet {
    pub(super) fn of(text: &str, secret: &impl BuildHasher) -> Self {
        let text = text.to_lowercase();
        let tokens: Vec<&str> = text.trim().lines().flat_map(tokens_of).collect();
        let mut plain: Vec<u64> =
            tokens.iter().filter_map(|token| plain_word(token)).map(|word| secret.hash_one(word)).collect();
        plain.sort_unstable();
        plain.dedup();
        let mut exact = secret.build_hasher();
        if let Some((last, before)) = without_courtesies(&tokens).split_last() {
            before.iter().for_each(|token| token.hash(&mut exact));
            last.strip_suffix(END).filter(|rest| !rest.is_empty()).unwrap_or(last).hash(&mut exact);
        }
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

/// The tokens of a line. The first one begins with the indentation.
fn tokens_of(line: &str) -> impl Iterator<Item = &str> {
    let indentation = line.len() - line.trim_start().len();
    let end = line[indentation..].find(char::is_whitespace).map_or(line.len(), |end| indentation + end);
    let (first, rest) = line.split_at(end);
    iter::once(first).filter(|first| !first.trim().is_empty()).chain(rest.split_whitespace())
}

/// The tokens of a prompt without the courtesies around it. One token is left at least.
fn without_courtesies<'a, 'b>(mut tokens: &'a [&'b str]) -> &'a [&'b str] {
    while let [first, rest @ ..] = tokens
        && !rest.is_empty()
        && is_courtesy(first, first.ends_with(DIVIDERS))
    {
        tokens = rest;
    }
    while let [rest @ .., last] = tokens
        && let Some(before) = rest.last()
        && is_courtesy(last, before.ends_with(DIVIDERS) && !before.ends_with(','))
    {
        tokens = rest;
    }
    tokens
}

/// Whether `token` is a courtesy. Where it is not divided from the prompt, another one may be what the prompt
/// is about; a prompt from which `please` is missing makes no sense then.
fn is_courtesy(token: &str, is_divided: bool) -> bool {
    let word = token.trim_end_matches(DIVIDERS);
    word == "please" || is_divided && COURTESIES.contains(&word)
}

/// The word in `token`, if that is a plain one. A single letter may be a variable or a grade, and signs
/// around it belong to it.
fn plain_word(token: &str) -> Option<&str> {
    let word = token.trim_start().trim_start_matches(BEFORE).trim_end_matches(AFTER);
    let is_plain = word.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '-');
    (is_plain && word.starts_with(char::is_alphabetic) && word.chars().nth(1).is_some()).then_some(word)
}

#[cfg(test)]
mod tests {
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
            ("?", " ", 0.0),
            ("What is Rust?", "what is  rust", 1.0),
            ("please tell me the time", "Tell me the time, please!", 1.0),
            ("tell me the time", "Please tell me the time.", 0.8),
            ("Hello, tell us", "tell us", 2.0 / 3.0),
            ("Hi! OK, tell us. Thanks!", "tell us", 2.0 / 5.0),
            ("Hello.", "hello", 1.0),
            ("tell\tus\nthis", "tell us this", 1.0),
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
            ("what does the ? operator do in Rust", "what does the : operator do in Rust"),
            ("what does the ... operator do", "what does the operator do"),
            ("what does … mean", "what does — mean"),
            ("what is (abc)", "what is [abc]"),
            ("what is \"abc\"", "what is 'abc'"),
            ("what does empty? return", "what does empty! return"),
            ("what does sort! do", "what does sort do"),
            ("what does else: do", "what does else; do"),
            ("translate the word hello", "translate the word thanks"),
            ("translate the word please", "translate the word kindly"),
            ("is it okay to leave", "is it to leave"),
            ("translate the", "translate an"),
            ("Hello: a title", "Thanks: a title"),
            ("say hello", "say hi"),
            ("before midnight", "after midnight"),
            ("translate no", "translate no no"),
            ("always", "never"),
        ] {
            let [one, other] = [a, b].map(|prompt| WordSet::of(&format!("{prompt} {rest}"), &secret));
            assert!(one.similarity(&other) < 1e-9, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_courtesy_that_may_be_the_subject_makes_a_difference() {
        let secret = RandomState::new();
        for (a, b) in [
            ("Hello in French?", "Thanks in French?"),
            ("What is the German word for please?", "What is the German word for thanks?"),
            ("How do you say hello", "How do you say hi"),
            ("Hello!", "Thanks!"),
            ("Is it ok", "Is it"),
            ("Translate: yes, thanks", "Translate: yes, hello"),
            ("Explain ?", "Explain :"),
            ("Explain sort!", "Explain sort"),
            ("if x:\n  a\nb", "if x:\n  a\n  b"),
        ] {
            let [one, other] = [a, b].map(|prompt| WordSet::of(prompt, &secret));
            assert!(one.exact() != other.exact(), "{a:?} {b:?}");
        }
    }

    /// Words, signs, and words with signs around them, courtesies among them.
    fn tokens() -> impl Strategy<Value = Vec<String>> {
        let token = "[(\\[\"'.:?!,;—]{0,2}(hello|thanks|please|ok|the|an|[ab]{0,2}|[0-9]|[а-в])[)\\]\"'.:?!,;—…]{0,2}";
        prop::collection::vec(token, 0..6)
            .prop_map(|tokens| tokens.into_iter().filter(|token| !token.is_empty()).collect())
    }

    proptest! {
        #[test]
        fn all_tokens_between_the_first_and_the_last_make_a_difference(a in tokens(), b in tokens()) {
            let secret = RandomState::new();
            let of = |tokens: &[String]| WordSet::of(&format!("explain {} now", tokens.join(" ")), &secret);
            prop_assert_eq!(of(&a).exact() == of(&b).exact(), a == b, "{:?} {:?}", a, b);
            prop_assert_eq!(of(&a).similarity(&of(&b)) > 0.0, a == b);
        }

        #[test]
        fn the_end_of_the_sentence_and_courtesies_around_it_make_none(
            middle in tokens(),
            before in prop::sample::select(vec!["", "Hello, ", "hi! ", "Hey, please ", "PLEASE ", "OK. Thanks, "]),
            after in prop::sample::select(vec!["", ".", "?", " please", ", please!", ". Thanks!", "? OK, please"]),
        ) {
            let secret = RandomState::new();
            let prompt = format!("explain {} now", middle.join(" "));
            let [one, other] =
                [prompt.clone(), format!("{before}{prompt}{after}")].map(|prompt| WordSet::of(&prompt, &secret));
            prop_assert_eq!(one.exact(), other.exact());
        }
    }
}
