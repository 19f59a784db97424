//! Bedrock's Converse API. The frame names the type of an event, and the exception of a failure.

use tidegate_core::StopReason;

use super::response::usage_field;
use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
use crate::dialect::usage_field::UsageCounts;
use crate::event::Event;
use crate::json::walk::{Leaf, walk};

pub(super) fn read(event: Event<'_>) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    let mut usage = UsageCounts::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        (["delta", "text"] | ["delta", "toolUse", "input"] | ["start", "toolUse", "name"], leaf)
        | (["delta", "reasoningContent", "text" | "redactedContent"], leaf) => {
            parsed.is_token |= leaf.is_text();
        }
        (["stopReason"], Leaf::Text(reason)) => {
            (parsed.stop, parsed.error) = (stop_reason(reason), failure_reason(reason));
        }
        (["usage", count @ ..], Leaf::Number(number)) => {
            if let Some(field) = usage_field(count) {
                usage.set(field, number);
            }
        }
        _ => {}
    });
    parsed.usage = usage.usage();
    // The usage comes after the stop reason, so either event ends the response.
    if matches!(event.name, "messageStop" | "metadata") {
        parsed.end = EndSignal::Final;
    }
    parsed
}

pub(super) fn stop_reason(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "end_turn" | "tool_use" | "stop_sequence" => StopReason::Natural,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "content_filtered" | "guardrail_intervened" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}

/// The stop reasons with which the rest of an answer is lost, since it could not be parsed.
pub(super) fn failure_reason(reason: &str) -> Option<StreamError> {
    const FAILURES: [&str; 2] = ["malformed_model_output", "malformed_tool_use"];
    let name = FAILURES.into_iter().find(|name| *name == reason)?;
    Some(StreamError::Output(name))
}

/// Whether events of this type exist in this dialect only.
pub(super) fn is_own_type(kind: &str) -> bool {
    matches!(
        kind,
        "messageStart" | "messageStop" | "contentBlockStart" | "contentBlockDelta" | "contentBlockStop"
    )
}
