//! Between a message and its events.

use serde_json::{Value, json};
use tidegate_core::StopReason;

use super::events::stop_reason;
use crate::dialect::event_merge::{
    MAX_ITEMS, NamedEvent, append, content_blocks, field, item_at, set_fields,
};
use crate::json::exact_numbers::mark;

pub(super) fn document(events: &[Value]) -> Option<Value> {
    let start = events.iter().find(|event| event["type"] == "message_start")?;
    let (mut message, mut blocks) = (start["message"].clone(), Vec::new());
    if !message.is_object() {
        return None;
    }
    for event in events {
        match event["type"].as_str()? {
            "content_block_start" => {
                // A server that gives one index to several blocks ends each before it begins the next, or has
                // filled it.
                let is_begun = |block: &Value| {
                    DELTA_FIELDS.iter().any(|(key, _)| block[*key] != "" && !block[*key].is_null())
                };
                if !blocks.last().is_some_and(|block: &Value| {
                    block["index"] == event["index"] && block["is_ended"].is_null() && !is_begun(block)
                }) {
                    blocks.push(json!({"index": event["index"]}));
                }
                let is_few = blocks.len() <= MAX_ITEMS;
                set_fields(blocks.last_mut().filter(|_| is_few)?, &event["content_block"])?;
            }
            "content_block_stop" => {
                if let Some(block) = blocks.iter_mut().rfind(|block| block["index"] == event["index"]) {
                    block["is_ended"] = true.into();
                }
            }
            "content_block_delta" => add_delta(item_at(&mut blocks, &event["index"])?, &event["delta"])?,
            "message_delta" => {
                set_fields(&mut message, &event["delta"])?;
                set_fields(field(&mut message, "usage")?, &event["usage"])?;
            }
            _ => {}
        }
    }
    let reason = message["stop_reason"].as_str().and_then(stop_reason);
    let is_cut_off = matches!(reason, Some(StopReason::Length | StopReason::ContentFilter));
    let mut content = Vec::new();
    for mut block in blocks {
        let fields = block.as_object_mut()?;
        fields.remove("index");
        fields.remove("is_ended");
        if let Some(json) = fields.remove("partial_json") {
            match serde_json::from_str(&mark(json.as_str()?)?) {
                Ok(input) => _ = fields.insert("input".into(), input),
                // A call that was cut off is dropped, since its input cannot be parsed.
                Err(error) if error.is_eof() && is_cut_off => continue,
                Err(_) => return None,
            }
        }
        content.push(block);
    }
    message["content"] = content.into();
    Some(message)
}

/// The fields with content of a delta, and the type of their block. Some servers omit the types, or the start
/// of a block.
const DELTA_FIELDS: [(&str, &str); 5] = [
    ("text", "text"),
    ("thinking", "thinking"),
    ("signature", "thinking"),
    ("partial_json", "tool_use"),
    ("content", "compaction"),
];

fn add_delta(block: &mut Value, delta: &Value) -> Option<()> {
    for (key, kind) in DELTA_FIELDS {
        // A call without arguments has an empty delta, and `input: {}` in its block.
        if !delta[key].is_null() && delta[key] != "" {
            append(block, key, &delta[key])?;
            if block["type"].is_null() {
                block["type"] = kind.into();
            }
        }
    }
    match &delta["citation"] {
        Value::Null => Some(()),
        citation => append(block, "citations", &json!([citation])),
    }
}

pub(super) fn events(message: &Value) -> Option<Vec<NamedEvent>> {
    if message["type"] != "message" {
        return None;
    }
    let mut begin = message.clone();
    (begin["content"], begin["stop_reason"], begin["stop_sequence"]) = (json!([]), Value::Null, Value::Null);
    let mut events = vec![("message_start", json!({"message": begin}))];
    for (index, block) in content_blocks(&message["content"], "text")?.iter().enumerate() {
        let (begin, deltas) = split(block)?;
        events.push(("content_block_start", json!({"index": index, "content_block": begin})));
        for delta in deltas {
            events.push(("content_block_delta", json!({"index": index, "delta": delta})));
        }
        events.push(("content_block_stop", json!({"index": index})));
    }
    let delta = json!({"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]});
    events.push(("message_delta", json!({"delta": delta, "usage": message["usage"]})));
    events.push(("message_stop", json!({})));
    for (name, data) in &mut events {
        data["type"] = (*name).into();
    }
    Some(events)
}

/// The beginning of a block, and the deltas that complete it. Blocks of other types begin complete.
fn split(block: &Value) -> Option<(Value, Vec<Value>)> {
    let (mut begin, mut deltas) = (block.clone(), Vec::new());
    match block["type"].as_str()? {
        "text" => {
            begin["text"] = "".into();
            deltas.push(json!({"type": "text_delta", "text": block["text"]}));
        }
        "thinking" => {
            (begin["thinking"], begin["signature"]) = ("".into(), "".into());
            deltas.push(json!({"type": "thinking_delta", "thinking": block["thinking"]}));
            deltas.push(json!({"type": "signature_delta", "signature": block["signature"]}));
        }
        "tool_use" | "server_tool_use" => {
            begin["input"] = json!({});
            deltas.push(json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}));
        }
        _ => {}
    }
    Some((begin, deltas))
}
