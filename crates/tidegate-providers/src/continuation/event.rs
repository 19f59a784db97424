//! Whole events of a stream, with all their bytes.

use memchr::memchr2;

use crate::stream::{Event, SseFramer};

/// Finds where the first event ends, and looks at each line once however many chunks it comes in.
#[derive(Default)]
pub(super) struct Cutter {
    /// Where the line begins that has not ended, within the open event.
    line: usize,
}

impl Cutter {
    /// The length of the first event in `bytes`, its empty line included; `None` while its end has not come, and then
    /// `bytes` has to be the same and more the next time.
    ///
    /// A line of comment between events is whole by itself: it is a sign of life, and not to be kept back. A CR at
    /// the very end may be half of a CRLF, and is waited for.
    pub(super) fn length(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let end = self.line + memchr2(b'\n', b'\r', bytes.get(self.line..)?)?;
            let next = match bytes[end] {
                b'\n' => end + 1,
                _ if *bytes.get(end + 1)? == b'\n' => end + 2,
                _ => end + 1,
            };
            let is_empty = end == self.line;
            let is_comment = self.line == 0 && bytes[0] == b':';
            self.line = next;
            if is_empty || is_comment {
                self.line = 0;
                return Some(next);
            }
        }
    }
}

/// What a whole event says. One that says nothing (a comment, an empty line) has no name and no data.
pub(super) fn read<T>(whole: &[u8], take: impl FnOnce(Event<'_>) -> T) -> T {
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
    fn an_event_ends_with_its_empty_line_however_lines_end() {
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
            assert_eq!(Cutter::default().length(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    /// 100 KiB of short lines, byte by byte, took 40 s.
    #[test]
    fn a_line_is_looked_at_once() {
        let bytes = "x\n".repeat(50 * 1024);
        let mut cutter = Cutter::default();
        for length in 0..=bytes.len() {
            assert_eq!(cutter.length(&bytes.as_bytes()[..length]), None);
        }
        assert_eq!(cutter.line, bytes.len());
    }

    #[test]
    fn an_event_of_several_lines_is_read_as_one() {
        let told = |whole: &str| read(whole.as_bytes(), |event| (event.name.to_owned(), event.data.to_vec()));
        assert_eq!(told("event: e\ndata: a\ndata: b\n\n"), ("e".into(), b"a\nb".to_vec()));
        assert_eq!(told(": ping\n\n"), (String::new(), Vec::new()));
        assert_eq!(told(": ping\ndata: a\n\n"), (String::new(), b"a".to_vec()));
    }
}
