//! OpenAI's Responses.

use std::sync::LazyLock;

use tidegate_core::Stop;

use super::event::Event;
use super::glance::Key;
use super::leaves::{Leaf, walk};
use super::reading::{End, Reading, Trouble};

pub(crate) fn read(event: Event<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut kind = event.name;
    let mut has_content = false;
    let mut cut_short = None;
    walk(event.data, |path, leaf| match (path, leaf) {
        (["type"], Leaf::Text(text)) => kind = text,
        (["delta" | "partial_image_b64"] | ["delta", "text"] | ["item", "name"], leaf) => {
            has_content |= leaf.is_text()
        }
        (["response", "incomplete_details", "reason"], Leaf::Text(reason)) => cut_short = Some(stop(reason)),
        (["response", "usage", "input_tokens"], Leaf::Number(number)) => reading.usage.input = Some(number),
        (["response", "usage", "output_tokens"], Leaf::Number(number)) => reading.usage.output = Some(number),
        (["error"], leaf) if leaf.is_error() => reading.trouble = Some(Trouble::Told),
        _ => {}
    });
    match kind {
        "response.completed" => (reading.end, reading.stop) = (End::Said, Some(Stop::Natural)),
        "response.incomplete" => {
            (reading.end, reading.stop) = (End::Said, Some(cut_short.unwrap_or(Stop::Other)));
        }
        "response.failed" | "error" => reading.trouble = Some(Trouble::Told),
        // A tool is named where its item begins.
        "response.output_item.added" | "response.image_generation_call.partial_image" => {
            reading.is_token = has_content;
        }
        kind => reading.is_token = has_content && kind.ends_with(".delta"),
    }
    reading
}

fn stop(reason: &str) -> Stop {
    match reason {
        "max_output_tokens" => Stop::Length,
        "content_filter" => Stop::ContentFilter,
        _ => Stop::Other,
    }
}

/// Whether the event is a piece of text and nothing else.
pub(crate) fn is_plain(data: &[u8]) -> bool {
    static DELTA: LazyLock<Key> = LazyLock::new(|| Key::new(r#""delta""#));
    data.starts_with(br#"{"type":"response.output_text.delta""#) && DELTA.holds_text(data)
}
