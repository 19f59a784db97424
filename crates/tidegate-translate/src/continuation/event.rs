//! Splits a stream into complete events without changing their bytes.

use memchr::memchr2;

use tidegate_providers::stream::{Event, SseFramer};

/// Finds the end of the first event. Each line is scanned once, whatever the number of chunks.
#[derive(Default)]
pub(super) struct EventSplitter {
    /// The start of the incomplete line, relative to the start of the event.
    line_start: usize,
}

impl EventSplitter {
    /// The length of the first event in `bytes`, including its terminating empty line. `None` while the event
    /// is incomplete; the next call must pass the same bytes with more appended.
    ///
    /// A comment line between events is complete by itself: it is a keep-alive and must not be delayed. A CR
    /// at the very end may be the first half of a CRLF, so the event is incomplete until the next byte
    /// arrives.
    pub(super) fn length(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let end = self.line_start + memchr2(b'\n', b'\r', bytes.get(self.line_start..)?)?;
            let next = match bytes[end] {
                b'\n' => end + 1,
                _ if *bytes.get(end + 1)? == b'\n' => end + 2,
                _ => end + 1,
            };
            let is_empty = end == self.line_start;
            let is_comment = self.line_start == 0 && bytes[0] == b':';
            self.line_start = next;
            if is_empty || is_comment {
                self.line_start = 0;
                return Some(next);
            }
        }
    }
}

/// Parses a complete event and passes it to `take`. An event without content (a comment, an empty line) has
/// no name and no data.
pub(super) fn parse<T>(whole: &[u8], take: impl FnOnce(Event<'_>) -> T) -> T {
    let (mut name, mut data, mut is_error) = (String::new(), Vec::new(), false);
    SseFramer::new().push(whole, |event| {
        if !event.data.is_empty() || !event.name.is_empty() {
            (name, data, is_error) = (event.name.to_owned(), event.data.to_vec(), event.is_error);
        }
    });
    take(Event { name: &name, data: &data, is_error })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(EventSplitter::default().length(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    /// Regression: 100 KiB of short lines, received byte by byte, took 40 s.
    #[test]
    fn each_line_is_scanned_once() {
        let bytes = "x\n".repeat(50 * 1024);
        let mut splitter = EventSplitter::default();
        for length in 0..=bytes.len() {
            assert_eq!(splitter.length(&bytes.as_bytes()[..length]), None);
        }
        assert_eq!(splitter.line_start, bytes.len());
    }

    #[test]
    fn several_data_lines_are_parsed_as_one_event() {
        let parsed =
            |whole: &str| parse(whole.as_bytes(), |event| (event.name.to_owned(), event.data.to_vec()));
        assert_eq!(parsed("event: e\ndata: a\ndata: b\n\n"), ("e".into(), b"a\nb".to_vec()));
        assert_eq!(parsed(": ping\n\n"), (String::new(), Vec::new()));
        assert_eq!(parsed(": ping\ndata: a\n\n"), (String::new(), b"a".to_vec()));
    }
}
