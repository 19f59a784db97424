//! Between a response and its chunks, which have the same shape.

use serde_json::{Value, json};

use crate::dialect::event_merge::{NamedEvent, append, field, item_at, objects};

pub(super) fn document(chunks: &[Value]) -> Option<Value> {
    let (mut response, mut candidates) = (json!({}), Vec::new());
    for chunk in chunks {
        for (key, value) in chunk.as_object()?.iter().filter(|(key, _)| *key != "candidates") {
            response[key] = value.clone();
        }
        for part in objects(&chunk["candidates"])? {
            // The index of the first candidate is often absent.
            let candidate = item_at(&mut candidates, &part["index"].as_u64().unwrap_or_default().into())?;
            for (key, value) in part.as_object()? {
                match key.as_str() {
                    "content" => add_content(field(candidate, "content")?, value)?,
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
fn add_content(whole: &mut Value, content: &Value) -> Option<()> {
    let more = objects(&content["parts"])?;
    if !whole.is_object() {
        *whole = content.clone();
        return (content.is_object() || content.is_null()).then_some(());
    }
    let is_text = |part: &Value| {
        let keys = part.as_object().into_iter().flatten();
        part["text"].is_string() && keys.clone().all(|(key, _)| key == "text" || key == "thought")
    };
    let parts = field(whole, "parts")?;
    if parts.is_null() {
        *parts = json!([]);
    }
    let parts = parts.as_array_mut()?;
    for part in more {
        match parts.last_mut() {
            Some(last) if is_text(last) && is_text(part) && last["thought"] == part["thought"] => {
                append(last, "text", &part["text"])?;
            }
            _ => parts.push(part.clone()),
        }
    }
    Some(())
}

pub(super) fn events(response: &Value) -> Option<Vec<NamedEvent>> {
    let candidates = objects(&response["candidates"])?;
    let has_end = candidates.iter().all(|candidate| candidate["finishReason"].is_string());
    let is_answer = !candidates.is_empty() || response["promptFeedback"].is_object();
    (has_end && is_answer).then(|| vec![("", response.clone())])
}
