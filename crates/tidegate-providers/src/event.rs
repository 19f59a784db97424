use crate::json::walk::walk;

/// One event of a stream, in any framing.
#[derive(Clone, Copy, Default)]
pub struct Event<'a> {
    /// The name in the frame: the `event:` field, or Amazon's `:event-type`. Empty if the event has no name.
    pub name: &'a str,
    /// The data. Empty for a comment.
    pub data: &'a [u8],
    /// Whether the frame marks the event as an error: `event: error`, a field `error`, or Amazon's `:exception-type`. An
    /// error in a field has no name.
    pub is_error: bool,
    /// Whether the event is larger than its framer keeps, so that the data is only its beginning.
    pub is_cut: bool,
}

/// The data of the last event in streams of OpenAI's chat dialect. It is not JSON.
pub(crate) const DONE: &[u8] = b"[DONE]";

impl Event<'_> {
    /// Whether the data is complete JSON, or the `[DONE]` of a chat stream. The last event of a body may be
    /// incomplete if no empty line follows it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.data.trim_ascii() == DONE || walk(self.data, |_, _| {})
    }
}

/// Maximum number of bytes that are kept of an event; of a larger one the beginning is kept. The longest
/// events that were seen echo a whole prompt, and begin with their type.
pub(crate) const MAX_EVENT: usize = 256 * 1024;

/// Appends `bytes` to `buffered`, up to the limit.
pub(crate) fn append_capped(buffered: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_EVENT.saturating_sub(buffered.len());
    buffered.extend_from_slice(prefix(bytes, room));
}

/// The first `limit` bytes.
pub(crate) fn prefix(bytes: &[u8], limit: usize) -> &[u8] {
    &bytes[..bytes.len().min(limit)]
}
