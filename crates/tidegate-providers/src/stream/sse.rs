//! Framing of server-sent events, from chunks of any size.
//!
//! Each line is parsed once, when it is complete. An event that lies wholly inside one chunk is passed on in
//! place. Only events that span chunks are copied, into buffers that are reused.

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

use crate::error::body::ParsedErrorBody;
use crate::event::{CappedBuffer, Event, MAX_EVENT, prefix};

/// Splits bytes into server-sent events.
///
/// Lines end with LF, CR or CRLF. A byte order mark is skipped. The fields `id` and `retry` are ignored; a
/// field `error`, as llama.cpp sends it, is read as the data of an error event. So is a bare JSON document
/// with an error, without a field before it, by which Google ends a stream. A comment is emitted as an
/// event of its own, because it shows that the connection is alive. Memory is bounded: of an event larger
/// than 256 KiB only the beginning and the end are kept. A reader that needs whole events sets another
/// [cap](Self::with_cap).
pub struct SseFramer {
    /// The most bytes that are kept of a line, and of the data of an event.
    cap: usize,
    /// An incomplete line.
    line: CappedBuffer,
    /// The name of the open event.
    name: Vec<u8>,
    /// The data of the open event, from earlier chunks or from several lines.
    data: CappedBuffer,
    has_data: bool,
    /// The open event is larger than the cap.
    is_cut: bool,
    /// The open event has a line, of whatever field.
    has_lines: bool,
    /// The status in a comment of the open event.
    status: Option<u16>,
    source: DataSource,
    /// The last line ended with a CR, so an LF right after it is part of the same line end.
    is_after_cr: bool,
    is_past_first_line: bool,
}

/// Where the data of the open event is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DataSource {
    /// The field `data`.
    Data,
    /// The field `error`.
    Error,
    /// A bare JSON document: lines without a field.
    Document,
}

