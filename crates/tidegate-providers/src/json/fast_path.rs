//! A fast path for the events that make up nearly all of a stream.
//!
//! A quote inside a JSON string is written `\"`. So the bytes `"usage"` followed by a colon are a key, and
//! never part of a string value. Events that are not decided by their keys are parsed in full.

use memchr::memmem::Finder;

/// A search for a JSON key, quotes included.
pub(crate) struct JsonKey(Finder<'static>);

impl JsonKey {
    /// A search for the key that is written `quoted`.
    pub(crate) fn new(quoted: &'static str) -> Self {
        Self(Finder::new(quoted))
    }

    /// The bytes after the key and its colon, at each occurrence.
    fn values<'a>(&self, json: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let length = self.0.needle().len();
        self.0.find_iter(json).filter_map(move |at| {
            let value = json[at + length..].trim_ascii_start().strip_prefix(b":")?;
            Some(value.trim_ascii_start())
        })
    }

    /// Whether the first value of the key is a string of at least one character.
    pub(crate) fn holds_text(&self, json: &[u8]) -> bool {
        self.values(json).next().is_some_and(|value| value.len() > 1 && value[0] == b'"' && value[1] != b'"')
    }

    /// Whether all values of the key are `null`, or the key is absent.
    pub(crate) fn is_null(&self, json: &[u8]) -> bool {
        self.values(json).all(|value| value.starts_with(b"null"))
    }

    /// The bytes after the first occurrence of the key and its colon.
    pub(crate) fn after<'a>(&self, json: &'a [u8]) -> Option<&'a [u8]> {
        self.values(json).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_and_a_string_value_is_not() {
        let usage = JsonKey::new(r#""usage""#);
        for json in [
            r#"{"content":"say \"usage\": 7"}"#,
            r#"{"content":"usage"}"#,
            r#"["usage"]"#,
            r#"{"usage":null}"#,
            r#"{"usage" : null,"a":{"usage": null}}"#,
            r#"{"my_usage":7,"usage_":7}"#,
        ] {
            assert!(usage.is_null(json.as_bytes()), "{json}");
        }
        for json in [r#"{"usage":{}}"#, r#"{"a":{"usage":null},"b":{"usage" : 7}}"#, r#"{"usage":"#] {
            assert!(!usage.is_null(json.as_bytes()), "{json}");
        }
    }

    #[test]
    fn an_empty_string_is_not_a_text() {
        let text = JsonKey::new(r#""text""#);
        for (json, holds) in [
            (r#"{"text":"a"}"#, true),
            (r#"{"text" : "\""}"#, true),
            (r#"{"type":"text","text":"a"}"#, true),
            (r#"{"text":""}"#, false),
            (r#"{"text":null}"#, false),
            (r#"{"text":7}"#, false),
            (r#"{"type":"text"}"#, false),
            (r#"{"text":"#, false),
            (r#"{"text":""#, false),
        ] {
            assert_eq!(text.holds_text(json.as_bytes()), holds, "{json}");
        }
    }
}
