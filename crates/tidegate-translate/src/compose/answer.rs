use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tidegate_core::ChatQuestion;

use super::question::MESSAGES;
use crate::sse::{self, write_data, write_event};

/// The id of every composed response. The response headers and extensions identify its source.
const ID: &str = "tidegate";

pub(super) fn write(question: &ChatQuestion, text: &str, now: SystemTime) -> Response<Bytes> {
    let created = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (media, body) = match (question.dialect, question.streams) {
        (MESSAGES, false) => (JSON, message(question, text).to_string().into()),
        (MESSAGES, true) => (EVENTS, message_events(question, text)),
        (_, false) => (JSON, completion(question, text, created).to_string().into()),
        (_, true) => (EVENTS, chunks(question, text, created)),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn completion(question: &ChatQuestion, text: &str, created: u64) -> Value {
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
        "usage": nothing_used(),
    })
}

fn chunks(question: &ChatQuestion, text: &str, created: u64) -> Bytes {
    let mut events = BytesMut::new();
    let mut write_chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": ID,
            "object": "chat.completion.chunk",
            "created": created,
            "model": question.model,
            "choices": choices,
        });
        if question.include_usage {
            chunk["usage"] = usage;
        }
        write_data(&chunk, &mut events);
    };
    for (delta, reason) in [
        (json!({"role": "assistant", "content": ""}), None),
        (json!({"content": text}), None),
        (json!({}), Some("stop")),
    ] {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
        write_chunk(json!([choice]), Value::Null);
    }
    if question.include_usage {
        write_chunk(json!([]), nothing_used());
    }
    events.extend_from_slice(sse::DONE);
    events.freeze()
}

/// The usage of a composed response: no model was called, so there is nothing to bill.
fn nothing_used() -> Value {
    json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
}

fn message(question: &ChatQuestion, text: &str) -> Value {
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

fn message_events(question: &ChatQuestion, text: &str) -> Bytes {
    let mut start = message(question, "");
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    let delta = json!({"type": "text_delta", "text": text});
    let stop = json!({"stop_reason": "end_turn", "stop_sequence": null});
    let mut events = BytesMut::new();
    for event in [
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 0}}),
        json!({"type": "message_stop"}),
    ] {
        write_event(&event, &mut events);
    }
    events.freeze()
}
