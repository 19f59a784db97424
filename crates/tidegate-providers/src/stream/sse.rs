//! Server-sent events, from bytes in any chunks.
//!
//! A line is looked at once, when its end has come. An event that lies wholly inside one chunk is handed on in
//! place; only what reaches over the end of a chunk is copied, into buffers that are used again.

use memchr::{memchr, memchr2};

use super::event::{Event, MAX_EVENT, append_capped, prefix};

/// Cuts bytes into server-sent events.
///
/// Lines end with LF, CR or CRLF; a byte order mark is skipped; `id` and `retry` say nothing to us. A comment
/// is an event of its own, for it is a sign of life. Memory is bounded: of an event larger than 256 KiB only
/// the beginning is kept, as if it had ended there.
#[derive(Default)]
pub struct SseFramer {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The name of the open event.
    name: Vec<u8>,
    /// The data of the open event, as far as it came in earlier chunks or in several lines.
    data: Vec<u8>,
    has_data: bool,
    /// A CR has ended the last line, so that an LF right after it ends nothing.
    is_after_cr: bool,
    is_past_first_line: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// No name that means anything is longer.
const MAX_NAME: usize = 128;

impl SseFramer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, and hands on each event that they complete.
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

    /// The body has ended: hands on the event that nothing has ended, as far as it came.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_buffered(line, &mut each);
        }
        self.dispatch(None, &mut each);
    }

    /// Takes a line that was put together from pieces, and keeps its buffer for the next.
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

    /// An empty line ends the event, if one is open.
    fn dispatch(&mut self, here: Option<&[u8]>, each: &mut impl FnMut(Event<'_>)) {
        if self.has_data || !self.name.is_empty() {
            let name = std::str::from_utf8(&self.name).unwrap_or_default();
            each(Event { name, data: here.unwrap_or(&self.data), is_error: name == "error" });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
    }

    /// The memory that is held.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.line.capacity() + self.name.capacity() + self.data.capacity()
    }
}
