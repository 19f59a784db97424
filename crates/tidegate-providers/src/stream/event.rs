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
pub(crate) const LIMIT: usize = 256 * 1024;

/// Adds `bytes` to `kept`, up to the limit.
pub(crate) fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = LIMIT.saturating_sub(kept.len());
    kept.extend_from_slice(within(bytes, room));
}

/// Whether `data` may be no more than the beginning of an event: a frame takes a few bytes of the limit, too.
pub(crate) fn is_cut(data: &[u8]) -> bool {
    data.len() + 16 >= LIMIT
}

/// The first `limit` bytes.
pub(crate) fn within(bytes: &[u8], limit: usize) -> &[u8] {
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
        assert!(sse.kept() <= 4 * LIMIT, "{}", sse.kept());
        assert!(array.kept() <= 2 * LIMIT, "{}", array.kept());
        assert!(amazon.kept() <= 2 * LIMIT, "{}", amazon.kept());
    }
}
