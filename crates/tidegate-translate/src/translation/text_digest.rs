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
        text.chars().filter(is_visible).for_each(|char| self.push_char(char));
    }

    /// FNV-1a with 64 bits.
    fn push_char(&mut self, char: char) {
        self.length += 1;
        self.hash = (self.hash ^ u64::from(char)).wrapping_mul(0x0000_0100_0000_01b3).wrapping_add(1);
    }

    /// What follows this text in `whole`, of which only the characters that `counts` are compared. `None` if
    /// `whole` does not begin with this text, or if this text is empty.
    fn rest_of<'a>(&self, whole: &'a str, counts: fn(&char) -> bool) -> Option<&'a str> {
        if self.is_empty() {
            return None;
        }
        let mut digest = Self::default();
        whole.char_indices().filter(|(_, char)| counts(char)).find_map(|(at, char)| {
            digest.push_char(char);
            (digest == *self).then(|| &whole[at + char.len_utf8()..])
        })
    }
}

fn is_visible(char: &char) -> bool {
    !char.is_whitespace()
}

/// The delivered text of a stream.
#[derive(Default)]
pub(super) struct DeliveredText {
    exact: TextDigest,
    visible: TextDigest,
}

impl DeliveredText {
    pub(super) fn push(&mut self, text: &str) {
        text.chars().for_each(|char| self.exact.push_char(char));
        self.visible.push(text);
    }

    /// The part of `whole` that was not delivered: what follows the delivered text if `whole` begins with it,
    /// with this white space or with another, else all. If nothing was delivered, nothing is a repetition.
    pub(super) fn undelivered<'a>(&self, whole: &'a str) -> &'a str {
        let exact = self.exact.rest_of(whole, |_| true);
        exact.or_else(|| self.visible.rest_of(whole, is_visible)).unwrap_or(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_rest_of_a_repeated_text_is_undelivered() {
        for (delivered, whole, rest) in [
            ("", "fine", "fine"),
            ("", "\n    x = 1", "\n    x = 1"),
            (" ", " fine", "fine"),
            (" ", "fine", "fine"),
            ("fine\n", "fine\n", ""),
            ("fine\n", "fine\n\n", "\n"),
            ("fi", "fine", "ne"),
            ("fine", "fine", ""),
            (" fine\n", "fine", ""),
            ("fi ne", "fi\nne day", " day"),
            ("fine", "fi", "fi"),
            ("fi", "ne", "ne"),
            ("é", "é😀", "😀"),
        ] {
            let mut text = DeliveredText::default();
            text.push(delivered);
            assert_eq!(text.undelivered(whole), rest, "{delivered:?} {whole:?}");
        }
    }

    proptest! {
        #[test]
        fn what_follows_the_delivered_text_is_undelivered(delivered in "[ab\n ]{1,6}", rest in "[ab\n ]{0,6}") {
            let mut text = DeliveredText::default();
            text.push(&delivered);
            let whole = format!("{delivered}{rest}");
            prop_assert_eq!(text.undelivered(&whole), rest);
        }
    }
}
