use std::time::SystemTime;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tidegate_core::Question;

use super::MESSAGES;

/// What cost nothing is marked with this id; its headers and extensions tell where it comes from.
const ID: &str = "tidegate";

pub(super) fn write(question: &Question, text: &str, now: SystemTime) -> Response<Bytes> {
    let created = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (media, body) = match (question.dialect, question.streams) {
        (MESSAGES, false) => (JSON, message(question, text).to_string()),
        (MESSAGES, true) => (EVENTS, message_events(question, text)),
        (_, false) => (JSON, completion(question, text, created).to_string()),
        (_, true) => (EVENTS, chunks(question, text, created)),
    };
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn completion(question: &Question, text: &str, created: u64) -> Value {
    json!({
        "id": ID,
        "object": "chat.completion",
        "created": created,
        "model": question.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    })
}

fn chunks(question: &Question, text: &str, created: u64) -> String {
    let chunk = |delta: Value, reason: Option<&str>| {
        let chunk = json!({
            "id": ID,
            "object": "chat.completion.chunk",
            "created": created,
            "model": question.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}],
        });
        format!("data: {chunk}\n\n")
    };
    let role = chunk(json!({"role": "assistant", "content": ""}), None);
    role + &chunk(json!({"content": text}), None) + &chunk(json!({}), Some("stop")) + "data: [DONE]\n\n"
}

fn message(question: &Question, text: &str) -> Value {
    json!({
        "id": ID,
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    })
}

fn message_events(question: &Question, text: &str) -> String {
    let mut begun = message(question, "");
    begun["content"] = json!([]);
    begun["stop_reason"] = Value::Null;
    let delta = json!({"type": "text_delta", "text": text});
    let stop = json!({"stop_reason": "end_turn", "stop_sequence": null});
    [
        json!({"type": "message_start", "message": begun}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 0}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
    .collect()
}
