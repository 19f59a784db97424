//! Translates a chat completion into an Anthropic message response.

use serde::Serialize;
use serde_json::{Value, json};

use super::call_ids::ResponseCallIds;
use super::call_pieces::arguments;
use super::content::raw;
use super::messages::ContentBlock;
use super::repair;
use super::stop_reason::stop_reason;
use super::tool_names::ToolNames;
use super::usage::TokenUsage;
use crate::content_text::texts;
use crate::request_fields::RawJson;

#[derive(Serialize)]
struct OutgoingMessage<'a> {
    id: &'a Value,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a Value,
    content: Vec<ContentBlock>,
    stop_reason: &'static str,
    stop_sequence: Option<&'static str>,
    usage: Value,
}

/// Returns `None` if `body` is not a completion, or contains a tool call that cannot be translated.
pub(super) fn read(body: &[u8], omits_reasoning: bool, tool_names: &ToolNames) -> Option<Vec<u8>> {
    let completion: Value = serde_json::from_str(&repair::decode(body)).ok()?;
    let choice = first_choice(&completion)?;
    // These finish reasons report a failure.
    if matches!(choice["finish_reason"].as_str(), Some("error" | "insufficient_system_resource")) {
        return None;
    }
    let message = &choice["message"];
    let mut content = Vec::new();
    if let Some(text) = reasoning(message).filter(|_| !omits_reasoning) {
        let (thinking, signature) = (Some(text.to_owned()), Some(String::new()));
        content.push(ContentBlock { thinking, signature, ..ContentBlock::of("thinking") });
    }
    // A refusal by the model is translated as text.
    let refusal = message["refusal"].as_str().unwrap_or_default();
    let texts = texts(&message["content"]).chain([refusal]);
    content.extend(texts.filter(|text| !text.is_empty()).map(|text| ContentBlock::text(text.to_owned())));
    let calls = message["tool_calls"].as_array().map_or(&[][..], |calls| calls);
    let mut call_ids = ResponseCallIds::for_response(&completion);
    for call in calls {
        content.push(ContentBlock {
            id: Some(call_ids.assign(call["id"].as_str().unwrap_or_default())),
            name: Some(tool_names.original(call["function"]["name"].as_str()?).to_owned()),
            input: Some(input(&arguments(&call["function"])?)?),
            ..ContentBlock::of("tool_use")
        });
    }
    let mut token_usage = TokenUsage::default();
    token_usage.update_from_chat(&completion["usage"]);
    let reason = choice["finish_reason"].as_str().unwrap_or_default();
    let message = OutgoingMessage {
        id: &completion["id"],
        kind: "message",
        role: "assistant",
        model: &completion["model"],
        content,
        stop_reason: stop_reason(reason, !calls.is_empty()),
        stop_sequence: None,
        usage: token_usage.as_messages(),
    };
    serde_json::to_vec(&message).ok()
}

/// The choice with index 0 or without an index, if there is one.
pub(super) fn first_choice(completion: &Value) -> Option<&Value> {
    completion["choices"].as_array()?.iter().find(|choice| choice["index"].as_u64().unwrap_or(0) == 0)
}

/// The reasoning text, from any of the field names in use.
pub(super) fn reasoning(message: &Value) -> Option<&str> {
    let names = ["reasoning_content", "reasoning", "reasoning_text"];
    names.into_iter().find_map(|name| message[name].as_str().filter(|text| !text.is_empty()))
}

/// The arguments as a JSON object, the only form that Anthropic's `input` allows.
fn input(arguments: &str) -> Option<RawJson> {
    match arguments.trim() {
        "" | "null" => raw("{}"),
        arguments => raw(arguments).filter(|input| input.get().starts_with('{')),
    }
}

/// The `message_start` event.
pub(super) fn message_start(id: &Value, model: &Value) -> Value {
    let message = json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": TokenUsage::default().as_messages(),
    });
    json!({"type": "message_start", "message": message})
}
