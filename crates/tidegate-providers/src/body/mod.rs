//! The body of a response that is not a stream.

pub(crate) mod first_bytes;
pub(crate) mod format;
pub(crate) mod probe;
pub(crate) mod usage;
