//! Between a chat response and its events.

use serde_json::{Value, json};

use crate::dialect::event_merge::{NamedEvent, append, content_blocks, field, item_at, objects, set_fields};

pub(super) fn document(events: &[Value]) -> Option<Value> {
    let (mut response, mut content, mut calls) = (json!({"message": {"role": "assistant"}}), vec![], vec![]);
    for event in events {
        let message = &event["delta"]["message"];
        match event["type"].as_str()? {
            "message-start" => response["id"] = event["id"].clone(),
            "content-start" => {
                set_fields(item_at(&mut content, &event["index"])?, &message["content"])?;
            }
            "content-delta" => {
                let part = item_at(&mut content, &event["index"])?;
                for key in ["text", "thinking"] {
                    append(part, key, &message["content"][key])?;
                }
            }
            "tool-plan-delta" => append(&mut response["message"], "tool_plan", &message["tool_plan"])?,
            "tool-call-start" => {
                set_fields(item_at(&mut calls, &event["index"])?, &message["tool_calls"])?;
            }
            "tool-call-delta" => {
                let part = &message["tool_calls"]["function"]["arguments"];
                let call = item_at(&mut calls, &event["index"])?;
                append(field(call, "function")?, "arguments", part)?;
            }
            "citation-start" => {
                append(&mut response["message"], "citations", &json!([message["citations"]]))?;
            }
            "message-end" => {
                response["finish_reason"] = event["delta"]["finish_reason"].clone();
                response["usage"] = event["delta"]["usage"].clone();
            }
            _ => {}
        }
    }
    for (key, mut list) in [("content", content), ("tool_calls", calls)] {
        for item in &mut list {
            item.as_object_mut()?.remove("index");
        }
        if !list.is_empty() {
            response["message"][key] = list.into();
        }
    }
    Some(response)
}

pub(super) fn events(response: &Value) -> Option<Vec<NamedEvent>> {
    let message = &response["message"];
    response["finish_reason"].as_str().filter(|_| message.is_object())?;
    let start = json!({"id": response["id"], "delta": {"message": {"role": "assistant", "content": []}}});
    let mut events = vec![("message-start", start)];
    let delta = |index: usize, message: Value| json!({"index": index, "delta": {"message": message}});
    for (index, part) in content_blocks(&message["content"], "text")?.iter().enumerate() {
        let key = if part["thinking"].is_string() { "thinking" } else { "text" };
        let mut begun = part.clone();
        *field(&mut begun, key)? = "".into();
        events.push(("content-start", delta(index, json!({"content": begun}))));
        events.push(("content-delta", delta(index, json!({"content": {key: part[key]}}))));
        events.push(("content-end", json!({"index": index})));
    }
    if let Some(plan) = message.get("tool_plan") {
        events.push(("tool-plan-delta", json!({"delta": {"message": {"tool_plan": plan}}})));
    }
    for (index, call) in objects(&message["tool_calls"])?.iter().enumerate() {
        let mut begun = call.clone();
        *field(field(&mut begun, "function")?, "arguments")? = "".into();
        let arguments = json!({"tool_calls": {"function": {"arguments": call["function"]["arguments"]}}});
        events.push(("tool-call-start", delta(index, json!({"tool_calls": begun}))));
        events.push(("tool-call-delta", delta(index, arguments)));
        events.push(("tool-call-end", json!({"index": index})));
    }
    for (index, citation) in objects(&message["citations"])?.iter().enumerate() {
        events.push(("citation-start", delta(index, json!({"citations": citation}))));
        events.push(("citation-end", json!({"index": index})));
    }
    let end = json!({"finish_reason": response["finish_reason"], "usage": response["usage"]});
    events.push(("message-end", json!({"id": response["id"], "delta": end})));
    for (name, data) in &mut events {
        data["type"] = (*name).into();
    }
    Some(events)
}
