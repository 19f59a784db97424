//! Between a response and its events.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::dialect::event_merge::{MAX_ITEMS, NamedEvent, arguments_text, check_copies, objects};

/// The last event contains the response as a whole. Some servers send another one after it, which adds what
/// is missing. Where a server leaves its output empty, the items are in the events that begin and end them,
/// and their texts in those between.
pub(super) fn document(events: &[Value]) -> Option<Value> {
    const LAST: [&str; 3] = ["response.completed", "response.incomplete", "response.done"];
    let is_last = |event: &&Value| event["type"].as_str().is_some_and(|kind| LAST.contains(&kind));
    let mut ends = events.iter().filter(is_last).filter_map(|event| event["response"].as_object());
    let mut response = ends.next()?.clone();
    let is_missing = |value: &Value| value.is_null() || *value == json!([]);
    for (field, value) in ends.flatten() {
        if response.get(field).is_none_or(is_missing) {
            response.insert(field.clone(), value.clone());
        }
    }
    let mut response = Value::Object(response);
    if objects(&response["output"])?.is_empty() {
        response["output"] = output(events, &response["status"])?.into();
    }
    normalise(&mut response)?;
    Some(response)
}

/// Makes a text in place of the parts of a message one part. `None` if a message has content of any other
/// form.
fn normalise(response: &mut Value) -> Option<()> {
    objects(&response["output"])?;
    let output = response.get_mut("output").and_then(Value::as_array_mut).into_iter().flatten();
    for item in output.filter(|item| item["type"] == "message") {
        match item["content"].as_str() {
            Some(text) => item["content"] = json!([part("output_text", "text", text)]),
            None => _ = objects(&item["content"])?,
        }
    }
    Some(())
}

/// A part of a message: its text, or its refusal.
fn part(kind: &str, key: &str, text: &str) -> Value {
    let mut part = json!({"type": kind, key: text});
    if kind == "output_text" {
        part["annotations"] = json!([]);
    }
    part
}

/// The positions of the items of a response by their indexes and ids, the first one where several have an id.
#[derive(Default)]
struct Positions<'a> {
    by_index: HashMap<&'a Value, usize>,
    by_id: HashMap<&'a Value, usize>,
}

impl<'a> Positions<'a> {
    /// The position of the item that an event begins, continues or ends. Some servers send no index.
    fn of(&self, event: &Value) -> Option<usize> {
        let by_id = |id: &Value| self.by_id.get(id).copied();
        match &event["output_index"] {
            Value::Null => by_id(&event["item"]["id"]).into_iter().chain(by_id(&event["item_id"])).min(),
            index => self.by_index.get(index).copied(),
        }
    }

    fn insert(&mut self, index: &'a Value, id: &'a Value, at: usize) {
        self.by_index.entry(index).or_insert(at);
        self.by_id.entry(id).or_insert(at);
    }
}

/// The items of all events, in their order. The last one has the status of the response, which may have been
/// cut off.
fn output(events: &[Value], status: &Value) -> Option<Vec<Value>> {
    let (mut output, mut positions): (Vec<Value>, _) = (Vec::new(), Positions::default());
    for event in events {
        let known = positions.of(event);
        let (item, id) = match (event["type"].as_str(), known) {
            (Some("response.output_item.added" | "response.output_item.done"), _) => {
                (event["item"].as_object()?.clone().into(), &event["item"]["id"])
            }
            // A server that sends nothing but the deltas.
            (Some("response.output_text.delta" | "response.refusal.delta"), None) => {
                let item = json!({"type": "message", "id": event["item_id"], "role": "assistant",
                    "status": "completed", "content": []});
                (item, &event["item_id"])
            }
            // The call of this input is missing.
            (Some(kind), None) if is_input_delta(kind) => return None,
            _ => continue,
        };
        let at = known.unwrap_or(output.len());
        positions.insert(&event["output_index"], id, at);
        match output.get_mut(at) {
            Some(known) => *known = item,
            None if at < MAX_ITEMS => output.push(item),
            None => return None,
        }
    }
    let mut own = vec![Vec::new(); output.len()];
    for event in events {
        // An event without an index is that of the item with its id.
        if let Some(at) = positions.of(event) {
            own[at].push(event);
        }
    }
    let count = output.len();
    let status = |at: usize| if at + 1 == count { status.clone() } else { "completed".into() };
    let output = output.into_iter().zip(own).enumerate();
    output.map(|(at, (item, own))| with_content(item, status(at), &own)).collect()
}

