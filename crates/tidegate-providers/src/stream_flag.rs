//! Detects the stream flag of a request.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Searches the JSON of a request for `"stream": true` without parsing it.
///
/// A match inside of a prompt has escaped quotes and is skipped. A match in a nested object counts, which at
/// worst starts the stream timeouts for a response that is not a stream.
pub(crate) fn requests_stream(body: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"stream\""));
    KEY.find_iter(body).any(|at| {
        let escaped = at.checked_sub(1).is_some_and(|before| body[before] == b'\\');
        let value = body[at + b"\"stream\"".len()..].trim_ascii_start().strip_prefix(b":");
        !escaped && value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_counts() {
        for body in [
            r#"{"stream":true}"#,
            "{\"model\":\"m\", \"stream\" :\n true}",
            r#"{"stream":false,"x":{"stream":true}}"#,
        ] {
            assert!(requests_stream(body.as_bytes()), "{body}");
        }
        for body in
            ["", "{}", r#"{"stream":false}"#, r#"{"stream_options":{}}"#, r#"{"p":"say \"stream\":true"}"#]
        {
            assert!(!requests_stream(body.as_bytes()), "{body}");
        }
    }
}
