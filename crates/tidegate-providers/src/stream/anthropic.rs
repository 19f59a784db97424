//! Anthropic's messages.

use std::sync::LazyLock;

use tidegate_core::Stop;

use super::event::Event;
use super::glance::Key;
use super::leaves::{Leaf, walk};
use super::reading::{End, Reading, Trouble};

pub(crate) fn read(event: Event<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut kind = event.name;
    let mut cache = None;
    walk(event.data, |path, leaf| match (path, leaf) {
        (["type"], Leaf::Text(text)) => kind = text,
        // A signature proves what was thought; it is not a part of it.
        (["delta", "text" | "partial_json" | "thinking" | "content"], leaf)
        // A tool is named where its block begins.
        | (["content_block", "text" | "thinking" | "name" | "data"], leaf) => {
            reading.is_token |= leaf.is_text();
        }
        (["delta", "stop_reason"], Leaf::Text(reason)) => reading.stop = Some(stop(reason)),
        (["usage", count] | ["message", "usage", count], Leaf::Number(number)) => match *count {
            "input_tokens" => reading.usage.input = Some(number),
            "cache_creation_input_tokens" => cache = Some(number),
            "output_tokens" => reading.usage.output = Some(number),
            _ => {}
        },
        (["error"], leaf) if leaf.is_error() => reading.trouble = Some(Trouble::Told),
        _ => {}
    });
    // What is written to the cache counts against the limits as input does; what is read from it does not.
    reading.usage.input = reading.usage.input.map(|input| input.saturating_add(cache.unwrap_or_default()));
    match kind {
        "message_stop" => reading.end = End::Said,
        "error" => reading.trouble = Some(Trouble::Told),
        _ => {}
    }
    reading
}

/// Why the model stopped.
pub(crate) fn stop(reason: &str) -> Stop {
    match reason {
        "end_turn" | "stop_sequence" | "tool_use" => Stop::Natural,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "refusal" => Stop::ContentFilter,
        _ => Stop::Other,
    }
}

/// Whether the event is a piece of text and nothing else.
pub(crate) fn is_plain(data: &[u8]) -> bool {
    static TEXT: LazyLock<Key> = LazyLock::new(|| Key::new(r#""text""#));
    data.starts_with(br#"{"type":"content_block_delta""#) && TEXT.holds_text(data)
}
