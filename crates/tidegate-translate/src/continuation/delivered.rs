use tidegate_core::StopReason;

/// What was delivered to the caller so far, as far as a continuation needs it.
#[derive(Default)]
pub(crate) struct Delivered {
    pub(crate) text: String,
    /// The number of events that carried text, which approximates the number of tokens.
    pub(super) tokens: u64,
    /// The stream holds something besides text and its annotations, which no other model can continue.
    pub(crate) blocks_continuation: bool,
    /// The stop reason, once an event carried one.
    pub(crate) stop: Option<StopReason>,
    /// Delivered white space that the continuation request omits. The continuing model may repeat it, and the
    /// repetition is removed.
    pub(super) trimmed_whitespace: String,
    /// The continuing target, until an event has been marked with it.
    pub(super) pending_marker: Option<String>,
}

/// The maximum length of the delivered text. A stream with a longer text is not continued.
const MAX_TEXT: usize = 1024 * 1024;

impl Delivered {
    pub(super) fn add(&mut self, text: &str) {
        if self.text.len() + text.len() > MAX_TEXT {
            self.blocks_continuation = true;
        } else {
            self.text.push_str(text);
        }
        self.tokens += 1;
    }

    /// Adds a piece of text of the continuing stream. White space that repeats the omitted one is removed
    /// from `text`; the remainder is to be delivered.
    pub(super) fn add_continuation(&mut self, text: &mut String) {
        let repeated = self
            .trimmed_whitespace
            .chars()
            .zip(text.chars())
            .take_while(|(expected, actual)| expected == actual);
        let length: usize = repeated.map(|(char, _)| char.len_utf8()).sum();
        text.drain(..length);
        self.trimmed_whitespace.drain(..length);
        if !text.is_empty() {
            self.trimmed_whitespace.clear();
            self.add(text);
        }
    }
}
