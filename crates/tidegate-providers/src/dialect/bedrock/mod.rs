//! Bedrock's Converse API, and the binary framing in which Amazon streams it and other dialects.

mod base64;
pub(crate) mod events;
pub(crate) mod framing;
