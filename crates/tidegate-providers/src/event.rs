use crate::json::walk::{walk, walk_while};

/// One event of a stream, in any framing.
#[derive(Clone, Copy, Default)]
pub struct Event<'a> {
    /// The name in the frame: the `event:` field, or Amazon's `:event-type`. Empty if the event has no name.
    pub name: &'a str,
    /// The data. Empty for a comment.
    pub data: &'a [u8],
    /// Whether the frame marks the event as an error: `event: error`, a field `error`, a bare JSON document,
    /// or Amazon's `:exception-type`. An error in a field or a document has no name.
    pub is_error: bool,
    /// Whether the event is larger than its framer keeps, so that the data is its beginning and its end.
    pub is_cut: bool,
    /// The status in the frame: DashScope's comment `:HTTP_STATUS/400`.
    pub status: Option<u16>,
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

    /// Whether the data is a message of JSON-RPC, or a list of them.
    pub(crate) fn is_json_rpc(&self) -> bool {
        let mut is_found = false;
        walk_while(self.data, |path, _| {
            is_found = path == ["jsonrpc"];
            !is_found
        });
        is_found
    }
}

/// Maximum number of bytes that are kept of an event; of a larger one the beginning and the end are kept. The
/// longest events that were seen echo a whole prompt, and begin with their type, or contain a file, and end
/// with their stop reason.
pub(crate) const MAX_EVENT: usize = 256 * 1024;

/// Bytes in pieces, of which the beginning and the end are kept.
///
/// What is cut out of JSON is nearly always the middle of one long string. So both parts together are the
/// same document with a shorter string.
pub(crate) struct CappedBuffer {
    bytes: Vec<u8>,
    cap: usize,
    /// Number of bytes that were received, kept or not.
    received: usize,
}

impl CappedBuffer {
    /// A buffer that keeps up to `cap` bytes.
    pub(crate) const fn new(cap: usize) -> Self {
        Self { bytes: Vec::new(), cap, received: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// Whether more was received than is kept.
    pub(crate) const fn is_cut(&self) -> bool {
        self.received > self.cap
    }

    /// The length of the end that is kept.
    const fn tail(&self) -> usize {
        self.cap / 4
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        self.received = self.received.saturating_add(bytes.len());
        let head = self.cap - self.tail();
        if self.bytes.len() + bytes.len() > self.cap + self.tail() {
            let (of_head, rest) = bytes.split_at(head.saturating_sub(self.bytes.len()).min(bytes.len()));
            self.bytes.extend_from_slice(of_head);
            bytes = &rest[rest.len().saturating_sub(self.tail())..];
            let surplus = (self.bytes.len() - head + bytes.len()).saturating_sub(self.tail());
            self.bytes.drain(head..head + surplus);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What is kept, the same for the same bytes in whatever pieces. Neither a character nor an escape is cut
    /// in two.
    pub(crate) fn finish(&mut self) -> &[u8] {
        if self.is_cut() {
            let head = self.cap - self.tail();
            self.bytes.drain(head..self.bytes.len() - self.tail());
            let is_within = |byte: &u8| byte & 0xc0 == 0x80;
            // The last character of the beginning may be cut off, and a backslash may begin an escape.
            let mut end = head;
            while end > 0 && head - end < 3 && is_within(&self.bytes[end - 1]) {
                end -= 1;
            }
            if end > 0 && self.bytes[end - 1] >= 0xc0 {
                end -= 1;
            }
            let backslashes = self.bytes[..end].iter().rev().take_while(|byte| **byte == b'\\').count();
            end -= backslashes % 2;
            let after = &self.bytes[head..];
            let is_start = |at: usize| after[at - 1] != b'\\' && !is_within(&after[at]);
            let skipped = (1..after.len()).find(|&at| is_start(at)).unwrap_or(after.len());
            self.bytes.drain(end..head + skipped);
        }
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.received = 0;
    }

    /// The capacity of the buffer.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Appends `bytes` to `buffered`, up to the limit.
pub(crate) fn append_capped(buffered: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_EVENT.saturating_sub(buffered.len());
    buffered.extend_from_slice(prefix(bytes, room));
}

/// The first `limit` bytes.
pub(crate) fn prefix(bytes: &[u8], limit: usize) -> &[u8] {
    &bytes[..bytes.len().min(limit)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(bytes: &[u8], pieces: usize, cap: usize) -> Vec<u8> {
        let mut buffer = CappedBuffer::new(cap);
        bytes.chunks(pieces.max(1)).for_each(|piece| buffer.push(piece));
        assert_eq!(buffer.is_cut(), bytes.len() > cap);
        buffer.finish().to_vec()
    }

    #[test]
    fn a_long_string_is_shortened_in_its_middle() {
        for unit in ["x", "é", "🌍", "\\\"", "a\\\\", "\\n", "\\\\\\\"", "a\\\"é"] {
            for count in [1, 20, 60, 61, 62, 63, 64, 65, 66, 67, 68, 200] {
                let json = format!(r#"{{"a":"{}","b":"end"}}"#, unit.repeat(count));
                for cap in [80, 81, 82, 83, 84, 85, 86, 87] {
                    let kept = kept(json.as_bytes(), 7, cap);
                    let document: serde_json::Value = serde_json::from_slice(&kept)
                        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&kept)));
                    assert_eq!(document["b"], "end");
                    assert!(kept.len() <= cap && (json.len() > cap || kept == json.as_bytes()));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_same_is_kept_in_whatever_pieces(bytes in prop::collection::vec(any::<u8>(), 0..400), pieces in 1..200_usize, cap in 16..200_usize) {
            prop_assert_eq!(kept(&bytes, pieces, cap), kept(&bytes, 1, cap));
            prop_assert_eq!(kept(&bytes, pieces, cap), kept(&bytes, bytes.len(), cap));
            prop_assert!(kept(&bytes, pieces, cap).len() <= cap);
        }
    }
}
