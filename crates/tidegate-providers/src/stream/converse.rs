//! Bedrock's Converse. Its events are told by the name of their frame, and its failures by that of an exception.

use tidegate_core::Stop;

use super::event::Event;
use super::leaves::{Leaf, walk};
use super::reading::{End, Reading};

pub(crate) fn read(event: Event<'_>) -> Reading {
    let mut reading = Reading::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        (["delta", "text"] | ["delta", "toolUse", "input"] | ["start", "toolUse", "name"], leaf)
        | (["delta", "reasoningContent", "text" | "redactedContent"], leaf) => {
            reading.is_token |= leaf.is_text();
        }
        (["stopReason"], Leaf::Text(reason)) => reading.stop = Some(stop(reason)),
        (["usage", "inputTokens"], Leaf::Number(number)) => reading.usage.input = Some(number),
        (["usage", "outputTokens"], Leaf::Number(number)) => reading.usage.output = Some(number),
        _ => {}
    });
    // The usage comes after the stop, so both are an end.
    if matches!(event.name, "messageStop" | "metadata") {
        reading.end = End::Said;
    }
    reading
}

fn stop(reason: &str) -> Stop {
    match reason {
        "end_turn" | "tool_use" | "stop_sequence" => Stop::Natural,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "content_filtered" | "guardrail_intervened" => Stop::ContentFilter,
        _ => Stop::Other,
    }
}
