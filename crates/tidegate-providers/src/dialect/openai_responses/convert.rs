//! Between a response and its events.

use serde_json::{Value, json};

use crate::dialect::event_merge::{NamedEvent, items};

/// The last event contains the response as a whole. Where a server leaves its output empty, the items are in
/// the events that end them.
pub(super) fn document(events: &[Value]) -> Option<Value> {
    let is_last =
        |event: &&Value| matches!(event["type"].as_str(), Some("response.completed" | "response.incomplete"));
    let mut response = events.iter().rfind(is_last)?["response"].clone();
    if !response.is_object() {
        return None;
    }
    if items(&response["output"]).is_empty() {
        let ended = events.iter().filter(|event| event["type"] == "response.output_item.done");
        response["output"] = ended.map(|event| with_text(event["item"].clone(), events)).collect();
    }
    Some(response)
}

/// The item with the texts that were sent for it, if it has no content itself.
fn with_text(mut item: Value, events: &[Value]) -> Value {
    if item["type"] == "message" && items(&item["content"]).is_empty() {
        let texts = events
            .iter()
            .filter(|event| event["type"] == "response.output_text.done" && event["item_id"] == item["id"]);
        let part = |event: &Value| json!({"type": "output_text", "text": event["text"], "annotations": []});
        item["content"] = texts.map(part).collect();
    }
    item
}

pub(super) fn events(response: &Value) -> Option<Vec<NamedEvent>> {
    if response["object"] != "response" {
        return None;
    }
    let last = match response["status"].as_str()? {
        "completed" => "response.completed",
        "incomplete" => "response.incomplete",
        _ => return None,
    };
    let mut begun = response.clone();
    (begun["status"], begun["output"], begun["usage"]) = ("in_progress".into(), json!([]), Value::Null);
    let mut events = vec![
        ("response.created", json!({"response": begun})),
        ("response.in_progress", json!({"response": begun})),
    ];
    for (index, item) in items(&response["output"]).iter().enumerate() {
        add_item(index, item, &mut events);
    }
    events.push((last, json!({"response": response})));
    for (number, (name, data)) in events.iter_mut().enumerate() {
        (data["type"], data["sequence_number"]) = ((*name).into(), number.into());
    }
    Some(events)
}

fn add_item(index: usize, item: &Value, events: &mut Vec<NamedEvent>) {
    let mut begun = item.clone();
    begun["status"] = "in_progress".into();
    let of_item = |more: Value| {
        let mut data = json!({"item_id": item["id"], "output_index": index});
        for (key, value) in more.as_object().into_iter().flatten() {
            data[key] = value.clone();
        }
        data
    };
    match item["type"].as_str() {
        Some("message") => {
            begun["content"] = json!([]);
            events.push(("response.output_item.added", json!({"output_index": index, "item": begun})));
            for (at, part) in items(&item["content"]).iter().enumerate() {
                let (key, delta, done) = match part["type"].as_str() {
                    Some("refusal") => ("refusal", "response.refusal.delta", "response.refusal.done"),
                    _ => ("text", "response.output_text.delta", "response.output_text.done"),
                };
                let mut empty = part.clone();
                empty[key] = "".into();
                let of_part = |key: &str, value: &Value| of_item(json!({"content_index": at, key: value}));
                events.push(("response.content_part.added", of_part("part", &empty)));
                events.push((delta, of_part("delta", &part[key])));
                events.push((done, of_part(key, &part[key])));
                events.push(("response.content_part.done", of_part("part", part)));
            }
        }
        Some("function_call") => {
            begun["arguments"] = "".into();
            events.push(("response.output_item.added", json!({"output_index": index, "item": begun})));
            let arguments = &item["arguments"];
            events.push(("response.function_call_arguments.delta", of_item(json!({"delta": arguments}))));
            events.push(("response.function_call_arguments.done", of_item(json!({"arguments": arguments}))));
        }
        _ => events.push(("response.output_item.added", json!({"output_index": index, "item": begun}))),
    }
    events.push(("response.output_item.done", json!({"output_index": index, "item": item})));
}
