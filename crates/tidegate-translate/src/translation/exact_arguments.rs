//! Keeps the numbers in the arguments of a call exact.
//!
//! Some hosts send the arguments as an object instead of its text. A parsed number has 64 bits, so that an id
//! of 30 digits would change. The object is therefore replaced by its text before the JSON is parsed.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::call_pieces::ARGUMENTS;
use super::split_surrogates::without_marks;

/// Replaces the objects with arguments in a JSON text by strings of their text.
pub(super) fn with_argument_text(json: Cow<'_, str>) -> Cow<'_, str> {
    let (mut replaced, mut kept) = (String::new(), 0);
    for at in memchr::memchr_iter(b'{', json.as_bytes()) {
        if at < kept || !is_argument(&json[kept..at]) {
            continue;
        }
        let mut objects = serde_json::Deserializer::from_str(&json[at..]).into_iter::<&RawValue>();
        // Text that is not JSON is not parsed later either.
        let Some(Ok(object)) = objects.next() else { break };
        let Ok(text) = serde_json::to_string(&*without_marks(object.get())) else { break };
        replaced += &json[kept..at];
        replaced += &text;
        kept = at + object.get().len();
    }
    if kept == 0 {
        return json;
    }
    Cow::Owned(replaced + &json[kept..])
}

/// Whether the value after `before` is that of a field with arguments. A quote within a string is escaped,
/// and does not match.
fn is_argument(before: &str) -> bool {
    let Some(key) = before.trim_ascii_end().strip_suffix(':') else { return false };
    let Some(key) = key.trim_ascii_end().strip_suffix('"') else { return false };
    let names = ARGUMENTS.into_iter().chain(["partial_json"]);
    names.into_iter().any(|name| key.strip_suffix(name).is_some_and(|before| before.ends_with('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_with_arguments_becomes_its_text_and_all_else_is_unchanged() {
        for (json, expected) in [
            (r#"{"arguments":{"n":1.10}}"#, r#"{"arguments":"{\"n\":1.10}"}"#),
            (
                r#"[{"input" : {"input":{}}},{"partial_json":{}}]"#,
                r#"[{"input" : "{\"input\":{}}"},{"partial_json":"{}"}]"#,
            ),
            (r#"{"arguments":"{\"a\":{}}"}"#, r#"{"arguments":"{\"a\":{}}"}"#),
            (r#"{"content":"\"arguments\":{}"}"#, r#"{"content":"\"arguments\":{}"}"#),
            (r#"{"other":{"a":{}}}"#, r#"{"other":{"a":{}}}"#),
            (r#"{"arguments":{"a":"#, r#"{"arguments":{"a":"#),
        ] {
            assert_eq!(with_argument_text(Cow::Borrowed(json)), expected, "{json}");
        }
    }
}
