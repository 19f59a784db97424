/// One event of a stream, whatever framing it came in.
#[derive(Clone, Copy, Default)]
pub struct Event<'a> {
    /// What the frame calls it: the `event:` field, or Amazon's `:event-type`. Empty if it has no name.
    pub name: &'a str,
    /// What it carries. Empty for a comment.
    pub data: &'a [u8],
    /// The frame itself says that this is an error: `event: error`, or Amazon's `:exception-type`.
    pub is_error: bool,
}

/// So much of an event is kept; of a larger one, the beginning. The longest that were seen echo a whole
/// prompt, and begin with their type.
pub(crate) const MAX_EVENT: usize = 256 * 1024;

/// Adds `bytes` to `buffered`, up to the limit.
pub(crate) fn append_capped(buffered: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_EVENT.saturating_sub(buffered.len());
    buffered.extend_from_slice(prefix(bytes, room));
}

/// Whether `data` may be no more than the beginning of an event: a frame takes a few bytes of the limit, too.
pub(crate) fn is_cut(data: &[u8]) -> bool {
    data.len() + 16 >= MAX_EVENT
}

/// The first `limit` bytes.
pub(crate) fn prefix(bytes: &[u8], limit: usize) -> &[u8] {
    &bytes[..bytes.len().min(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::amazon::AmazonFramer;
    use crate::stream::array::ArrayFramer;
    use crate::stream::sse::SseFramer;

    /// A gigabyte without an end would be kept, were it not for the limit.
    #[test]
    fn no_framer_keeps_more_than_the_limit() {
        let (mut sse, mut array, mut amazon) =
            (SseFramer::new(), ArrayFramer::default(), AmazonFramer::default());
        sse.push(b"event: x\n", |_| {});
        array.push(b"[{\"a\":\"", |_| {});
        amazon.push(b"\x02\0\0\0\0\0\0\0\0\0\0\0", |_| {});
        for _ in 0..64 {
            for _ in 0..16 {
                sse.push(&[b'x'; 16 * 1024], |_| {});
                array.push(&[b'x'; 16 * 1024], |_| {});
                amazon.push(&[b'x'; 16 * 1024], |_| {});
            }
            sse.push(b"\ndata: ", |_| {});
        }
        // A buffer grows by doubling.
        assert!(sse.buffered() <= 4 * MAX_EVENT, "{}", sse.buffered());
        assert!(array.buffered() <= 2 * MAX_EVENT, "{}", array.buffered());
        assert!(amazon.buffered() <= 2 * MAX_EVENT, "{}", amazon.buffered());
    }
}
