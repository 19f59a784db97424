//! OpenAI's chat completion chunks, also used by Azure, Mistral, Groq, DeepSeek, OpenRouter, xAI and others.

use std::sync::LazyLock;

use super::response::usage_field;
use super::stop_reason::{failure_reason, stop_reason};
use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
use crate::dialect::usage_field::UsageCounts;
use crate::event::{DONE, Event};
use crate::json::fast_path::JsonKey;
use crate::json::walk::{Leaf, walk};

pub(super) fn read(event: Event<'_>) -> ParsedEvent {
    let mut parsed = ParsedEvent::default();
    // The terminator of the providers that define this dialect. Other servers omit it. Where a provider is
    // not known to send it, a body that ends cleanly after a finish reason is complete.
    if event.data.trim_ascii() == DONE {
        parsed.end = EndSignal::Final;
        return parsed;
    }
    let mut usage = UsageCounts::default();
    walk(event.data, |path, leaf| match (path, leaf) {
        (["choices", "delta" | "message", delta @ ..], leaf) => {
            parsed.is_token |= leaf.is_text() && is_content(delta);
        }
        // The older completions API.
        (["choices", "text"], leaf) => parsed.is_token |= leaf.is_text(),
        (["choices", "finish_reason"], Leaf::Text(reason)) if !reason.is_empty() => {
            parsed.apply_stop(stop_reason(reason), failure_reason(reason));
        }
        // Kimi's is in the choice.
        (["usage", count @ ..] | ["x_groq" | "choices", "usage", count @ ..], Leaf::Number(number)) => {
            if let Some(field) = usage_field(count) {
                usage.set(field, number);
            }
        }
        (["error", ..] | ["x_groq", "error", ..] | ["choices", "error", ..], leaf) if leaf.is_value() => {
            parsed.error = Some(StreamError::Event);
        }
        // MiniMax's status, which is zero in other events.
        (["object"], Leaf::Text("error")) | (["base_resp", "status_code"], Leaf::Number(1..)) => {
            parsed.error = Some(StreamError::Event);
        }
        _ => {}
    });
    parsed.usage = usage.usage();
    parsed
}

/// Whether events with this leaf exist in this dialect only.
pub(super) fn is_own_leaf(path: &[&str], leaf: Leaf<'_>) -> bool {
    matches!((path, leaf), (["choices"], Leaf::Array) | (["object"], Leaf::Text("error")))
}

/// Whether a leaf of a delta at `path` is generated content. A role and the type of a part are not.
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

/// Whether the chunk contains text, reasoning or a part of a tool call, and nothing else.
pub(super) fn is_content_only(data: &[u8]) -> bool {
    let keys = &*KEYS;
    let is_content =
        |delta| [&keys.content, &keys.reasoning, &keys.arguments].iter().any(|key| key.holds_text(delta));
    let is_alone = || [&keys.finish_reason, &keys.usage, &keys.error].iter().all(|key| key.is_null(data));
    keys.delta.after(data).is_some_and(is_content) && is_alone()
}

/// The keys that identify a chunk with content only.
struct ChatKeys {
    delta: JsonKey,
    content: JsonKey,
    reasoning: JsonKey,
    arguments: JsonKey,
    finish_reason: JsonKey,
    usage: JsonKey,
    error: JsonKey,
}

static KEYS: LazyLock<ChatKeys> = LazyLock::new(|| ChatKeys {
    delta: JsonKey::new(r#""delta""#),
    content: JsonKey::new(r#""content""#),
    reasoning: JsonKey::new(r#""reasoning_content""#),
    arguments: JsonKey::new(r#""arguments""#),
    finish_reason: JsonKey::new(r#""finish_reason""#),
    usage: JsonKey::new(r#""usage""#),
    error: JsonKey::new(r#""error""#),
});
