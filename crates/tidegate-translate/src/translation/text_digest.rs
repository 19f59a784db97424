//! Recognizes a repetition of text that was already delivered.

/// The length and a hash of a text without its white space.
///
/// Some hosts repeat the whole text or the whole arguments at the end of a stream. The delivered text is not
/// kept, so that the memory of a stream does not grow with it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TextDigest {
    length: u64,
    hash: u64,
}

impl TextDigest {
    pub(super) fn of(text: &str) -> Self {
        let mut digest = Self::default();
        digest.push(text);
        digest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn push(&mut self, text: &str) {
        text.chars().for_each(|char| self.push_char(char));
    }

    /// FNV-1a with 64 bits.
    fn push_char(&mut self, char: char) {
        if !char.is_whitespace() {
            self.length += 1;
            self.hash = (self.hash ^ u64::from(char)).wrapping_mul(0x0000_0100_0000_01b3).wrapping_add(1);
        }
    }

    /// The part of `whole` that was not delivered: what follows this text if `whole` begins with it, else all.
    /// If nothing was delivered, nothing is a repetition.
    pub(super) fn undelivered<'a>(&self, whole: &'a str) -> &'a str {
        if self.is_empty() {
            return whole;
        }
        let mut digest = Self::default();
        for (at, char) in whole.char_indices() {
            digest.push_char(char);
            if digest == *self {
                return &whole[at + char.len_utf8()..];
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_of_a_repeated_text_is_undelivered() {
        for (delivered, whole, rest) in [
            ("", "fine", "fine"),
            ("", "\n    x = 1", "\n    x = 1"),
            (" ", " fine", " fine"),
            ("fi", "fine", "ne"),
            ("fine", "fine", ""),
            (" fine\n", "fine", ""),
            ("fi ne", "fi\nne day", " day"),
            ("fine", "fi", "fi"),
            ("fi", "ne", "ne"),
            ("é", "é😀", "😀"),
        ] {
            assert_eq!(TextDigest::of(delivered).undelivered(whole), rest, "{delivered:?} {whole:?}");
        }
    }
}
