//! OpenAI's chat chunks, and those of all who speak like it: Azure, Mistral, Groq, DeepSeek, OpenRouter, xAI, ...

use std::sync::LazyLock;

use tidegate_core::{ErrorCode, Stop};

use super::event::Event;
use super::glance::Key;
use super::leaves::{Leaf, walk};
use super::reading::{End, Reading, Trouble};

/// The terminator of those whose own dialect this is. Others speak it without one: where it is not known that it
/// is sent, a body that ends well after a finish reason has ended well, too.
pub(crate) const DONE: &[u8] = b"[DONE]";

pub(crate) fn read(event: Event<'_>) -> Reading {
    let mut reading = Reading::default();
    if event.data.trim_ascii() == DONE {
        reading.end = End::Said;
        return reading;
    }
    walk(event.data, |path, leaf| match (path, leaf) {
        (["choices", "delta" | "message", delta @ ..], leaf) => {
            reading.is_token |= leaf.is_text() && is_content(delta);
        }
        // The older API without a chat.
        (["choices", "text"], leaf) => reading.is_token |= leaf.is_text(),
        (["choices", "finish_reason"], Leaf::Text(reason)) => take_reason(&mut reading, reason),
        (["usage", count] | ["x_groq", "usage", count], Leaf::Number(number)) => match *count {
            "prompt_tokens" => reading.usage.input = Some(number),
            "completion_tokens" => reading.usage.output = Some(number),
            _ => {}
        },
        (["error"] | ["x_groq", "error"] | ["choices", "error"], leaf) if leaf.is_error() => {
            reading.trouble = Some(Trouble::Told);
        }
        (["object"], Leaf::Text("error")) => reading.trouble = Some(Trouble::Told),
        _ => {}
    });
    reading
}

/// Whether a leaf of a delta at `path` is generated. A role and the type of a part are not.
fn is_content(path: &[&str]) -> bool {
    matches!(
        path,
        ["content" | "reasoning_content" | "reasoning" | "reasoning_text" | "thinking" | "refusal"]
            | ["content", .., "text"]
            | ["tool_calls", _, "name" | "arguments" | "input"]
            | ["function_call", "name" | "arguments"]
            | ["reasoning_details", "text" | "summary" | "data"]
            | ["audio", "data" | "transcript"]
    )
}

/// Why the model stopped, if it has.
pub(crate) fn stop(reason: &str) -> Option<Stop> {
    Some(match reason {
        "" => return None,
        "stop" | "eos" | "tool_calls" | "function_call" => Stop::Natural,
        "length" | "model_length" => Stop::Length,
        "content_filter" => Stop::ContentFilter,
        _ => Stop::Other,
    })
}

fn take_reason(reading: &mut Reading, reason: &str) {
    let Some(stop) = stop(reason) else { return };
    reading.stop = Some(stop);
    match trouble(reason) {
        // What stands in `error` says more than the word, whichever comes first.
        Some(trouble) => _ = reading.trouble.get_or_insert(trouble),
        None => reading.end = End::Allowed,
    }
}

/// The reasons that are none of the model's.
pub(crate) fn trouble(reason: &str) -> Option<Trouble> {
    match reason {
        "error" => Some(Trouble::Reason("error", ErrorCode::ServerError)),
        "insufficient_system_resource" => {
            Some(Trouble::Reason("insufficient_system_resource", ErrorCode::Overloaded))
        }
        _ => None,
    }
}

/// Whether the chunk is a piece of text, of reasoning or of a tool call, and nothing else.
pub(crate) fn is_plain(data: &[u8]) -> bool {
    let keys = &*KEYS;
    let is_content =
        |delta| [&keys.content, &keys.reasoning, &keys.arguments].iter().any(|key| key.holds_text(delta));
    let is_alone = || [&keys.finish_reason, &keys.usage, &keys.error].iter().all(|key| key.is_null(data));
    keys.delta.after(data).is_some_and(is_content) && is_alone()
}

/// The keys by which a plain chunk is told.
struct Keys {
    delta: Key,
    content: Key,
    reasoning: Key,
    arguments: Key,
    finish_reason: Key,
    usage: Key,
    error: Key,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    delta: Key::new(r#""delta""#),
    content: Key::new(r#""content""#),
    reasoning: Key::new(r#""reasoning_content""#),
    arguments: Key::new(r#""arguments""#),
    finish_reason: Key::new(r#""finish_reason""#),
    usage: Key::new(r#""usage""#),
    error: Key::new(r#""error""#),
});