/// What ends at the end of a line.
enum SsePart<'a> {
    Event(Event<'a>),
    Comment {
        is_within_event: bool,
    },
    /// An empty line without an event before it.
    Nothing,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Maximum length of a name; no known name is longer.
const MAX_NAME: usize = 128;

impl SseFramer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::with_cap(MAX_EVENT)
    }

    /// A framer that keeps up to `cap` bytes of an event.
    #[must_use]
    pub fn with_cap(cap: usize) -> Self {
        Self {
            cap,
            line: CappedBuffer::new(cap),
            name: Vec::new(),
            data: CappedBuffer::new(cap),
            has_data: false,
            is_cut: false,
            has_lines: false,
            status: None,
            source: DataSource::Data,
            is_after_cr: false,
            is_past_first_line: false,
        }
    }

    /// Parses the next bytes, and passes on each event that they complete.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        self.read(bytes, &mut |part, _| match part {
            SsePart::Event(event) => each(event),
            SsePart::Comment { .. } => each(Event::default()),
            SsePart::Nothing => {}
        });
    }

    /// Like [`push`](Self::push), for a stream that is forwarded event by event: `each` is also passed the
    /// position in `bytes` where the event ends.
    ///
    /// A comment between events, or an empty line, is passed on as an event without data. A comment within an
    /// event is a part of it. Returns the number of bytes that were read: all but a CR at the very end, which
    /// may be the first half of a CRLF, and has to be passed again with the bytes that follow.
    pub fn split(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>, usize)) -> usize {
        let whole = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        self.read(whole, &mut |part, end| match part {
            SsePart::Event(event) => each(event, end),
            SsePart::Comment { is_within_event: true } => {}
            SsePart::Comment { is_within_event: false } | SsePart::Nothing => each(Event::default(), end),
        });
        whole.len()
    }

    /// Handles the end of the body: passes on an event that was not terminated, as far as it was received.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) {
        let mut each = |part: SsePart<'_>, _| match part {
            SsePart::Event(event) => each(event),
            SsePart::Comment { .. } => each(Event::default()),
            SsePart::Nothing => {}
        };
        if !self.line.is_empty() {
            self.take_buffered(0, &mut each);
        }
        self.dispatch(None, 0, &mut each);
    }

    /// Passes on each part that `bytes` complete, with the position after it.
    fn read(&mut self, bytes: &[u8], each: &mut impl FnMut(SsePart<'_>, usize)) {
        // The data of the open event, if it is one line of this chunk.
        let mut here = None;
        let mut at = 0;
        while at < bytes.len() {
            if std::mem::take(&mut self.is_after_cr) && bytes[at] == b'\n' {
                at += 1;
                continue;
            }
            let Some(length) = memchr2(b'\n', b'\r', &bytes[at..]) else {
                self.line.push(&bytes[at..]);
                break;
            };
            let line = &bytes[at..at + length];
            at += length + 1;
            if bytes[at - 1] == b'\r' {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.is_after_cr = true,
                }
            }
            if self.line.is_empty() && line.len() <= self.cap {
                self.take(line, at, &mut here, each);
            } else {
                if let Some(data) = here.take() {
                    self.data.push(data);
                }
                self.line.push(line);
                self.take_buffered(at, each);
            }
        }
        if let Some(data) = here {
            self.data.push(data);
        }
    }

    /// Parses a line that was assembled from several chunks, and keeps its buffer for the next line.
    fn take_buffered(&mut self, end: usize, each: &mut impl FnMut(SsePart<'_>, usize)) {
        let mut line = std::mem::replace(&mut self.line, CappedBuffer::new(self.cap));
        let mut data = None;
        self.take(line.finish(), end, &mut data, each);
        if let Some(data) = data {
            self.data.push(data);
        }
        // A comment is no part of an event.
        self.is_cut |= line.is_cut() && self.has_data;
        line.clear();
        self.line = line;
    }

    /// Parses a line that ends at `end`.
    fn take<'a>(
        &mut self,
        line: &'a [u8],
        end: usize,
        here: &mut Option<&'a [u8]>,
        each: &mut impl FnMut(SsePart<'_>, usize),
    ) {
        let mut line = line;
        if !std::mem::replace(&mut self.is_past_first_line, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let (field, value) = match memchr(b':', line) {
            Some(0) => {
                self.status = status(line).or(self.status);
                return each(SsePart::Comment { is_within_event: self.has_lines }, end);
            }
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None if line.is_empty() => return self.dispatch(here.take(), end, each),
            None => (line, &[][..]),
        };
        self.has_lines = true;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" if self.has_data => {
                if self.source == DataSource::Document {
                    self.end_document(end, each);
                    self.has_data = true;
                    *here = Some(value);
                    return;
                }
                if let Some(first) = here.take() {
                    self.data.push(first);
                }
                self.data.push(b"\n");
                self.data.push(value);
            }
            b"data" => {
                self.has_data = true;
                *here = Some(value);
            }
            // Some servers report a failure in a field of its own.
            b"error" if !self.has_data => {
                self.source = DataSource::Error;
                self.has_data = true;
                *here = Some(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(prefix(value, MAX_NAME));
            }
            _ if self.source == DataSource::Document => {
                self.data.push(b"\n");
                self.data.push(line);
            }
            _ if !self.has_data && matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) => {
                self.source = DataSource::Document;
                self.has_data = true;
                self.data.push(line);
            }
            _ => {}
        }
    }

    /// Ends the open event, if there is one, at an empty line.
    fn dispatch(&mut self, here: Option<&[u8]>, end: usize, each: &mut impl FnMut(SsePart<'_>, usize)) {
        if self.source == DataSource::Document && self.end_document(end, each) {
            // Its error is the event.
        } else if self.has_data || !self.name.is_empty() {
            let name = std::str::from_utf8(&self.name).unwrap_or_default();
            let is_cut = self.is_cut || self.data.is_cut();
            let data = here.unwrap_or_else(|| self.data.finish());
            let is_error = name == "error" || self.source == DataSource::Error;
            let status = self.status;
            each(SsePart::Event(Event { name, data, is_error, is_cut, status }), end);
        } else {
            each(SsePart::Nothing, end);
        }
        self.name.clear();
        self.data.clear();
        (self.has_data, self.has_lines, self.is_cut) = (false, false, false);
        (self.source, self.status) = (DataSource::Data, None);
    }

    /// Ends a bare document. Returns whether it is an error, and passes it on if it is: any other document is
    /// ignored, as all lines without a known field are.
    #[cold]
    fn end_document(&mut self, end: usize, each: &mut impl FnMut(SsePart<'_>, usize)) -> bool {
        let is_cut = self.is_cut || self.data.is_cut();
        let error = first_error(self.data.finish());
        if let Some(data) = error {
            each(SsePart::Event(Event { data, is_error: true, is_cut, ..Event::default() }), end);
        }
        let is_error = error.is_some();
        self.data.clear();
        (self.has_data, self.is_cut) = (false, false);
        self.source = DataSource::Data;
        is_error
    }

    /// The capacity of the buffers.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.line.capacity() + self.name.capacity() + self.data.capacity()
    }
}

