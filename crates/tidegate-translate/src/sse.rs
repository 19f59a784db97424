//! Server-sent events as the dialects write them.

use std::fmt::Write;

use bytes::BytesMut;
use serde_json::Value;

/// The event that ends a chat stream.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes an event without a name, as in chat streams.
pub(crate) fn write_data(data: &Value, out: &mut BytesMut) {
    // Writing to memory does not fail.
    let _ = write!(out, "data: {data}\n\n");
}

/// Writes an event that is named after its `type`, as in Anthropic's streams.
pub(crate) fn write_event(event: &Value, out: &mut BytesMut) {
    let kind = event["type"].as_str().unwrap_or_default();
    let _ = write!(out, "event: {kind}\ndata: {event}\n\n");
}
