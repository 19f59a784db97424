//! Cohere's chat, version 2.

use std::sync::LazyLock;

use tidegate_core::{ErrorCode, Stop};

use super::event::Event;
use super::glance::Key;
use super::leaves::{Leaf, walk};
use super::reading::{End, Reading, Trouble};

pub(crate) fn read(event: Event<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut kind = event.name;
    let mut reason = None;
    walk(event.data, |path, leaf| match (path, leaf) {
        (["type"], Leaf::Text(text)) => kind = text,
        (
            ["delta", "message", "content", "text" | "thinking"]
            | ["delta", "message", "tool_plan"]
            | ["delta", "message", "tool_calls", "function", "name" | "arguments"],
            leaf,
        ) => reading.is_token |= leaf.is_text(),
        (["delta", "finish_reason"], Leaf::Text(text)) => reason = Some(text),
        (["delta", "usage", "tokens", "input_tokens"], Leaf::Number(number)) => {
            reading.usage.input = Some(number);
        }
        (["delta", "usage", "tokens", "output_tokens"], Leaf::Number(number)) => {
            reading.usage.output = Some(number);
        }
        (["error"], leaf) if leaf.is_error() => reading.trouble = Some(Trouble::Told),
        _ => {}
    });
    if kind == "message-end" {
        reading.end = End::Said;
        reading.stop = reason.map(stop);
        reading.trouble = match reason {
            Some("ERROR") => Some(Trouble::Reason("ERROR", ErrorCode::ServerError)),
            Some("TIMEOUT") => Some(Trouble::Reason("TIMEOUT", ErrorCode::Timeout)),
            _ => reading.trouble,
        };
    }
    reading
}

fn stop(reason: &str) -> Stop {
    match reason {
        "COMPLETE" | "STOP_SEQUENCE" | "TOOL_CALL" => Stop::Natural,
        "MAX_TOKENS" => Stop::Length,
        "ERROR_TOXIC" => Stop::ContentFilter,
        _ => Stop::Other,
    }
}

/// Whether the event is a piece of text and nothing else.
pub(crate) fn is_plain(data: &[u8]) -> bool {
    static TEXT: LazyLock<Key> = LazyLock::new(|| Key::new(r#""text""#));
    data.starts_with(br#"{"type":"content-delta""#) && TEXT.holds_text(data)
}
