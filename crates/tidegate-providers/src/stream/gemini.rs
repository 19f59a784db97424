//! Google's `GenerateContentResponse`, once an event and once an element of an array.

use tidegate_core::Stop;

use super::event::Event;
use super::leaves::{Leaf, walk};
use super::reading::{End, Reading, Trouble};

pub(crate) fn read(event: Event<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut thoughts = None;
    walk(event.data, |path, leaf| match (path, leaf) {
        // A thought's signature is no thought.
        (["candidates", "content", "parts", part, ..], leaf) => {
            reading.is_token |= leaf.is_text()
                && matches!(
                    *part,
                    "text" | "functionCall" | "inlineData" | "executableCode" | "codeExecutionResult"
                );
        }
        (["candidates", "finishReason"], Leaf::Text(reason)) if !reason.is_empty() => {
            // There is no marker: the end of the body after a reason is the end.
            reading.end = End::Allowed;
            reading.stop = Some(stop(reason));
        }
        (["promptFeedback", "blockReason"], Leaf::Text(reason)) if !reason.is_empty() => {
            reading.end = End::Allowed;
            reading.stop = Some(Stop::ContentFilter);
        }
        (["usageMetadata", count], Leaf::Number(number)) => match *count {
            "promptTokenCount" => reading.usage.input = Some(number),
            "candidatesTokenCount" => reading.usage.output = Some(number),
            "thoughtsTokenCount" => thoughts = Some(number),
            _ => {}
        },
        (["error"], leaf) if leaf.is_error() => reading.trouble = Some(Trouble::Told),
        _ => {}
    });
    if let Some(thoughts) = thoughts {
        reading.usage.output = Some(reading.usage.output.unwrap_or_default().saturating_add(thoughts));
    }
    reading
}

fn stop(reason: &str) -> Stop {
    match reason {
        "STOP" => Stop::Natural,
        "MAX_TOKENS" => Stop::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
            Stop::ContentFilter
        }
        _ => Stop::Other,
    }
}
