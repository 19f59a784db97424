//! Converts a complete answer between its two forms: one JSON document, and a stream of events.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::body::first_bytes::trim_start;
use crate::dialect::{DialectGuess, all_rules};
use crate::event::{DONE, Event};
use crate::json::{exact_numbers, has_more_nodes, has_too_many_nodes};
use crate::stream::sse::SseFramer;

/// The most events that are put together.
const MAX_EVENTS: usize = 256 * 1024;

/// The most objects and arrays of events that are put together: more than
/// [`MAX_NODES`](crate::json::MAX_NODES), since events have four for a token.
const MAX_EVENT_NODES: usize = 512 * 1024;

/// The most bytes of a stream that an answer is split into: several times those of any answer that is
/// converted.
pub(crate) const MAX_CONVERTED: usize = 64 * 1024 * 1024;

/// Puts the events of a complete stream together. `None` if no dialect can, if an event is unreadable, or if
/// there are too many.
pub(crate) fn events_to_document(events: &[u8]) -> Option<Bytes> {
    if has_more_nodes(events, MAX_EVENT_NODES) {
        return None;
    }
    let (mut dialect, mut parsed, mut is_readable) = (None, Vec::new(), true);
    let mut each = |event: Event<'_>| {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == DONE {
            return;
        }
        if dialect.is_none()
            && let DialectGuess::Known(known) = DialectGuess::of(event)
        {
            dialect = Some(known);
        }
        match parse(data) {
            Some(value) if parsed.len() < MAX_EVENTS => parsed.push(value),
            _ => is_readable = false,
        }
    };
    // No event is cut: none is longer than all of them.
    let mut framer = SseFramer::with_cap(events.len());
    framer.push(events, &mut each);
    // As the scanner of streams: the empty line after the last event may be missing, and a truncated event is not
    // an event.
    framer.finish(|event| {
        if event.is_complete() {
            each(event);
        }
    });
    let document = (dialect?.rules().document)(&parsed).filter(|_| is_readable)?;
    write(serde_json::to_string(&document).ok()?)
}

/// Splits a complete answer into the events of a stream. `None` if it is an answer in no known dialect, or if
/// the stream would be too long.
pub(crate) fn document_to_events(document: &[u8]) -> Option<Bytes> {
    if has_too_many_nodes(document) {
        return None;
    }
    let document = parse(document)?;
    let events = all_rules().find_map(|rules| (rules.events)(&document))?;
    let mut out = Vec::new();
    for (name, data) in events {
        if !name.is_empty() {
            out.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        out.extend_from_slice(b"data: ");
        match data {
            // `[DONE]`, the only event that is not an object.
            Value::String(text) => out.extend_from_slice(text.as_bytes()),
            data => serde_json::to_writer(&mut out, &data).ok()?,
        }
        out.extend_from_slice(b"\n\n");
        if out.len() > MAX_CONVERTED {
            return None;
        }
    }
    write(String::from_utf8(out).ok()?)
}

/// Parses JSON, possibly behind a byte order mark. Its numbers will be [written](write) as they are.
fn parse(json: &[u8]) -> Option<Value> {
    serde_json::from_str(&exact_numbers::mark(std::str::from_utf8(trim_start(json)).ok()?)?).ok()
}

fn write(json: String) -> Option<Bytes> {
    Some(match exact_numbers::unmark(&json)? {
        Cow::Borrowed(_) => json.into(),
        Cow::Owned(json) => json.into(),
    })
}

#[cfg(test)]
mod tests;
