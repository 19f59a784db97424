//! Framing of a JSON array that is streamed element by element, from chunks of any size.

use memchr::{memchr2, memchr3};

use crate::event::{CappedBuffer, Event, MAX_EVENT};

/// Splits a streamed JSON array of objects into its elements.
///
/// Only braces outside of strings are counted; the bytes are not validated otherwise. Of an element larger
/// than 256 KiB only the beginning and the end are kept.
pub(crate) struct ArrayFramer {
    /// An incomplete element.
    element: CappedBuffer,
    /// Number of open braces.
    depth: usize,
    is_in_string: bool,
    /// The last byte was a backslash, which escapes the next one.
    is_escaped: bool,
}

impl Default for ArrayFramer {
    fn default() -> Self {
        Self { element: CappedBuffer::new(MAX_EVENT), depth: 0, is_in_string: false, is_escaped: false }
    }
}

impl ArrayFramer {
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        // The start of the open element in this chunk.
        let mut start = 0;
        let mut at = 0;
        while at < bytes.len() {
            if std::mem::take(&mut self.is_escaped) {
                at += 1;
                continue;
            }
            let rest = &bytes[at..];
            let found = match self.is_in_string {
                true => memchr2(b'"', b'\\', rest),
                false if self.depth == 0 => rest.iter().position(|&b| b == b'{'),
                false => memchr3(b'"', b'{', b'}', rest),
            };
            let Some(found) = found else { break };
            at += found + 1;
            match bytes[at - 1] {
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                b'{' => {
                    if self.depth == 0 {
                        start = at - 1;
                    }
                    self.depth += 1;
                }
                _ => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.dispatch(&bytes[start..at], &mut each);
                    }
                }
            }
        }
        if self.depth > 0 {
            self.element.push(&bytes[start..]);
        }
    }

    /// Whether an element is incomplete.
    pub(crate) fn is_within(&self) -> bool {
        self.depth > 0
    }

    fn dispatch(&mut self, end: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if self.element.is_empty() && end.len() <= MAX_EVENT {
            return each(Event { data: end, ..Event::default() });
        }
        self.element.push(end);
        let is_cut = self.element.is_cut();
        each(Event { data: self.element.finish(), is_cut, ..Event::default() });
        self.element.clear();
    }

    /// The capacity of the buffer.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.element.capacity()
    }
}
