//! Keeps the numbers of a document as they are written while it is a [`Value`](serde_json::Value).
//!
//! A parsed number has 64 bits: an id of 30 digits would change, and `1e400` would be an error. Each number
//! that a value would change is therefore a marked string meanwhile.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use memchr::memmem;
use serde_json::Number;
use serde_json::value::RawValue;

/// The beginning of a marked string. Random, so that no answer contains it.
static MARK: LazyLock<String> =
    LazyLock::new(|| format!("{:016x}#", RandomState::new().build_hasher().finish()));

/// The most numbers that are marked in one text. Each is a string of its own.
const MAX_MARKS: usize = 64 * 1024;

/// Whether this string is a number.
pub(crate) fn is_marked(text: &str) -> bool {
    text.starts_with(&**MARK)
}

/// Marks the numbers in a JSON text that a value would change; `None` if there are too many.
pub(crate) fn mark(json: &str) -> Option<Cow<'_, str>> {
    let (mut marked, mut kept, mut at, mut marks) = (String::new(), 0, 0, 0);
    while let Some(next) = json.as_bytes()[at..].iter().position(|byte| *byte == b'"' || starts_number(*byte))
    {
        at += next;
        if json.as_bytes()[at] == b'"' {
            at += 1 + string_len(&json[at + 1..]);
            continue;
        }
        let number = number_at(&json[at..]);
        if !is_exact(number) {
            marks += 1;
            if marks > MAX_MARKS {
                return None;
            }
            marked.extend([&json[kept..at], "\"", &MARK, number, "\""]);
            kept = at + number.len();
        }
        at += number.len();
    }
    if kept == 0 {
        return Some(Cow::Borrowed(json));
    }
    marked.push_str(&json[kept..]);
    Some(Cow::Owned(marked))
}

/// Replaces the marked strings in a JSON text by their numbers, also within texts of JSON. `None` if a part
/// of one is in another string.
pub(crate) fn unmark(json: &str) -> Option<Cow<'_, str>> {
    let (mut unmarked, mut kept) = (String::new(), 0);
    for at in memmem::find_iter(json.as_bytes(), MARK.as_bytes()) {
        // A quote, which is escaped in a text of JSON.
        let before = json[kept..at].strip_suffix('"')?.trim_end_matches('\\');
        let quote = &json[kept + before.len()..at];
        let number = number_at(&json[at + MARK.len()..]);
        let end = at + MARK.len() + number.len();
        json[end..].strip_prefix(quote)?;
        unmarked.extend([before, number]);
        kept = end + quote.len();
    }
    if kept == 0 {
        return Some(Cow::Borrowed(json));
    }
    unmarked.push_str(&json[kept..]);
    Some(Cow::Owned(unmarked))
}

fn starts_number(byte: u8) -> bool {
    byte == b'-' || byte.is_ascii_digit()
}

/// The characters of a number at the beginning of `json`.
fn number_at(json: &str) -> &str {
    let is_part = |byte: &u8| starts_number(*byte) || matches!(byte, b'+' | b'.' | b'e' | b'E');
    &json[..json.bytes().position(|byte| !is_part(&byte)).unwrap_or(json.len())]
}

/// The length of the rest of a string and its closing quote.
fn string_len(rest: &str) -> usize {
    let mut at = 0;
    while let Some(next) = memchr::memchr2(b'"', b'\\', &rest.as_bytes()[at..]) {
        at += next;
        if rest.as_bytes()[at] == b'"' {
            return at + 1;
        }
        // What is escaped may be a character of several bytes in a text that is not JSON.
        at += 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
    }
    rest.len()
}

/// Whether a value has the number as it is written. Text that is no number is left as it is, so that it
/// remains an error.
fn is_exact(number: &str) -> bool {
    // Small integers are by far the most common.
    (number.len() <= 18 && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit()))
        || serde_json::from_str::<&RawValue>(number).is_err()
        || serde_json::from_str::<Number>(number).is_ok_and(|value| value.to_string() == number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_what_a_value_would_change_is_marked() {
        for json in [
            "",
            "{}",
            "0",
            "-1.5",
            "[1,2.0,18446744073709551615]",
            r#"{"1.10":"1.10\"1.10"}"#,
            "1-1.10",
            "\"1.10",
        ] {
            assert_eq!(mark(json).as_deref(), Some(json));
        }
        for json in ["1.10", r#"{"a":[1.10,"1.10",-0]}"#, "1e400", "{\"a\":1.10"] {
            let marked = mark(json).unwrap();
            assert!(marked.contains(&*MARK), "{json}");
            assert_eq!(unmark(&marked).as_deref(), Some(json));
        }
    }

    #[test]
    fn the_number_of_marks_is_bounded() {
        let numbers = |count: usize| format!("[0{}]", ",-0".repeat(count));
        assert!(mark(&numbers(MAX_MARKS)).is_some() && mark(&numbers(MAX_MARKS + 1)).is_none());
    }

    #[test]
    fn a_mark_within_another_string_is_an_error() {
        for text in [format!("\"a{}1\"", *MARK), format!("\"{}1a\"", *MARK), MARK.clone()] {
            assert_eq!(unmark(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_that_is_not_json_remains_so(text in "[-+.eE0-9\"\\\\\\[\\]{},: aé]{0,12}|\\[[-+.eE0-9]{1,6}(,[-+.eE0-9]{1,6})?\\]") {
            let is_json = |text: &str| serde_json::from_str::<&RawValue>(text).is_ok();
            let marked = mark(&text).unwrap();
            prop_assert_eq!(is_json(&marked), is_json(&text), "{}", marked);
            prop_assert!(!is_json(&text) || unmark(&marked) == Some(text.as_str().into()), "{}", marked);
        }

        #[test]
        fn a_value_and_a_text_of_it_have_the_numbers_as_they_are_written(
            number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,4})?",
        ) {
            let json = format!(r#"{{"a":[{number},"{number}"]}}"#);
            let value: Value = serde_json::from_str(&mark(&json).unwrap()).unwrap();
            let text = value.to_string();
            prop_assert_eq!(unmark(&text), Some(json.as_str().into()));
            let within = Value::from(text).to_string();
            prop_assert_eq!(unmark(&within), Some(Value::from(json).to_string().into()));
        }
    }
}
