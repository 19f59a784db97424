//! Matches phrases in a message by whole words, never by substrings.

/// Whether `text` contains `phrase`, which is a list of words separated by single spaces. Case is ignored.
///
/// Words are runs of letters and digits, so `free-models-per-day` contains "per day" and "explanation" does
/// not contain "plan". Links are skipped: an ordinary rate limit may link to `https://.../settings/billing`.
pub(crate) fn contains_phrase(text: &str, phrase: &str) -> bool {
    after_phrase(text, phrase).is_some()
}

/// Whether `text` contains one of `phrases`.
pub(crate) fn contains_any_phrase(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| contains_phrase(text, phrase))
}

/// Whether `text` has the words of `phrase` and no others. `#` in `phrase` stands for a number.
pub(crate) fn is_phrase(text: &str, phrase: &str) -> bool {
    let (mut words, mut expected) = (words(text), phrase.split(' '));
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    loop {
        match (words.next(), expected.next()) {
            (None, None) => return true,
            (Some(word), Some(expected)) if word == expected || expected == "#" && is_number(&word) => {}
            _ => return false,
        }
    }
}

/// Whether the first words of `text` are those of `phrase`.
pub(crate) fn begins_with(text: &str, phrase: &str) -> bool {
    let mut words = words(text);
    phrase.split(' ').all(|expected| words.next().is_some_and(|word| word == expected))
}

/// All words in lower case, those of links included.
fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase)
}

/// The text after the first occurrence of `phrase`.
pub(crate) fn after_phrase<'a>(text: &'a str, phrase: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        if let Some(rest) = phrase.split(' ').try_fold(rest, |rest, expected| {
            let (word, rest) = next_word(rest)?;
            word.eq_ignore_ascii_case(expected).then_some(rest)
        }) {
            return Some(rest);
        }
        (_, rest) = next_word(rest)?;
    }
}

/// The next word that is not part of a link, and the rest of the text.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let mut text = text;
    loop {
        let start = text.find(char::is_alphanumeric)?;
        let found = &text[start..];
        let end = found.find(|c: char| !c.is_alphanumeric()).unwrap_or(found.len());
        let (word, rest) = found.split_at(end);
        if !rest.starts_with("://") {
            return Some((word, rest));
        }
        text = rest.find(char::is_whitespace).map_or("", |end| &rest[end..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_and_in_any_case() {
        assert!(contains_phrase("You exceeded your current QUOTA, sorry", "current quota"));
        assert!(contains_phrase("free-models-per-day", "per day"));
        assert!(contains_phrase("enforced_spend_limit_reached", "spend limit"));
        assert!(contains_phrase("per per day", "per day"));
        assert!(!contains_phrase("see the explanation", "plan"));
        assert!(!contains_phrase("two perdays", "per day"));
        assert!(!contains_phrase("per", "per day"));
        assert!(!contains_phrase("", "plan"));
    }

    #[test]
    fn words_in_a_link_are_skipped() {
        let text = "slow down (https://example.com/settings/billing?plan=1), or pay";
        assert!(!contains_any_phrase(text, &["billing", "plan", "https", "settings"]));
        assert!(contains_phrase(text, "or pay") && contains_phrase(text, "slow down or"));
    }

    #[test]
    fn a_whole_text_has_no_other_words() {
        assert!(is_phrase("Insufficient Balance.", "insufficient balance"));
        for text in ["", "balance", "No balance", "insufficient balance: x", "insufficient balance http://x"]
        {
            assert!(!is_phrase(text, "insufficient balance"), "{text}");
        }
        assert!(is_phrase("Until 2026-04-01.", "until # # #"));
        for text in ["until 2026-04", "until 2026-04-01 x", "until 2026-04-x"] {
            assert!(!is_phrase(text, "until # # #"), "{text}");
        }
    }

    #[test]
    fn returns_the_text_after_the_phrase() {
        assert_eq!(after_phrase("Please retry in 5.3s.", "retry in"), Some(" 5.3s."));
        assert_eq!(after_phrase("retry later", "retry in"), None);
    }
}
