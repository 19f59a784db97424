//! Translates an Anthropic message response into a chat completion.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::messages::ContentBlock;
use super::repair;
use super::stop_reason::finish_reason;
use super::tool_names::ToolNames;
use super::usage::TokenUsage;
use crate::request_fields::RawJson;

#[derive(Deserialize)]
struct IncomingMessage {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    /// Each block is parsed separately, so that an unknown block does not affect the others.
    content: Vec<RawJson>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

/// Returns `None` if `body` is not a message response, or not the JSON object that was requested. `created` is in seconds since 1970.
pub(super) fn read(body: &[u8], created: u64, wants_json: bool, tool_names: &ToolNames) -> Option<Value> {
    let response: IncomingMessage = serde_json::from_str(&repair::decode(body)).ok()?;
    let (mut text, mut reasoning, mut calls) = (None::<String>, None::<String>, Vec::new());
    for raw in response.content {
        let Ok(block) = serde_json::from_str::<ContentBlock>(raw.get()) else { continue };
        match (&*block.kind, block.text, block.thinking) {
            ("text", Some(more), _) => text.get_or_insert_default().push_str(&more),
            ("thinking", _, Some(more)) => reasoning.get_or_insert_default().push_str(&more),
            ("tool_use", ..) => {
                let name = block.name.as_deref().map(|name| tool_names.original(name));
                let function = json!({"name": name, "arguments": arguments(block.input)?});
                calls.push(json!({"id": block.id, "type": "function", "function": function}));
            }
            _ => {}
        }
    }
    let has_finished = matches!(response.stop_reason.as_deref(), Some("end_turn" | "stop_sequence"));
    if wants_json && has_finished && calls.is_empty() {
        text = Some(json_object(&text.unwrap_or_default())?.to_owned());
    }
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if let Some(reasoning) = reasoning {
        message["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let mut token_usage = TokenUsage::default();
    token_usage.update_from_messages(&response.usage);
    let finish_reason = finish_reason(response.stop_reason.as_deref().unwrap_or_default());
    Some(json!({
        "id": response.id,
        "object": "chat.completion",
        "created": created,
        "model": response.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
        "usage": token_usage.as_chat(),
    }))
}

/// The arguments as JSON text. `None` if the input is neither an object nor a string with one.
fn arguments(input: Option<RawJson>) -> Option<String> {
    let Some(input) = input else { return Some("{}".to_owned()) };
    match input.get().as_bytes().first() {
        Some(b'{') => Some(input.get().to_owned()),
        Some(b'"') => serde_json::from_str(input.get()).ok(),
        _ => None,
    }
}

/// The JSON object in a text: the whole text, or the content of a code fence around it.
fn json_object(text: &str) -> Option<&str> {
    let text = text.trim();
    let fenced = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    let json = fenced.map_or(text, |text| text.strip_prefix("json").unwrap_or(text).trim());
    serde_json::from_str::<&RawValue>(json).ok().filter(|json| json.get().starts_with('{')).map(RawValue::get)
}
