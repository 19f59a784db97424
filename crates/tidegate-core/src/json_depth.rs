/// Follows the nesting of a JSON document as its bytes pass, in chunks of any size.
///
/// Only quotes, braces and brackets are read, so this shows whether a document has been closed, and not
/// whether it is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonDepth {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    has_begun: bool,
}

impl JsonDepth {
    /// The nesting before the first byte.
    #[must_use]
    pub const fn new() -> Self {
        Self { depth: 0, is_in_string: false, is_escaped: false, has_begun: false }
    }

    /// The nesting after all of `json`.
    #[must_use]
    pub fn of(json: &[u8]) -> Self {
        let mut depth = Self::new();
        depth.push(json);
        depth
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            if self.is_in_string {
                if std::mem::take(&mut self.is_escaped) {
                    let Some((_, after)) = rest.split_first() else { return self.is_escaped = true };
                    rest = after;
                }
                let Some(at) = memchr::memchr2(b'"', b'\\', rest) else { return };
                (self.is_in_string, self.is_escaped) = (rest[at] == b'\\', rest[at] == b'\\');
                rest = &rest[at + 1..];
            } else {
                let is_structure = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
                let Some(at) = rest.iter().position(is_structure) else { return };
                match rest[at] {
                    b'"' => self.is_in_string = true,
                    b'{' | b'[' => (self.depth, self.has_begun) = (self.depth.saturating_add(1), true),
                    _ => self.depth = self.depth.saturating_sub(1),
                }
                rest = &rest[at + 1..];
            }
        }
    }

    /// The number of objects and arrays that are open.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Whether a string, object or array is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.depth > 0 || self.is_in_string
    }

    /// Whether an object or array has begun, and all of them are closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.has_begun && self.depth == 0 && !self.is_in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: [&str; 5] = [
        r#"{"a":[{"b":"} \" ] \\"},[[1.5,-2]],"{"],"c":{}}"#,
        " \n[ {\"x\" : \"\\\\\\\"}\"} ] \n",
        "{}",
        "[[0.1,0.2],[0.3]]",
        r#"{"é":"\u007d"}"#,
    ];

    #[test]
    fn a_document_is_closed_at_its_last_brace_and_not_before() {
        for document in DOCUMENTS {
            let last = document.trim_end().len();
            for cut in 0..=document.len() {
                let is_closed = JsonDepth::of(&document.as_bytes()[..cut]).is_closed();
                assert_eq!(is_closed, cut >= last, "{cut} of {document}");
            }
        }
        for other in ["", " \n", "7", "\"{}\"", "<html>", "true"] {
            assert!(!JsonDepth::of(other.as_bytes()).is_closed(), "{other}");
        }
    }

    #[test]
    fn the_chunks_do_not_affect_the_result() {
        for document in DOCUMENTS {
            let bytes = document.as_bytes();
            for (first, second) in (0..bytes.len()).flat_map(|a| (a..bytes.len()).map(move |b| (a, b))) {
                let mut depth = JsonDepth::new();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    depth.push(piece);
                }
                assert_eq!(depth, JsonDepth::of(bytes), "{first} and {second} of {document}");
            }
        }
    }
}
