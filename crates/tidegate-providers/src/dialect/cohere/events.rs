//! Cohere's Chat API, version 2.

use std::sync::LazyLock;

use tidegate_core::StopReason;

use super::response::{failure_reason, usage_field};
use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
use crate::dialect::usage_field::UsageCounts;
use crate::event::Event;
use crate::json::fast_path::JsonKey;
use crate::json::walk::{Leaf, walk};

pub(super) fn read(event: Event<'_>) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    let mut kind = event.name;
    let mut reason = None;
    let mut usage = UsageCounts::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        (["type"], Leaf::Text(text)) => kind = text,
        (
            ["delta", "message", "content", "text" | "thinking"]
            | ["delta", "message", "tool_plan"]
            | ["delta", "message", "tool_calls", "function", "name" | "arguments"],
            leaf,
        ) => parsed.is_token |= leaf.is_text(),
        (["delta", "finish_reason"], Leaf::Text(text)) => reason = Some(text),
        (["delta", "usage", count @ ..], Leaf::Number(number)) => {
            if let Some(field) = usage_field(count) {
                usage.set(field, number);
            }
        }
        (["error", ..], leaf) if leaf.is_value() => parsed.error = Some(StreamError::Event),
        _ => {}
    });
    parsed.usage = usage.usage();
    if kind == "message-end" {
        parsed.end = EndSignal::Final;
        parsed.stop = reason.and_then(stop_reason);
        parsed.error = reason.and_then(failure_reason).or(parsed.error);
    }
    parsed
}

pub(super) fn stop_reason(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "COMPLETE" | "STOP_SEQUENCE" | "TOOL_CALL" => StopReason::Natural,
        "MAX_TOKENS" => StopReason::Length,
        "ERROR_TOXIC" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}

/// Whether the event contains text and nothing else.
pub(super) fn is_content_only(data: &[u8]) -> bool {
    static TEXT: LazyLock<JsonKey> = LazyLock::new(|| JsonKey::new(r#""text""#));
    data.starts_with(br#"{"type":"content-delta""#) && TEXT.holds_text(data)
}

/// Whether events of this type exist in this dialect only.
pub(super) fn is_own_type(kind: &str) -> bool {
    matches!(
        kind,
        "message-start"
            | "message-end"
            | "content-start"
            | "content-delta"
            | "content-end"
            | "citation-start"
            | "citation-end"
            | "tool-plan-delta"
            | "tool-call-start"
            | "tool-call-delta"
            | "tool-call-end"
    )
}
