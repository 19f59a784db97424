//! An answer of Anthropic's messages, as a chat completion.

use serde::Deserialize;
use serde_json::{Value, json};

use super::fields::Raw;
use super::mend;
use super::messages::Block;
use super::words::{Cost, finish_reason};

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    /// Each is read by itself, so that a block that nobody knows spoils no other.
    content: Vec<Raw>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

/// `None` if `body` is no answer. `created` is in seconds since 1970.
pub(super) fn read(body: &[u8], created: u64) -> Option<Value> {
    let answer: Answer = serde_json::from_str(&mend::text(body)).ok()?;
    let (mut text, mut thoughts, mut calls) = (None::<String>, None::<String>, Vec::new());
    for raw in answer.content {
        let Ok(block) = serde_json::from_str::<Block>(raw.get()) else { continue };
        match (&*block.kind, block.text, block.thinking) {
            ("text", Some(more), _) => text.get_or_insert_default().push_str(&more),
            ("thinking", _, Some(more)) => thoughts.get_or_insert_default().push_str(&more),
            ("tool_use", ..) => {
                let arguments = block.input.as_ref().map_or("{}", |input| input.get());
                let function = json!({"name": block.name, "arguments": arguments});
                calls.push(json!({"id": block.id, "type": "function", "function": function}));
            }
            _ => {}
        }
    }
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if let Some(thoughts) = thoughts {
        message["reasoning_content"] = thoughts.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let mut cost = Cost::default();
    cost.hear_messages(&answer.usage);
    let finish_reason = finish_reason(answer.stop_reason.as_deref().unwrap_or_default());
    Some(json!({
        "id": answer.id,
        "object": "chat.completion",
        "created": created,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
        "usage": cost.as_chat(),
    }))
}
