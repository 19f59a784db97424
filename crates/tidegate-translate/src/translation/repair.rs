//! Repairs JSON strings that contain lone surrogates.
//!
//! JSON escapes a character above U+FFFF as two surrogates. Software that counts UTF-16 code units may cut
//! between them, so that a stream event or a truncated prompt ends in a lone surrogate. Parsers reject this,
//! Anthropic's as well ("no low surrogate in string"). One replacement character is better than a lost event
//! or prompt.

use std::borrow::Cow;

use super::split_surrogates::{MARK, mark};

/// The escape of U+FFFD, which replaces a lone surrogate as it replaces invalid UTF-8.
const REPLACEMENT: &str = "\\ufffd";

/// Decodes bytes as UTF-8 with invalid bytes and lone surrogate escapes replaced by U+FFFD.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    // Parsers reject a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(json) => replace_lone_surrogates(json),
        Cow::Owned(json) => Cow::Owned(replace_lone_surrogates(&json).into_owned()),
    }
}

/// Like [`decode`], but half a surrogate pair at the edge of a string is replaced by its
/// [mark](super::split_surrogates), because the other half may be in another event.
pub(super) fn decode_event(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(json) => mark_split_surrogates(json),
        Cow::Owned(json) => Cow::Owned(mark_split_surrogates(&json).into_owned()),
    }
}

fn mark_split_surrogates(json: &str) -> Cow<'_, str> {
    let mut has_marks = None;
    replace_with(json, |surrogate, is_at_edge| {
        // Text that contains the mark itself must pass unchanged.
        let find = || json.contains(MARK) || json.to_ascii_lowercase().contains("\\udbff\\udfff");
        if is_at_edge && !*has_marks.get_or_insert_with(find) {
            Cow::Owned(mark(surrogate))
        } else {
            Cow::Borrowed(REPLACEMENT)
        }
    })
}

/// Replaces lone surrogate escapes in JSON text by U+FFFD.
pub(super) fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    replace_with(json, |_, _| Cow::Borrowed(REPLACEMENT))
}

/// Replaces each lone surrogate by that of `replacement`, which is called with the surrogate and whether it
/// is a high one at the end of a string or a low one at its beginning.
fn replace_with(json: &str, mut replacement: impl FnMut(u16, bool) -> Cow<'static, str>) -> Cow<'_, str> {
    let (mut repaired, mut kept, mut at) = (String::new(), 0, 0);
    // The end of the last escape, which may be an escaped quote.
    let mut escaped = 0;
    while let Some(next) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        at += next;
        match (surrogate_at(json, at), surrogate_at(json, at + 6)) {
            (Some(Surrogate::High(_)), Some(Surrogate::Low(_))) => at += 12,
            (Some(surrogate), _) => {
                let quote = Some(&b'"');
                let (surrogate, is_at_edge) = match surrogate {
                    Surrogate::High(high) => (high, json.as_bytes().get(at + 6) == quote),
                    Surrogate::Low(low) => (low, at > escaped && json.as_bytes().get(at - 1) == quote),
                };
                repaired += &json[kept..at];
                repaired += &replacement(surrogate, is_at_edge);
                at += 6;
                kept = at;
            }
            // The next byte is escaped and may be a backslash.
            (None, _) => at = json.len().min(at + 2),
        }
        escaped = at;
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    Cow::Owned(repaired + &json[kept..])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Surrogate {
    High(u16),
    Low(u16),
}

/// The surrogate with an escape that starts at `at`, if there is one.
fn surrogate_at(json: &str, at: usize) -> Option<Surrogate> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    match u16::from_str_radix(digits, 16).ok()? {
        high @ 0xd800..=0xdbff => Some(Surrogate::High(high)),
        low @ 0xdc00..=0xdfff => Some(Surrogate::Low(low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_surrogates_are_replaced_and_all_else_is_unchanged() {
        for (json, expected) in [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\ude00b""#, r#""\ufffdb""#),
            (r#""\uD83D\uDE00""#, r#""\uD83D\uDE00""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            // An escaped backslash followed by letters.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\u00e9\ud83""#, r#""\u00e9\ud83""#),
            ("\"\\é", "\"\\é"),
            ("\\", "\\"),
        ] {
            assert_eq!(replace_lone_surrogates(json), expected, "{json}");
        }
        assert_eq!(decode(b"\"\xff\\ud83d\""), "\"\u{fffd}\\ufffd\"");
    }

    #[test]
    fn a_half_at_the_edge_of_a_string_is_marked() {
        let (high, low) = (mark(0xd83c), mark(0xdf0d));
        for (json, expected) in [
            (r#"{"a":"x\ud83c"}"#, format!("{{\"a\":\"x{high}\"}}")),
            (r#"["\uDF0Dx"]"#, format!("[\"{low}x\"]")),
            (r#"["\udf0d\ud83c"]"#, format!("[\"{low}{high}\"]")),
            (r#"["\"\udf0d"]"#, r#"["\"\ufffd"]"#.to_owned()),
            (r#"["\ud83c\""]"#, r#"["\ufffd\""]"#.to_owned()),
            (r#"["x\udf0d","\ud83cx"]"#, r#"["x\ufffd","\ufffdx"]"#.to_owned()),
            (r#"["\ud83c","\uDBFF\uDFFF"]"#, r#"["\ufffd","\uDBFF\uDFFF"]"#.to_owned()),
            ("[\"\\ud83c\",\"\u{10ffff}\"]", "[\"\\ufffd\",\"\u{10ffff}\"]".to_owned()),
        ] {
            assert_eq!(decode_event(json.as_bytes()), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn repaired_json_can_be_parsed(pieces in prop::collection::vec(prop::sample::select(vec![
            "\\\\", "\\u", "d83d", "de00", "\\ud83d", "\\ude00", "\\n", "é", "\u{1f600}", "x",
        ]), 0..12)) {
            let json = format!("\"{}\"", pieces.concat());
            let repaired = replace_lone_surrogates(&json);
            prop_assert_eq!(replace_lone_surrogates(&repaired), repaired.as_ref());
            // A trailing backslash without its escaped character is invalid JSON and is not repaired.
            if serde_json::from_str::<&serde_json::value::RawValue>(&json).is_ok() {
                prop_assert!(serde_json::from_str::<String>(&repaired).is_ok(), "{}", repaired);
            }
            if serde_json::from_str::<String>(&json).is_ok() {
                prop_assert_eq!(repaired.as_ref(), &json);
            }
        }
    }
}
