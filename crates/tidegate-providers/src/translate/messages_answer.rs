//! A chat completion, as an answer of Anthropic's messages.

use serde::Serialize;
use serde_json::{Value, json};

use super::fields::{Raw, raw};
use super::ids::AnswerIds;
use super::mend;
use super::messages::Block;
use super::words::{Cost, stop_reason};

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a Value,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a Value,
    content: Vec<Block>,
    stop_reason: &'static str,
    stop_sequence: Option<&'static str>,
    usage: Value,
}

/// `None` if `body` is no answer, or calls a tool in a way that cannot be told. Thoughts may be kept back.
pub(super) fn read(body: &[u8], keeps_thoughts: bool) -> Option<Vec<u8>> {
    let answer: Value = serde_json::from_str(&mend::text(body)).ok()?;
    let choice = first(&answer)?;
    // Reasons that tell of a failure, and not of an answer.
    if matches!(choice["finish_reason"].as_str(), Some("error" | "insufficient_system_resource")) {
        return None;
    }
    let message = &choice["message"];
    let mut content = Vec::new();
    if let Some(thoughts) = reasoning(message).filter(|_| !keeps_thoughts) {
        let (thinking, signature) = (Some(thoughts.to_owned()), Some(String::new()));
        content.push(Block { thinking, signature, ..Block::of("thinking") });
    }
    // What the model itself declines, it declines in words.
    let refusal = message["refusal"].as_str().unwrap_or_default();
    let texts = texts(&message["content"]).into_iter().chain([refusal]);
    content.extend(texts.filter(|text| !text.is_empty()).map(|text| Block::text(text.to_owned())));
    let calls = message["tool_calls"].as_array().map_or(&[][..], |calls| calls);
    let mut ids = AnswerIds::of(&answer);
    for call in calls {
        content.push(Block {
            id: Some(ids.tell(call["id"].as_str().unwrap_or_default())),
            name: Some(call["function"]["name"].as_str()?.to_owned()),
            input: Some(input(call["function"]["arguments"].as_str().unwrap_or_default())?),
            ..Block::of("tool_use")
        });
    }
    let mut cost = Cost::default();
    cost.hear_chat(&answer["usage"]);
    let reason = choice["finish_reason"].as_str().unwrap_or_default();
    let answer = Answer {
        id: &answer["id"],
        kind: "message",
        role: "assistant",
        model: &answer["model"],
        content,
        stop_reason: stop_reason(reason, !calls.is_empty()),
        stop_sequence: None,
        usage: cost.as_messages(),
    };
    serde_json::to_vec(&answer).ok()
}

/// The first of the choices, and of an answer without numbers the one that is there. There may be none.
pub(super) fn first(answer: &Value) -> Option<&Value> {
    answer["choices"].as_array()?.iter().find(|choice| choice["index"].as_u64().unwrap_or(0) == 0)
}

/// Reasoning under the names that are in use.
pub(super) fn reasoning(message: &Value) -> Option<&str> {
    let names = ["reasoning_content", "reasoning", "reasoning_text"];
    names.into_iter().find_map(|name| message[name].as_str().filter(|text| !text.is_empty()))
}

/// The text, or that of all parts. Mistral thinks in parts, too; those are not told.
pub(super) fn texts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            texts.filter_map(|part| part["text"].as_str()).collect()
        }
        _ => Vec::new(),
    }
}

/// Arguments as an object, which is all that can be told.
fn input(arguments: &str) -> Option<Raw> {
    match arguments.trim() {
        "" | "null" => raw("{}"),
        arguments => raw(arguments).filter(|input| input.get().starts_with('{')),
    }
}

/// The beginning of a message, before anything of it is known.
pub(super) fn start(id: &Value, model: &Value) -> Value {
    let message = json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": Cost::default().as_messages(),
    });
    json!({"type": "message_start", "message": message})
}
