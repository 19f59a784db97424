//! Between a chat completion and its chunks.

use serde_json::{Value, json};

use crate::dialect::event_merge::{NamedEvent, append, item_at, items};
use crate::event::DONE;

pub(super) fn document(chunks: &[Value]) -> Option<Value> {
    let (mut completion, mut choices) = (json!({}), Vec::new());
    for chunk in chunks {
        for (key, value) in chunk.as_object()? {
            match (key.as_str(), value) {
                ("choices", _) | (_, Value::Null) => {}
                ("object", _) => completion["object"] = "chat.completion".into(),
                (key, value) => completion[key] = value.clone(),
            }
        }
        for part in items(&chunk["choices"]) {
            let choice = item_at(&mut choices, &part["index"]);
            if choice["message"].is_null() {
                choice["message"] = json!({"role": "assistant", "content": null});
                (choice["logprobs"], choice["finish_reason"]) = (Value::Null, Value::Null);
            }
            add_delta(&mut choice["message"], &part["delta"]);
            add_logprobs(&mut choice["logprobs"], &part["logprobs"]);
            if !part["finish_reason"].is_null() {
                choice["finish_reason"] = part["finish_reason"].clone();
            }
        }
    }
    for choice in &mut choices {
        let calls = choice["message"].get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            call.as_object_mut()?.remove("index");
        }
    }
    choices.sort_by_key(|choice| choice["index"].as_u64());
    completion["choices"] = choices.into();
    Some(completion)
}

fn add_delta(message: &mut Value, delta: &Value) {
    for (key, value) in delta.as_object().into_iter().flatten() {
        match key.as_str() {
            "role" => message["role"] = value.clone(),
            "tool_calls" => {
                if !message["tool_calls"].is_array() {
                    message["tool_calls"] = json!([]);
                }
                let Some(calls) = message["tool_calls"].as_array_mut() else { continue };
                items(value).iter().for_each(|part| add_call(item_at(calls, &part["index"]), part));
            }
            key => append(message, key, value),
        }
    }
}

fn add_call(call: &mut Value, part: &Value) {
    for (key, value) in part.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "function" => {
                if !call["function"].is_object() {
                    call["function"] = json!({"name": "", "arguments": ""});
                }
                for key in ["name", "arguments"] {
                    append(&mut call["function"], key, &value[key]);
                }
            }
            key => call[key] = value.clone(),
        }
    }
}

fn add_logprobs(logprobs: &mut Value, part: &Value) {
    if logprobs.is_null() && part.is_object() {
        *logprobs = part.clone();
    } else {
        for (key, value) in part.as_object().into_iter().flatten() {
            append(logprobs, key, value);
        }
    }
}

pub(super) fn events(completion: &Value) -> Option<Vec<NamedEvent>> {
    let choices = items(&completion["choices"]);
    if choices.is_empty() || !choices.iter().all(|choice| choice["message"].is_object()) {
        return None;
    }
    let mut chunk = completion.clone();
    chunk["object"] = "chat.completion.chunk".into();
    chunk.as_object_mut()?.remove("usage");
    let mut events: Vec<NamedEvent> = Vec::new();
    let mut push = |choice: Value| {
        chunk["choices"] = json!([choice]);
        events.push(("", chunk.clone()));
    };
    for choice in choices {
        let mut delta = choice["message"].clone();
        let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (index, call) in calls.into_iter().flatten().enumerate() {
            call.as_object_mut()?.insert("index".into(), index.into());
        }
        let (index, logprobs) = (&choice["index"], &choice["logprobs"]);
        push(json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null}));
    }
    for choice in choices {
        let (index, reason) = (&choice["index"], choice["finish_reason"].as_str().unwrap_or("stop"));
        push(json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": reason}));
    }
    // In the last chunk, as from DeepSeek and Groq: whether the caller requested a chunk of its own is unknown.
    if let Some((_, last)) = events.last_mut()
        && completion["usage"].is_object()
    {
        last["usage"] = completion["usage"].clone();
    }
    events.push(("", String::from_utf8_lossy(DONE).into()));
    Some(events)
}
