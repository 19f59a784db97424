//! Whether a request asks for a stream.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Looks for `"stream": true` in the JSON of a request, without reading the whole of it.
///
/// A hit inside of a prompt has its quotes escaped and is passed over; one in a deeper object counts, which at worst
/// starts the clocks of a stream that never comes.
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
