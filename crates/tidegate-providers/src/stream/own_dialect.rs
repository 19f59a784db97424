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
    let mut is_token = matches!(FirstBytes::of(event.data), FirstBytes::Json(json) if is_success(json));
    let mut is_last = None;
    let _is_object = members(event.data, |key, value| match &event.data[value] {
        value if MARKS.contains(&key) => is_last = Some(!matches!(value, b"false" | b"null")),
        // A document with this status is a response that is generated later.
        br#""queued""# | br#""in_progress""# if key == b"status" => is_token = false,
        _ => {}
    });
    let end = if is_last.unwrap_or(is_token) { EndSignal::Allowed } else { EndSignal::None };
    ParsedEvent { is_token, end, ..ParsedEvent::default() }
}
