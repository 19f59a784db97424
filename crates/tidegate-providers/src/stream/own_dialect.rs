//! Events of servers with a dialect of their own, at an endpoint that is not known.

use crate::body::first_bytes::FirstBytes;
use crate::body::probe::{self, Expected};
use crate::dialect::parsed_event::{EndSignal, ParsedEvent};
use crate::dialect::probe_result::ProbeResult;
use crate::endpoint::Endpoint;
use crate::error::codes::look_up;
use crate::event::Event;
use crate::json::members::members;
use crate::json::walk::{Leaf, walk};

/// The fields by which such dialects mark the last event: `false` or `null` in all others. They are those of
/// llama.cpp, Ollama and text-generation-inference.
const MARKS: [&[u8]; 3] = [b"stop", b"done", b"generated_text"];

/// The fields in which such dialects have their text.
const TEXTS: [&str; 7] =
    ["content", "text", "response", "generated_text", "completion", "output", "thinking"];

/// Reads an event as the document of the same text is read: it is a token if it has a text, or a tool call,
/// where some server has its answer. Beside the code of an error a text is none. The stream may end after the
/// event that is marked as the last one, or, if the event has no mark, after any token.
pub(super) fn read(event: Event<'_>) -> ParsedEvent {
    let is_success =
        |json: &[u8]| probe::read(json, Expected::Answer(Endpoint::Unknown)) == ProbeResult::Success;
    let (mut has_content, mut has_code) = (false, false);
    walk(event.data, |path, leaf| match path {
        ["code" | "error_code" | "status"] | ["message", "code"] => has_code |= is_error_code(leaf),
        path => has_content |= leaf.is_text() && is_content(path),
    });
    let mut is_token = has_content
        && !has_code
        && matches!(FirstBytes::of(event.data), FirstBytes::Json(json) if is_success(json));
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

/// Whether a text at this path is generated content. The role of a message is none.
fn is_content(path: &[&str]) -> bool {
    match path {
        ["message", "tool_calls", ..] => true,
        [first, .., last] => {
            !is_label(last) && (TEXTS.contains(first) || matches!(*first, "message" | "token" | "data"))
        }
        ["data"] => true,
        [only] => TEXTS.contains(only),
        [] => false,
    }
}

/// Whether the text in a field is about an answer, and no part of it.
fn is_label(key: &str) -> bool {
    matches!(
        key,
        "role"
            | "type"
            | "id"
            | "object"
            | "model"
            | "name"
            | "code"
            | "status"
            | "error"
            | "detail"
            | "msg"
            | "message"
            | "reason"
            | "finish_reason"
    )
}

/// Whether a value is the code of an error: a status of HTTP, a known word, or a negative number. Some envelopes
/// have a large number for a success.
fn is_error_code(leaf: Leaf<'_>) -> bool {
    match leaf {
        Leaf::Number(code) => (400..600).contains(&code),
        Leaf::Text(code) => match code.parse() {
            Ok(code) => (400..600).contains(&code) || (1000..2000).contains(&code),
            Err(_) => look_up(code).is_some(),
        },
        leaf => leaf == Leaf::Decimal,
    }
}
