//! Google's `GenerateContentResponse`, sent as server-sent events or as the elements of an array.

use tidegate_core::StopReason;

use super::response::usage_field;
use super::stop_reason::{failure_reason, stop_reason};
use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
use crate::dialect::usage_field::UsageCounts;
use crate::event::Event;
use crate::json::walk::{Leaf, walk};

pub(super) fn read(event: Event<'_>) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    let mut usage = UsageCounts::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        // The signature of a thought is not content.
        (["candidates", "content", "parts", part, ..], leaf) => {
            parsed.is_token |= leaf.is_text()
                && matches!(
                    *part,
                    "text" | "functionCall" | "inlineData" | "executableCode" | "codeExecutionResult"
                );
        }
        (["candidates", "finishReason"], Leaf::Text(reason)) if !reason.is_empty() => {
            // There is no terminator: the response ends with the body after a finish reason.
            parsed.apply_stop(stop_reason(reason), failure_reason(reason));
        }
        (["promptFeedback", "blockReason"], Leaf::Text(reason)) if !reason.is_empty() => {
            parsed.end = EndSignal::Allowed;
            parsed.stop = Some(StopReason::ContentFilter);
        }
        (["usageMetadata", count @ ..], Leaf::Number(number)) => {
            if let Some(field) = usage_field(count) {
                usage.set(field, number);
            }
        }
        (["error", ..], leaf) if leaf.is_value() => parsed.error = Some(StreamError::Event),
        _ => {}
    });
    parsed.usage = usage.usage();
    parsed
}

/// Whether events with this leaf exist in this dialect only.
pub(super) fn is_own_leaf(path: &[&str], leaf: Leaf<'_>) -> bool {
    matches!(
        (path, leaf),
        (["candidates"], Leaf::Array) | (["usageMetadata" | "promptFeedback"], Leaf::Object)
    )
}
