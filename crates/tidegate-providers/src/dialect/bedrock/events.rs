//! Bedrock's Converse API. The frame names the type of an event, and the exception of a failure.

use tidegate_core::StopReason;

use crate::dialect::parsed_event::{EndSignal, ParsedEvent};
use crate::event::Event;
use crate::json::walk::{Leaf, walk};

pub(crate) fn read(event: Event<'_>) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        (["delta", "text"] | ["delta", "toolUse", "input"] | ["start", "toolUse", "name"], leaf)
        | (["delta", "reasoningContent", "text" | "redactedContent"], leaf) => {
            parsed.is_token |= leaf.is_text();
        }
        (["stopReason"], Leaf::Text(reason)) => parsed.stop = stop(reason),
        (["usage", "inputTokens"], Leaf::Number(number)) => parsed.usage.input = Some(number),
        (["usage", "outputTokens"], Leaf::Number(number)) => parsed.usage.output = Some(number),
        _ => {}
    });
    // The usage comes after the stop reason, so either event ends the response.
    if matches!(event.name, "messageStop" | "metadata") {
        parsed.end = EndSignal::Final;
    }
    parsed
}

pub(crate) fn stop(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "end_turn" | "tool_use" | "stop_sequence" => StopReason::Natural,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "content_filtered" | "guardrail_intervened" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}
