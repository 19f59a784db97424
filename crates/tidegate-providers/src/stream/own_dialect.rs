//! Events of servers with a dialect of their own, at an endpoint that is not known.

use crate::body::first_bytes::FirstBytes;
use crate::body::probe::{self, Expected};
use crate::dialect::parsed_event::{EndSignal, ParsedEvent};
use crate::dialect::probe_result::ProbeResult;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::json::members::members;

/// The fields by which such dialects mark the last event: `false` or `null` in all others. They are those of
/// llama.cpp, Ollama and text-generation-inference.
const MARKS: [&[u8]; 3] = [b"stop", b"done", b"generated_text"];

/// Reads an event as the document of the same text is read: it is a token if it has a field in which some
/// server has its answer. The stream may end after the event that is marked as the last one, or, if the event
/// has no mark, after any token.
pub(super) fn read(event: Event<'_>) -> ParsedEvent {
    let is_success =
        |json: &[u8]| probe::read(json, Expected::Answer(Endpoint::Unknown)) == ProbeResult::Success;
    let is_token = matches!(FirstBytes::of(event.data), FirstBytes::Json(json) if is_success(json));
    let mut may_end = is_token;
    let _is_object = members(event.data, |key, value| {
        if MARKS.contains(&key) {
            may_end = !matches!(&event.data[value], b"false" | b"null");
        }
    });
    let end = if may_end { EndSignal::Allowed } else { EndSignal::None };
    ParsedEvent { is_token, end, ..ParsedEvent::default() }
}
