//! Framing of server-sent events, from chunks of any size.
//!
//! Each line is parsed once, when it is complete. An event that lies wholly inside one chunk is passed on in
//! place. Only events that span chunks are copied, into buffers that are reused.

use memchr::{memchr, memchr2};

use crate::event::{Event, MAX_EVENT, append_capped, prefix};

/// Splits bytes into server-sent events.
///
/// Lines end with LF, CR or CRLF. A byte order mark is skipped. The fields `id` and `retry` are ignored. A
/// comment is emitted as an event of its own, because it shows that the connection is alive. Memory is
/// bounded: of an event larger than 256 KiB only the beginning is kept, as if the event had ended there.
#[derive(Default)]
pub struct SseFramer {
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// The name of the open event.
    name: Vec<u8>,
    /// The data of the open event, from earlier chunks or from several lines.
    data: Vec<u8>,
    has_data: bool,
    /// The last line ended with a CR, so an LF right after it is part of the same line end.
    is_after_cr: bool,
    is_past_first_line: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Maximum length of a name; no known name is longer.
const MAX_NAME: usize = 128;

impl SseFramer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the next bytes, and passes on each event that they complete.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        // The data of the open event, if it is one line of this chunk.
        let mut here = None;
        while !bytes.is_empty() {
            if std::mem::take(&mut self.is_after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                append_capped(&mut self.line, bytes);
                break;
            };
            self.is_after_cr = bytes[end] == b'\r';
            if self.line.is_empty() {
                self.take(&bytes[..end], &mut here, &mut each);
            } else {
                let mut line = std::mem::take(&mut self.line);
                append_capped(&mut line, &bytes[..end]);
                self.take_buffered(line, &mut each);
            }
            bytes = &bytes[end + 1..];
        }
        if let Some(data) = here {
            append_capped(&mut self.data, data);
        }
    }

    /// Handles the end of the body: passes on an event that was not terminated, as far as it was received.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_buffered(line, &mut each);
        }
        self.dispatch(None, &mut each);
    }

    /// Parses a line that was assembled from several chunks, and keeps its buffer for the next line.
    fn take_buffered(&mut self, mut line: Vec<u8>, each: &mut impl FnMut(Event<'_>)) {
        let mut data = None;
        self.take(&line, &mut data, each);
        if let Some(data) = data {
            append_capped(&mut self.data, data);
        }
        line.clear();
        self.line = line;
    }

    fn take<'a>(&mut self, line: &'a [u8], here: &mut Option<&'a [u8]>, each: &mut impl FnMut(Event<'_>)) {
        let mut line = prefix(line, MAX_EVENT);
        if !std::mem::replace(&mut self.is_past_first_line, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let (field, value) = match memchr(b':', line) {
            Some(0) => return each(Event::default()),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None if line.is_empty() => return self.dispatch(here.take(), each),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" if self.has_data => {
                if let Some(first) = here.take() {
                    append_capped(&mut self.data, first);
                }
                append_capped(&mut self.data, b"\n");
                append_capped(&mut self.data, value);
            }
            b"data" => {
                self.has_data = true;
                *here = Some(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(prefix(value, MAX_NAME));
            }
            _ => {}
        }
    }

    /// Ends the open event, if there is one, at an empty line.
    fn dispatch(&mut self, here: Option<&[u8]>, each: &mut impl FnMut(Event<'_>)) {
        if self.has_data || !self.name.is_empty() {
            let name = std::str::from_utf8(&self.name).unwrap_or_default();
            each(Event { name, data: here.unwrap_or(&self.data), is_error: name == "error" });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
    }

    /// The capacity of the buffers.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.line.capacity() + self.name.capacity() + self.data.capacity()
    }
}
