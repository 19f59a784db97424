//! JSON whose strings are text.
//!
//! A character beyond the first 65 536 is written as two escapes, and who counts in these halves may cut between them:
//! a piece of a stream then ends in one, and a prompt that was shortened does, too. Parsers refuse it, Anthropic's as well
//! ("no low surrogate in string"). Better one mark of replacement than a piece, or a prompt, that gets lost.

use std::borrow::Cow;

/// What stands for half a character, as for bytes that are none.
const REPLACEMENT: &str = "\\ufffd";

/// The bytes as text in which no character is broken.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(json) => escapes(json),
        Cow::Owned(json) => Cow::Owned(escapes(&json).into_owned()),
    }
}

/// The same JSON without halves of characters.
pub(super) fn escapes(json: &str) -> Cow<'_, str> {
    let (mut mended, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(next) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        at += next;
        match (half(json, at), half(json, at + 6)) {
            (Some(Half::First), Some(Half::Second)) => at += 12,
            (Some(_), _) => {
                mended += &json[kept..at];
                mended += REPLACEMENT;
                at += 6;
                kept = at;
            }
            // The backslash may hide another.
            (None, _) => at = json.len().min(at + 2),
        }
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    Cow::Owned(mended + &json[kept..])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    First,
    Second,
}

/// The half of a character that is written at `at`, if one is.
fn half(json: &str, at: usize) -> Option<Half> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::First),
        0xdc00..=0xdfff => Some(Half::Second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_replaced_and_all_else_is_left_as_it_was() {
        for (json, expected) in [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\ude00b""#, r#""\ufffdb""#),
            (r#""\uD83D\uDE00""#, r#""\uD83D\uDE00""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            // A backslash, and letters.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\u00e9\ud83""#, r#""\u00e9\ud83""#),
            ("\"\\é", "\"\\é"),
            ("\\", "\\"),
        ] {
            assert_eq!(escapes(json), expected, "{json}");
        }
        assert_eq!(text(b"\"\xff\\ud83d\""), "\"\u{fffd}\\ufffd\"");
    }

    proptest! {
        #[test]
        fn what_is_mended_can_be_read(pieces in prop::collection::vec(prop::sample::select(vec![
            "\\\\", "\\u", "d83d", "de00", "\\ud83d", "\\ude00", "\\n", "é", "\u{1f600}", "x",
        ]), 0..12)) {
            let json = format!("\"{}\"", pieces.concat());
            let mended = escapes(&json);
            prop_assert_eq!(escapes(&mended), mended.as_ref());
            // A backslash may have lost what it stood before, which no parser reads and nobody mends.
            if serde_json::from_str::<&serde_json::value::RawValue>(&json).is_ok() {
                prop_assert!(serde_json::from_str::<String>(&mended).is_ok(), "{}", mended);
            }
            if serde_json::from_str::<String>(&json).is_ok() {
                prop_assert_eq!(mended.as_ref(), &json);
            }
        }
    }
}
