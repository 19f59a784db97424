//! Detects the stream flag of a request.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use tidegate_core::JsonDepth;

/// Searches the JSON of a request for `"stream": true` at its top level, without parsing it.
///
/// A match inside of a prompt has escaped quotes and is skipped, as is one in a nested object.
pub(crate) fn requests_stream(body: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"stream\""));
    KEY.find_iter(body).any(|at| {
        let escaped = at.checked_sub(1).is_some_and(|before| body[before] == b'\\');
        let value = body[at + b"\"stream\"".len()..].trim_ascii_start().strip_prefix(b":");
        !escaped
            && value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
            && JsonDepth::of(&body[..at]).depth() == 1
    })
}

/// Whether the JSON of a request has a prompt, so that the absence of the flag means something.
pub(crate) fn has_prompt(body: &[u8]) -> bool {
    static KEYS: LazyLock<[Finder<'static>; 3]> =
        LazyLock::new(|| ["\"messages\"", "\"input\"", "\"prompt\""].map(Finder::new));
    KEYS.iter().any(|key| key.find(body).is_some())
}

#[cfg(test)]
mod tests {
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
}
