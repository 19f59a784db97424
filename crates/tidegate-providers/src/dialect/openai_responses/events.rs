//! OpenAI's Responses API.

use std::sync::LazyLock;

use tidegate_core::StopReason;

use super::response::usage_field;
use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
use crate::dialect::usage_field::UsageCounts;
use crate::event::Event;
use crate::json::fast_path::JsonKey;
use crate::json::walk::{Leaf, walk};

pub(super) fn read(event: Event<'_>) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    let mut kind = event.name;
    let (mut status, mut has_content) = ("", false);
    let (mut cut_short, mut has_output) = (None, false);
    let mut usage = UsageCounts::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        (["type"], Leaf::Text(text)) => kind = text,
        (["delta" | "partial_image_b64"] | ["delta", "text"] | ["item", "name"], leaf) => {
            has_content |= leaf.is_text()
        }
        (["response", "status"], Leaf::Text(text)) => status = text,
        (["response", "incomplete_details", "reason"], Leaf::Text(reason)) => cut_short = stop_reason(reason),
        (["response", "output"], Leaf::Object) => has_output = true,
        (["response", "usage", count @ ..], Leaf::Number(number)) => {
            if let Some(field) = usage_field(count) {
                usage.set(field, number);
            }
        }
        (["error", ..] | ["response", "error", ..], leaf) if leaf.is_value() => {
            parsed.error = Some(StreamError::Event);
        }
        _ => {}
    });
    parsed.usage = usage.usage();
    // Some servers end every response with the same event: its status is that of the response.
    let kind = match (kind, status) {
        (_, "failed" | "cancelled") => "response.failed",
        ("response.completed" | "response.done", "incomplete") => "response.incomplete",
        ("response.done", _) => "response.completed",
        _ => kind,
    };
    match kind {
        "response.completed" => {
            (parsed.end, parsed.stop) = (EndSignal::Final, Some(StopReason::Natural));
            parsed.is_bare = !has_output && parsed.usage.output.is_none_or(|output| output == 0);
        }
        "response.incomplete" => {
            (parsed.end, parsed.stop) = (EndSignal::Final, Some(cut_short.unwrap_or(StopReason::Other)));
        }
        // A usage of theirs is a copy of that of another response, or of the prompt.
        "response.created" | "response.queued" | "response.in_progress" => parsed.is_bare = true,
        "response.failed" | "error" => parsed.error = Some(StreamError::Event),
        // The name of a tool is in the event that adds its item.
        "response.output_item.added" | "response.image_generation_call.partial_image" => {
            parsed.is_token = has_content;
        }
        kind => parsed.is_token = has_content && kind.ends_with(".delta"),
    }
    parsed
}

pub(super) fn stop_reason(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "max_output_tokens" => StopReason::Length,
        "content_filter" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}

/// Whether the event contains text and nothing else.
pub(super) fn is_content_only(data: &[u8]) -> bool {
    static DELTA: LazyLock<JsonKey> = LazyLock::new(|| JsonKey::new(r#""delta""#));
    data.starts_with(br#"{"type":"response.output_text.delta""#) && DELTA.holds_text(data)
}

/// Whether events of this type exist in this dialect only.
pub(super) fn is_own_type(kind: &str) -> bool {
    kind.starts_with("response.")
}
