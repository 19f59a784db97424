//! Reading of JSON without building it.

pub(crate) mod exact_numbers;
pub(crate) mod fast_path;
pub(crate) mod members;
pub(crate) mod walk;

/// The most objects and arrays of an answer that is parsed as a whole. Each takes memory of its own, up to 3
/// KiB, however short it is. An answer has some hundred.
pub(crate) const MAX_NODES: usize = 64 * 1024;

/// Whether an answer has too many objects and arrays to be parsed as a whole. Brackets in its texts count as
/// well.
#[must_use]
pub fn has_too_many_nodes(json: &[u8]) -> bool {
    json.len() > MAX_NODES && nodes(json) > MAX_NODES
}

/// At least the number of objects and arrays: brackets in texts count as well.
pub(crate) fn nodes(json: &[u8]) -> usize {
    memchr::memchr2_iter(b'{', b'[', json).count()
}
