//! Between a response and its chunks, which have the same shape.

use serde_json::{Value, json};

use crate::dialect::event_merge::{NamedEvent, append, item_at, items};

pub(super) fn document(chunks: &[Value]) -> Option<Value> {
    let (mut response, mut candidates) = (json!({}), Vec::new());
    for chunk in chunks {
        for (key, value) in chunk.as_object()?.iter().filter(|(key, _)| *key != "candidates") {
            response[key] = value.clone();
        }
        for part in items(&chunk["candidates"]) {
            // The index of the first candidate is often absent.
            let candidate = item_at(&mut candidates, &part["index"].as_u64().unwrap_or_default().into());
            for (key, value) in part.as_object()? {
                match key.as_str() {
                    "content" => add_content(candidate, value),
                    "index" => {}
                    key => candidate[key] = value.clone(),
                }
            }
        }
    }
    if !candidates.is_empty() {
        response["candidates"] = candidates.into();
    }
    Some(response)
}

/// Appends the parts of `content`. A part of plain text continues the one before it.
fn add_content(candidate: &mut Value, content: &Value) {
    if !candidate["content"].is_object() {
        return candidate["content"] = content.clone();
    }
    let is_text = |part: &Value| {
        let keys = part.as_object().into_iter().flatten();
        part["text"].is_string() && keys.clone().all(|(key, _)| key == "text" || key == "thought")
    };
    if !candidate["content"]["parts"].is_array() {
        candidate["content"]["parts"] = json!([]);
    }
    let Some(parts) = candidate["content"]["parts"].as_array_mut() else { return };
    for part in items(&content["parts"]) {
        match parts.last_mut() {
            Some(last) if is_text(last) && is_text(part) && last["thought"] == part["thought"] => {
                append(last, "text", &part["text"]);
            }
            _ => parts.push(part.clone()),
        }
    }
}

pub(super) fn events(response: &Value) -> Option<Vec<NamedEvent>> {
    let has_end =
        items(&response["candidates"]).iter().all(|candidate| candidate["finishReason"].is_string());
    let is_answer = !items(&response["candidates"]).is_empty() || response["promptFeedback"].is_object();
    (has_end && is_answer).then(|| vec![("", response.clone())])
}
