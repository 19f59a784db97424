//! Detects the fields of a request that determine its answer.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use tidegate_core::JsonDepth;

use crate::json::members::members;

static STREAM: LazyLock<Flag> = LazyLock::new(|| Flag::new("\"stream\""));
static DEFERRED: LazyLock<Flag> = LazyLock::new(|| Flag::new("\"deferred\""));

/// Whether a request has `"stream": true` at its top level.
pub(crate) fn requests_stream(body: &[u8]) -> bool {
    STREAM.is_set(body)
}

/// Whether a request has `"deferred": true` at its top level. xAI answers it with an id.
pub(crate) fn requests_deferral(body: &[u8]) -> bool {
    DEFERRED.is_set(body)
}

/// Whether a request has messages or a prompt at its top level.
pub(crate) fn has_prompt(body: &[u8]) -> bool {
    let mut is_found = false;
    let is_read = members(body, |key, _| is_found |= matches!(key, b"messages" | b"prompt"));
    is_found && is_read.is_some()
}

/// A key, quotes included, that may be `true`.
struct Flag(Finder<'static>);

impl Flag {
    fn new(key: &'static str) -> Self {
        Self(Finder::new(key))
    }

    /// Searches the JSON of a request without parsing it. A body with letters of the Latin alphabet in
    /// escapes, which no client writes, is read as a whole: the key may be among them.
    fn is_set(&self, body: &[u8]) -> bool {
        has_fields(body) && (self.is_found(body) || has_escaped_letters(body) && self.is_escaped(body))
    }

    /// A match inside of a prompt has escaped quotes and is skipped, as is one in a nested object.
    fn is_found(&self, body: &[u8]) -> bool {
        // Carried from match to match, so that each byte is read once, however many matches there are.
        let (mut depth, mut read) = (JsonDepth::new(), 0);
        self.0.find_iter(body).any(|at| {
            let escaped = at.checked_sub(1).is_some_and(|before| body[before] == b'\\');
            let value = body[at + self.0.needle().len()..].trim_ascii_start().strip_prefix(b":");
            let is_true = value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"));
            if escaped || !is_true {
                return false;
            }
            depth.push(&body[read..at]);
            read = at;
            depth.depth() == 1
        })
    }

    fn is_escaped(&self, body: &[u8]) -> bool {
        let is_key = |key: &[u8]| {
            let unescaped = serde_json::from_slice::<String>(&[b"\"", key, b"\""].concat());
            unescaped.is_ok_and(|key| format!("\"{key}\"").as_bytes() == self.0.needle())
        };
        let mut is_set = false;
        let is_read = members(body, |key, value| {
            is_set |= key.contains(&b'\\') && &body[value] == b"true" && is_key(key);
        });
        is_set && is_read.is_some()
    }
}

/// Whether a letter of the Latin alphabet is written as an escape.
fn has_escaped_letters(body: &[u8]) -> bool {
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br"\u00"));
    let has_escapes = memchr::memchr(b'\\', body).is_some();
    has_escapes && ESCAPE.find_iter(body).any(|at| matches!(body.get(at + 4), Some(b'4'..=b'7')))
}

/// Whether the body is a JSON object with a field, so that the absence of the flag means something. Every
/// endpoint that has the flag answers with a document without it.
pub(crate) fn has_fields(body: &[u8]) -> bool {
    let fields = body.trim_ascii_start().strip_prefix(b"{");
    fields.is_some_and(|fields| fields.trim_ascii_start().starts_with(b"\""))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn only_the_key_itself_counts() {
        for body in [
            r#"{"stream":true}"#,
            "{\"model\":\"m\", \"stream\" :\n true}",
            r#"{"messages":[{"content":"{"}],"stream":true}"#,
            // Regression: the answer was held back as a whole.
            r#"{"strea\u006d":true}"#,
            r#"{"a":"\u00e9","\u0073tream" : true}"#,
            r#"{"\u0073\u0074\u0072\u0065\u0061\u006D":true,"b":1}"#,
        ] {
            assert!(requests_stream(body.as_bytes()), "{body}");
        }
        for body in [
            "",
            "{}",
            r#"{"stream":false}"#,
            r#"{"stream_options":{}}"#,
            r#"{"p":"say \"stream\":true"}"#,
            r#"{"stream":false,"x":{"stream":true}}"#,
            r#"{"tools":[{"stream":true}]}"#,
            r#"{"tools":[{"strea\u006d":true}],"content":"strea\u006d"}"#,
            r#"{"strea\u006d":false}"#,
            r#"{"strea\u006d":"true"}"#,
            r#"{"strea\u006ds":true}"#,
            r#"{"strea\u006d":true"#,
        ] {
            assert!(!requests_stream(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_deferred_answer_has_a_flag_of_its_own() {
        assert!(requests_deferral(br#"{"model":"m","deferred":true}"#));
        assert!(!requests_deferral(br#"{"model":"m","stream":true,"deferred":false}"#));
    }

    /// Regression: the nesting was counted from the start of the body for each match, so that a body of 1 MiB
    /// took half a minute.
    #[test]
    fn many_nested_flags_are_passed_over_in_linear_time() {
        let body = format!(r#"{{"x":[{}],"stream":true}}"#, vec![r#"{"stream":true}"#; 16_000].join(","));
        let start = Instant::now();
        assert!(requests_stream(body.as_bytes()));
        assert!(!requests_stream(&body.as_bytes()[..body.len() - 20]));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn an_object_with_a_field_may_lack_the_flag() {
        for (body, expected) in [
            (r#" { "messages":[]}"#, true),
            (r#"{"model":"m"}"#, true),
            ("{}", false),
            ("", false),
            ("[\"a\"]", false),
            ("xxxx", false),
        ] {
            assert_eq!(has_fields(body.as_bytes()), expected, "{body}");
        }
    }
}