/// The item with the texts or the input that were sent for it, if it has none itself.
fn with_content(mut item: Value, status: Value, own: &[&Value]) -> Option<Value> {
    match item["type"].as_str() {
        Some("message") if objects(&item["content"]).is_some_and(<[Value]>::is_empty) => {
            let mut parts: Vec<Value> = Vec::new();
            for (name, kind, key) in
                [("response.output_text", "output_text", "text"), ("response.refusal", "refusal", "refusal")]
            {
                let (mut of_parts, mut positions): (Vec<Vec<&Value>>, _) = (Vec::new(), HashMap::new());
                let is_of_part =
                    |event: &&&Value| event["type"].as_str().is_some_and(|kind| kind.starts_with(name));
                for event in own.iter().filter(is_of_part) {
                    let at = *positions.entry(&event["content_index"]).or_insert(of_parts.len());
                    if at == of_parts.len() {
                        of_parts.push(Vec::new());
                    }
                    of_parts.get_mut(at).filter(|_| at < MAX_ITEMS)?.push(event);
                }
                let texts =
                    of_parts.into_iter().filter_map(|of_part| whole_text(of_part.into_iter(), name, key));
                parts.extend(texts.map(|text| part(kind, key, &text)));
            }
            item["content"] = parts.into();
            item["status"] = status;
        }
        Some(kind) => {
            let input = CALL_INPUTS.into_iter().find(|(call, ..)| *call == kind);
            if let Some((_, events, key)) =
                input.filter(|(.., key)| item[key].as_str().is_none_or(str::is_empty))
            {
                let text = match &item[key] {
                    input @ (Value::Object(_) | Value::Array(_)) => Some(input.to_string()),
                    _ => whole_text(own.iter().copied(), events, key),
                };
                item[key] = text.unwrap_or_default().into();
                item["status"] = status;
            }
        }
        None => {}
    }
    Some(item)
}

/// The calls with an input that may be sent in pieces: the type of the item, the prefix of the events, and the key
/// in both.
const CALL_INPUTS: [(&str, &str, &str); 3] = [
    ("function_call", "response.function_call_arguments", "arguments"),
    ("custom_tool_call", "response.custom_tool_call_input", "input"),
    ("mcp_call", "response.mcp_call_arguments", "arguments"),
];

/// Whether an event of this type has a piece of the input of a call.
fn is_input_delta(kind: &str) -> bool {
    CALL_INPUTS.iter().any(|(_, events, _)| kind.strip_prefix(events) == Some(".delta"))
}

/// The text of the event `done` of this name, or else the deltas before it.
fn whole_text<'a>(events: impl Iterator<Item = &'a Value>, name: &str, key: &str) -> Option<String> {
    let mut text: Option<String> = None;
    for event in events {
        match event["type"].as_str().and_then(|kind| kind.strip_prefix(name)) {
            Some(".done") if event[key].is_string() => return Some(event[key].as_str()?.to_owned()),
            Some(".delta") => {
                text.get_or_insert_default().push_str(event["delta"].as_str().unwrap_or_default())
            }
            _ => {}
        }
    }
    text
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
    let mut response = response.clone();
    normalise(&mut response)?;
    let mut begun = response.clone();
    (begun["status"], begun["output"], begun["usage"]) = ("in_progress".into(), json!([]), Value::Null);
    let mut events = vec![
        ("response.created", json!({"response": begun})),
        ("response.in_progress", json!({"response": begun})),
    ];
    let output = objects(&response["output"])?;
    let parts = |item: &Value| item["content"].as_array().map_or(0, Vec::len);
    check_copies(output.iter().map(|item| (&item["id"], 4 * parts(item))))?;
    for (index, item) in output.iter().enumerate() {
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
            for (at, part) in item["content"].as_array().into_iter().flatten().enumerate() {
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
            let arguments = arguments_text(&item["arguments"]);
            events.push(("response.function_call_arguments.delta", of_item(json!({"delta": arguments}))));
            events.push(("response.function_call_arguments.done", of_item(json!({"arguments": arguments}))));
        }
        _ => events.push(("response.output_item.added", json!({"output_index": index, "item": begun}))),
    }
    events.push(("response.output_item.done", json!({"output_index": index, "item": item})));
}
