//! Surrogate pairs that a host has split over two events.
//!
//! Software that counts UTF-16 code units may end an event between the two escapes of one character. An event
//! is parsed alone, and a Rust string cannot contain half a character. So a half at the edge of a JSON string
//! is replaced by a mark ([`mark`]), which passes through the JSON parser. Where the pieces of a text come
//! together, [`HeldHalf`] turns the marks of both events into the character. All other text uses
//! [`without_marks`].

use std::borrow::Cow;

/// The first character of a mark. Unicode reserves it for internal use.
pub(super) const MARK: char = '\u{10ffff}';

/// The second character of a mark is this one plus the offset of the surrogate.
const FIRST_HALF: u32 = 0x10_f000;

const FIRST_SURROGATE: u16 = 0xd800;
const FIRST_LOW_SURROGATE: u16 = 0xdc00;
const LAST_SURROGATE: u16 = 0xdfff;

/// The mark of a surrogate.
pub(super) fn mark(surrogate: u16) -> String {
    let half = FIRST_HALF + u32::from(surrogate.saturating_sub(FIRST_SURROGATE));
    [MARK, char::from_u32(half).unwrap_or(char::REPLACEMENT_CHARACTER)].iter().collect()
}

/// The high surrogate at the end of a text that continues in a later event.
#[derive(Default)]
pub(super) struct HeldHalf(Option<u16>);

impl HeldHalf {
    /// Joins the next piece with the half before it, and holds the half at its end. A half without the other
    /// becomes U+FFFD.
    pub(super) fn join<'a>(&mut self, piece: &'a str) -> Cow<'a, str> {
        if piece.is_empty() || (self.0.is_none() && !piece.contains(MARK)) {
            return Cow::Borrowed(piece);
        }
        let (low, rest) = match leading_half(piece) {
            Some((half, rest)) if half >= FIRST_LOW_SURROGATE => (Some(half), rest),
            _ => (None, piece),
        };
        let (high, rest) = match trailing_half(rest) {
            Some((half, rest)) if half < FIRST_LOW_SURROGATE => (Some(half), rest),
            _ => (None, rest),
        };
        let first = match (std::mem::replace(&mut self.0, high), low) {
            (None, None) => None,
            (Some(high), Some(low)) => char::decode_utf16([high, low]).next().and_then(Result::ok),
            _ => Some(char::REPLACEMENT_CHARACTER),
        };
        let rest = without_marks(rest);
        match first {
            None => rest,
            Some(first) => Cow::Owned(format!("{first}{rest}")),
        }
    }

    /// What the held half becomes if the text ends here.
    pub(super) fn take(&mut self) -> Option<char> {
        self.0.take().map(|_| char::REPLACEMENT_CHARACTER)
    }
}

/// The text with U+FFFD for each mark.
pub(super) fn without_marks(text: &str) -> Cow<'_, str> {
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let (mut clean, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(MARK) {
        clean += before;
        let marked = after.strip_prefix(|char| half(char).is_some());
        clean.push(if marked.is_some() { char::REPLACEMENT_CHARACTER } else { MARK });
        rest = marked.unwrap_or(after);
    }
    Cow::Owned(clean + rest)
}

fn leading_half(text: &str) -> Option<(u16, &str)> {
    let rest = text.strip_prefix(MARK)?;
    let char = rest.chars().next()?;
    Some((half(char)?, &rest[char.len_utf8()..]))
}

fn trailing_half(text: &str) -> Option<(u16, &str)> {
    let char = text.chars().next_back()?;
    let rest = text[..text.len() - char.len_utf8()].strip_suffix(MARK)?;
    Some((half(char)?, rest))
}

/// The surrogate of the second character of a mark.
fn half(char: char) -> Option<u16> {
    let offset = u16::try_from(u32::from(char).checked_sub(FIRST_HALF)?).ok()?;
    FIRST_SURROGATE.checked_add(offset).filter(|half| *half <= LAST_SURROGATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(pieces: &[&str]) -> String {
        let mut held = HeldHalf::default();
        let mut text: String = pieces.iter().map(|piece| held.join(piece)).collect();
        text.extend(held.take());
        text
    }

    #[test]
    fn the_halves_of_two_pieces_become_one_character() {
        let (high, low) = (mark(0xd83c), mark(0xdf0d));
        for (pieces, expected) in [
            (vec![format!("a{high}"), format!("{low}b")], "a🌍b"),
            (vec![high.clone(), String::new(), low.clone()], "🌍"),
            (vec![format!("{high}"), format!("{low}{high}"), low.clone()], "🌍🌍"),
            (vec![format!("a{high}"), "b".to_owned()], "a\u{fffd}b"),
            (vec![format!("a{high}")], "a\u{fffd}"),
            (vec!["a".to_owned(), format!("{low}b")], "a\u{fffd}b"),
            (vec![high.clone(), high.clone(), low], "\u{fffd}🌍"),
            (vec!["é".to_owned(), String::new(), "😀".to_owned()], "é😀"),
        ] {
            let pieces: Vec<_> = pieces.iter().map(|piece| &**piece).collect();
            assert_eq!(joined(&pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn text_outside_of_a_stream_of_pieces_has_no_marks() {
        let half = mark(0xdfff);
        assert_eq!(without_marks(&format!("a{half}b{half}")), "a\u{fffd}b\u{fffd}");
        for text in ["a\u{10f000}", "a\u{10ffff}", "\u{10ffff}b"] {
            assert_eq!((&*without_marks(text), &*joined(&[text])), (text, text));
        }
    }
}
