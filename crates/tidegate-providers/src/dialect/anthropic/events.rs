//! Anthropic's Messages API.

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
    let mut usage = UsageCounts::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        (["type"], Leaf::Text(text)) => kind = text,
        // A signature authenticates the thinking; it is not content.
        (["delta", "text" | "partial_json" | "thinking" | "content"], leaf)
        // The name of a tool is in the event that starts its block.
        | (["content_block", "text" | "thinking" | "name" | "data"], leaf) => {
            parsed.is_token |= leaf.is_text();
        }
        // It comes after the last block. Some servers end the body with it: at an unknown provider such a
        // response is complete.
        (["delta", "stop_reason"], Leaf::Text(reason)) if !reason.is_empty() => {
            parsed.apply_stop(stop_reason(reason), None);
        }
        (["usage", count @ ..] | ["message", "usage", count @ ..], Leaf::Number(number)) => {
            if let Some(field) = usage_field(count) {
                usage.set(field, number);
            }
        }
        (["error", ..], leaf) if leaf.is_value() => parsed.error = Some(StreamError::Event),
        _ => {}
    });
    parsed.usage = usage.usage();
    match kind {
        // Its usage is that of the prompt, and of a first token that is only reserved.
        "message_start" => parsed.is_bare = true,
        "message_stop" => parsed.end = EndSignal::Final,
        "error" => parsed.error = Some(StreamError::Event),
        _ => {}
    }
    parsed
}

/// Maps a stop reason.
pub(super) fn stop_reason(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "end_turn" | "stop_sequence" | "tool_use" => StopReason::Natural,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "refusal" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}

/// Whether the event contains text and nothing else.
pub(super) fn is_content_only(data: &[u8]) -> bool {
    static TEXT: LazyLock<JsonKey> = LazyLock::new(|| JsonKey::new(r#""text""#));
    data.starts_with(br#"{"type":"content_block_delta""#) && TEXT.holds_text(data)
}

/// Whether events of this type exist in this dialect only.
pub(super) fn is_own_type(kind: &str) -> bool {
    matches!(
        kind,
        "message_start"
            | "message_delta"
            | "message_stop"
            | "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
    )
}
