//! Framing of Amazon's binary event streams, from chunks of any size.
//!
//! ```text
//! length  length of headers  checksum of the two | headers | payload | checksum of all
//!    4            4                  4                                       4
//! ```
//!
//! The checksums are not verified: TLS protects the integrity of the bytes, and an impossible length is
//! detected without them.

use super::base64;
use crate::event::{Event, MAX_EVENT, append_capped, prefix};
use crate::json::walk::{Leaf, walk};

/// Splits bytes into Amazon's binary events.
///
/// Of an event larger than 256 KiB only the beginning is kept. After an impossible length nothing is read,
/// since the start of the next event is unknown.
#[derive(Default)]
pub(crate) struct AmazonFramer {
    /// The beginning of an incomplete message.
    message: Vec<u8>,
    /// Number of bytes received of that message, kept or not.
    received: usize,
    /// The event inside a chunk of `InvokeModel`.
    inner: Vec<u8>,
    is_desynchronized: bool,
}

const PRELUDE: usize = 12;

const CHECKSUM: usize = 4;

/// Maximum length of a message at Amazon.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

impl AmazonFramer {
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() && !self.is_desynchronized {
            let rest = match length(bytes).and_then(|length| bytes.split_at_checked(length)) {
                Some((message, rest)) if self.received == 0 => {
                    dispatch(prefix(message, MAX_EVENT), message.len(), &mut self.inner, &mut each);
                    rest
                }
                _ => self.buffer_message(bytes, &mut each),
            };
            bytes = rest;
        }
    }

    /// Assembles a message from several chunks. Returns the bytes after it.
    fn buffer_message<'a>(&mut self, bytes: &'a [u8], each: &mut impl FnMut(Event<'_>)) -> &'a [u8] {
        let wanted = match self.received {
            ..PRELUDE => PRELUDE,
            PRELUDE.. => match length(&self.message) {
                Some(length) => length,
                None => {
                    self.is_desynchronized = true;
                    return &[];
                }
            },
        };
        let (piece, rest) = bytes.split_at(bytes.len().min(wanted - self.received));
        append_capped(&mut self.message, piece);
        self.received += piece.len();
        if self.received == wanted && wanted > PRELUDE {
            dispatch(&self.message, wanted, &mut self.inner, each);
            self.message.clear();
            self.received = 0;
        }
        rest
    }

    /// The capacity of the buffers.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.message.capacity() + self.inner.capacity()
    }
}

/// The length of the message that begins with `prelude`, if the prelude is complete and the length is
/// possible.
fn length(prelude: &[u8]) -> Option<usize> {
    let (_checksum, length) = (prelude.get(8..PRELUDE)?, read_u32(prelude)?);
    let least = PRELUDE + headers_length(prelude)? + CHECKSUM;
    (least..=MAX_MESSAGE).contains(&length).then_some(length)
}

fn headers_length(prelude: &[u8]) -> Option<usize> {
    read_u32(prelude.get(4..)?)
}

fn read_u32(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|&read_u32| u32::from_be_bytes(read_u32) as usize)
}

/// Emits a message of `length` bytes, of which `message` is all or the beginning.
fn dispatch(message: &[u8], length: usize, inner: &mut Vec<u8>, each: &mut impl FnMut(Event<'_>)) {
    let rest = prefix(&message[PRELUDE..], length - CHECKSUM - PRELUDE);
    let (headers, data) = rest.split_at(headers_length(message).unwrap_or_default().min(rest.len()));
    let mut event = Event { data, ..Event::default() };
    let mut left = headers;
    while let Some((name, value, rest)) = header(left) {
        let value = std::str::from_utf8(value).unwrap_or_default();
        match name {
            b":event-type" | b":exception-type" | b":error-code" => event.name = value,
            b":message-type" => event.is_error = matches!(value, "exception" | "error"),
            _ => {}
        }
        left = rest;
    }
    // `InvokeModel` streams events of the model's own dialect, wrapped in chunks.
    if event.name == "chunk" && unwrap_chunk(data, inner) {
        event = Event { name: "", data: inner, ..event };
    }
    each(event);
}

/// Parses the first of `headers`: its name, its value, and the headers after it.
fn header(headers: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&length, rest) = headers.split_first()?;
    let (name, rest) = rest.split_at_checked(length.into())?;
    let (&kind, rest) = rest.split_first()?;
    let (length, rest) = match kind {
        0 | 1 => (0, rest),
        2 => (1, rest),
        3 => (2, rest),
        4 => (4, rest),
        5 | 8 => (8, rest),
        6 | 7 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(length).into(), rest)
        }
        9 => (16, rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((name, value, rest))
}

/// Decodes the content of `{"bytes": "<base64>"}` into `inner`. Returns whether it was found and valid.
fn unwrap_chunk(data: &[u8], inner: &mut Vec<u8>) -> bool {
    let mut is_found = false;
    walk(data, |path, leaf| {
        if let (["bytes"], Leaf::Text(text)) = (path, leaf) {
            is_found = base64::decode(text.as_bytes(), inner);
        }
    });
    is_found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One header of each type, then those that are read.
    const HEADERS: &[u8] = b"\x01a\x00\x01b\x01\x01c\x02.\x01d\x03..\x01e\x04....\x01f\x05........\
        \x01g\x06\x00\x03...\x01h\x08........\x01i\x09................\
        \x0b:event-type\x07\x00\x04name\x0d:message-type\x07\x00\x09exception";

    fn message(payload: &[u8]) -> Vec<u8> {
        let length = (PRELUDE + HEADERS.len() + payload.len() + CHECKSUM) as u32;
        let headers = (HEADERS.len() as u32).to_be_bytes();
        [&length.to_be_bytes(), &headers, b"sum1", HEADERS, payload, b"sum2"].concat()
    }

    #[test]
    fn emits_the_payload_with_the_values_of_the_headers() {
        let bytes = [message(b"{}"), message(b""), message(b"payload")].concat();
        for step in [1, 2, 3, 7, 11, 12, 13, bytes.len()] {
            let (mut framer, mut seen) = (AmazonFramer::default(), Vec::new());
            for piece in bytes.chunks(step) {
                framer.push(piece, |event| {
                    assert_eq!((event.name, event.is_error), ("name", true), "{step}");
                    seen.push(event.data.to_vec());
                });
            }
            assert_eq!(seen, [&b"{}"[..], b"", b"payload"], "{step}");
        }
    }

    #[test]
    fn an_invalid_header_ends_the_headers() {
        for lie in [&b"\x09a"[..], b"\x01a\x0a", b"\x01a\x07\x00\x09x", b"\x01a\x05...", b"\x01a", b"\x00"] {
            assert!(header(lie).is_none(), "{lie:?}");
        }
    }
}
