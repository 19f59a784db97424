//! Anthropic's Messages API.

use std::sync::LazyLock;

use tidegate_core::StopReason;

use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
use crate::event::Event;
use crate::json::fast_path::JsonKey;
use crate::json::walk::{Leaf, walk};

pub(crate) fn read(event: Event<'_>) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    let mut kind = event.name;
    let mut cache = None;
    walk(event.data, |path, leaf| match (path, leaf) {
        (["type"], Leaf::Text(text)) => kind = text,
        // A signature authenticates the thinking; it is not content.
        (["delta", "text" | "partial_json" | "thinking" | "content"], leaf)
        // The name of a tool is in the event that starts its block.
        | (["content_block", "text" | "thinking" | "name" | "data"], leaf) => {
            parsed.is_token |= leaf.is_text();
        }
        (["delta", "stop_reason"], Leaf::Text(reason)) => parsed.stop = stop(reason),
        (["usage", count] | ["message", "usage", count], Leaf::Number(number)) => match *count {
            "input_tokens" => parsed.usage.input = Some(number),
            "cache_creation_input_tokens" => cache = Some(number),
            "output_tokens" => parsed.usage.output = Some(number),
            _ => {}
        },
        (["error"], leaf) if leaf.is_error() => parsed.error = Some(StreamError::Event),
        _ => {}
    });
    // Tokens written to the cache count against the limits like input; tokens read from it do not.
    parsed.usage.input = parsed.usage.input.map(|input| input.saturating_add(cache.unwrap_or_default()));
    match kind {
        "message_stop" => parsed.end = EndSignal::Final,
        "error" => parsed.error = Some(StreamError::Event),
        _ => {}
    }
    parsed
}

/// Maps a stop reason.
pub(crate) fn stop(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "end_turn" | "stop_sequence" | "tool_use" => StopReason::Natural,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "refusal" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}

/// Whether the event contains text and nothing else.
pub(crate) fn is_content_only(data: &[u8]) -> bool {
    static TEXT: LazyLock<JsonKey> = LazyLock::new(|| JsonKey::new(r#""text""#));
    data.starts_with(br#"{"type":"content_block_delta""#) && TEXT.holds_text(data)
}
