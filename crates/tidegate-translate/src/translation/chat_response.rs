//! Translates an Anthropic message response into a chat completion.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::call_arguments::CallArguments;
use super::call_ids::ResponseCallIds;
use super::call_pieces::CallPiece;
use super::chat_events::block_type;
use super::exact_arguments::with_argument_text;
use super::repair;
use super::stop_reason::{finish_reason, is_of_calls};
use super::tool_names::ToolNames;
use super::usage::TokenUsage;
use crate::request_fields::RawJson;

#[derive(Deserialize)]
struct IncomingMessage {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    content: RawJson,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

/// Returns `None` if `body` is not a message response, if not all of its content can be translated, or if it
/// is not the JSON object that was requested. `created` is in seconds since 1970.
pub(super) fn read(body: &[u8], created: u64, wants_json: bool, tool_names: &ToolNames) -> Option<Value> {
    let response: IncomingMessage = serde_json::from_str(&repair::decode(body)).ok()?;
    let (mut text, mut reasoning, mut calls) = (None::<String>, None::<String>, Vec::new());
    let about = json!({"id": response.id});
    let mut call_ids = ResponseCallIds::for_response(&about);
    let stop_reason = response.stop_reason.as_deref().unwrap_or_default();
    for raw in blocks(&response.content)? {
        let block: Value = serde_json::from_str(&with_argument_text(raw.get().into())).ok()?;
        match (block_type(&block), &block["text"], &block["thinking"]) {
            ("tool_use", ..) => {
                let call = CallPiece::read(&block).ok().filter(|call| !call.name.is_empty())?;
                let arguments = CallArguments::unless_cut_off(&call.arguments, stop_reason).ok()?;
                let Some(arguments) = arguments else { continue };
                let function = json!({"name": tool_names.original(&call.name), "arguments": arguments});
                let id = call_ids.assign_global(call.id());
                calls.push(json!({"id": id, "type": "function", "function": function}));
            }
            ("redacted_thinking", ..) => {}
            (_, _, Value::String(more)) => reasoning.get_or_insert_default().push_str(more),
            (_, Value::String(more), _) => text.get_or_insert_default().push_str(more),
            // A call of an unknown type.
            _ if !block["name"].is_null() => return None,
            _ => {}
        }
    }
    if is_of_calls(stop_reason) && calls.is_empty() {
        return None;
    }
    let has_finished = matches!(stop_reason, "end_turn" | "stop_sequence");
    if wants_json && has_finished && calls.is_empty() {
        text = Some(json_object(&text.unwrap_or_default())?.to_owned());
    }
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if let Some(reasoning) = reasoning {
        message["reasoning_content"] = reasoning.into();
    }
    let has_calls = !calls.is_empty();
    if has_calls {
        message["tool_calls"] = calls.into();
    }
    let mut token_usage = TokenUsage::default();
    token_usage.update_from_messages(&response.usage);
    let finish_reason = finish_reason(stop_reason, has_calls);
    Some(json!({
        "id": response.id,
        "object": "chat.completion",
        "created": created,
        "model": response.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
        "usage": token_usage.as_chat(),
    }))
}

/// The blocks of a content. Some hosts send a string instead.
fn blocks(content: &RawJson) -> Option<Vec<RawJson>> {
    let text = |text: String| to_raw_value(&json!({"type": "text", "text": text})).ok();
    match content.get().as_bytes().first() {
        Some(b'"') => Some(vec![text(serde_json::from_str(content.get()).ok()?)?]),
        _ => serde_json::from_str(content.get()).ok(),
    }
}

/// The JSON object in a text: the whole text, or the content of a code fence around it.
fn json_object(text: &str) -> Option<&str> {
    let text = text.trim();
    let fenced = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    let json = fenced.map_or(text, |text| text.strip_prefix("json").unwrap_or(text).trim());
    serde_json::from_str::<&RawValue>(json).ok().filter(|json| json.get().starts_with('{')).map(RawValue::get)
}