/// The status in a comment: DashScope sends `:HTTP_STATUS/400` in each event.
fn status(comment: &[u8]) -> Option<u16> {
    let status = comment[1..].trim_ascii().strip_prefix(b"HTTP_STATUS/")?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// The first JSON document in `data`, if it is complete and an error. Google sends some errors twice.
fn first_error(data: &[u8]) -> Option<&[u8]> {
    let mut documents = serde_json::Deserializer::from_slice(data).into_iter::<IgnoredAny>();
    documents.next()?.ok()?;
    let first = &data[..documents.byte_offset()];
    ParsedErrorBody::read(first).is_error.then_some(first)
}

impl Default for SseFramer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name and the data of each event, with the position after it.
    fn split(bytes: &[u8]) -> Vec<(String, Vec<u8>, usize)> {
        let mut events = Vec::new();
        SseFramer::new()
            .split(bytes, |event, end| events.push((event.name.to_owned(), event.data.to_vec(), end)));
        events
    }

    #[test]
    fn an_event_ends_with_its_empty_line_for_every_kind_of_line_end() {
        for (bytes, expected) in [
            ("", None),
            ("data: a", None),
            ("data: a\n", None),
            ("data: a\n\ndata: b", Some(9)),
            ("data: a\r\n\r\nx", Some(11)),
            ("data: a\r\rx", Some(9)),
            ("data: a\r\n\r", None),
            ("data: a\r", None),
            ("\nx", Some(1)),
            (": ping\n\n", Some(7)),
            ("data: a\n: ping\n\n", Some(16)),
            ("id: 1\n: ping\n\n", Some(14)),
        ] {
            assert_eq!(split(bytes.as_bytes()).first().map(|event| event.2), expected, "{bytes:?}");
        }
    }

    /// Regression: 100 KiB of short lines, received byte by byte, took 40 s.
    #[test]
    fn each_line_is_scanned_once() {
        let mut framer = SseFramer::new();
        for byte in "x\n".repeat(50 * 1024).as_bytes() {
            assert_eq!(framer.split(&[*byte], |_, _| panic!("no event ends here")), 1);
            assert!(framer.line.capacity() <= 16, "only the incomplete line is kept");
        }
    }

    #[test]
    fn several_data_lines_are_parsed_as_one_event() {
        let parsed = |whole: &str| {
            let (name, data, _) = split(whole.as_bytes()).remove(0);
            (name, data)
        };
        assert_eq!(parsed("event: e\ndata: a\ndata: b\n\n"), ("e".into(), b"a\nb".to_vec()));
        assert_eq!(parsed(": ping\n\n"), (String::new(), Vec::new()));
        assert_eq!(parsed("data: a\n: ping\n\n"), (String::new(), b"a".to_vec()));
    }

    #[test]
    fn a_cr_at_the_end_is_read_with_the_bytes_that_follow() {
        let mut framer = SseFramer::new();
        let mut ends = Vec::new();
        let bytes = b"data: a\r\n\r\ndata: b\r\n\r\n";
        let first = framer.split(&bytes[..10], |_, end| ends.push(end));
        assert_eq!((first, ends.len()), (9, 0));
        framer.split(&bytes[first..], |_, end| ends.push(first + end));
        assert_eq!(ends, [11, 22]);
    }
}
