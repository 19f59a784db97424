//! Detects the stream flag of a request.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use tidegate_core::JsonDepth;

/// Searches the JSON of a request for `"stream": true` at its top level, without parsing it.
///
/// A match inside of a prompt has escaped quotes and is skipped, as is one in a nested object.
pub(crate) fn requests_stream(body: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"stream\""));
    // Carried from match to match, so that each byte is read once, however many matches there are.
    let (mut depth, mut read) = (JsonDepth::new(), 0);
    has_fields(body)
        && KEY.find_iter(body).any(|at| {
            let escaped = at.checked_sub(1).is_some_and(|before| body[before] == b'\\');
            let value = body[at + b"\"stream\"".len()..].trim_ascii_start().strip_prefix(b":");
            let is_true = value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"));
            if escaped || !is_true {
                return false;
            }
            depth.push(&body[read..at]);
            read = at;
            depth.depth() == 1
        })
}

/// Whether the body is a JSON object with a field, so that the absence of the flag means something. Every endpoint
/// that has the flag answers with a document without it.
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
        ] {
            assert!(!requests_stream(body.as_bytes()), "{body}");
        }
    }

    /// Regression: the nesting was counted from the start of the body for each match, so that a body of 1 MiB took half a minute.
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
