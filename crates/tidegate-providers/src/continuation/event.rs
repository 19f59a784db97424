//! Whole events of a stream, with all their bytes.

use memchr::memchr2;

use crate::stream::{Event, SseFramer};

/// The length of the first event in `bytes`, its empty line included; `None` while its end has not come.
///
/// A CR at the very end may be half of a CRLF, and is waited for.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    loop {
        let end = line + memchr2(b'\n', b'\r', bytes.get(line..)?)?;
        let next = match bytes[end] {
            b'\n' => end + 1,
            _ if *bytes.get(end + 1)? == b'\n' => end + 2,
            _ => end + 1,
        };
        if end == line {
            return Some(next);
        }
        line = next;
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
            (": ping\n\n", Some(8)),
        ] {
            assert_eq!(length(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_event_of_several_lines_is_read_as_one() {
        let told = |whole: &str| read(whole.as_bytes(), |event| (event.name.to_owned(), event.data.to_vec()));
        assert_eq!(told("event: e\ndata: a\ndata: b\n\n"), ("e".into(), b"a\nb".to_vec()));
        assert_eq!(told(": ping\n\n"), (String::new(), Vec::new()));
        assert_eq!(told(": ping\ndata: a\n\n"), (String::new(), b"a".to_vec()));
    }
}
