use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value};
use tidegate_core::Stop;

use super::splice::Told;
use crate::stream::chat;

/// A stream of OpenAI's chat chunks.
#[derive(Default)]
pub(super) struct Chat {
    pub(super) told: Told,
    /// What all chunks have in common, as the first one said it.
    common: Map<String, Value>,
}

const COMMON: [&str; 6] = ["id", "created", "model", "system_fingerprint", "service_tier", "provider"];

/// What a delta may hold besides the text, and what nobody can go on with.
const HARMLESS: [&str; 6] =
    ["role", "reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "thinking"];

const DONE: &[u8] = b"[DONE]";

impl Chat {
    pub(super) fn hear(&mut self, data: &[u8]) {
        if data.trim_ascii() == DONE {
            return;
        }
        let Ok(Value::Object(chunk)) = serde_json::from_slice(data) else {
            self.told.is_beyond = true;
            return;
        };
        let Some(choices) = chunk.get("choices").and_then(Value::as_array) else { return };
        for choice in choices {
            self.told.is_beyond |= choice["index"].as_u64().unwrap_or(0) != 0;
            self.told.stop = stop(&choice["finish_reason"]).or(self.told.stop);
            match choice["delta"].as_object() {
                Some(delta) => self.hear_delta(delta),
                None => self.told.is_beyond = true,
            }
        }
        // The first chunk may know nothing of it: Azure's is about the prompt.
        let told = chunk.into_iter().filter(|(key, value)| COMMON.contains(&&**key) && !is_blank(value));
        for (key, value) in told {
            self.common.entry(key).or_insert(value);
        }
    }

    fn hear_delta(&mut self, delta: &Map<String, Value>) {
        for (key, value) in delta {
            match (&**key, value) {
                ("content", value) => match text(value) {
                    Some(text) if text.is_empty() => {}
                    Some(text) => self.told.add(&text),
                    None => self.told.is_beyond |= !is_empty(value),
                },
                (key, value) => self.told.is_beyond |= !is_empty(value) && !HARMLESS.contains(&key),
            }
        }
    }

    /// Writes the chunk of another as one of this stream. `false`: it is no chunk, and may pass as it came.
    pub(super) fn retell(&mut self, data: &[u8], out: &mut BytesMut) -> bool {
        let Ok(Value::Object(mut chunk)) = serde_json::from_slice(data) else { return false };
        let Some(choices) = chunk.get_mut("choices").and_then(Value::as_array_mut) else { return false };
        let mut says_something = choices.is_empty();
        // One was asked for.
        choices.retain(|choice| choice["index"].as_u64().unwrap_or(0) == 0);
        for choice in choices {
            let Some(choice) = choice.as_object_mut() else { return false };
            let stop = choice.get("finish_reason").and_then(stop);
            self.told.stop = stop.or(self.told.stop);
            says_something |= stop.is_some();
            if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
                self.retell_delta(delta);
                says_something |= delta.values().any(|value| !is_empty(value));
            }
        }
        if says_something || chunk.get("usage").is_some_and(|usage| !usage.is_null()) {
            chunk.retain(|key, _| !COMMON.contains(&&**key));
            chunk.extend(self.common.clone());
            if let Some(target) = self.told.mark.take() {
                chunk.insert("x_tidegate".to_owned(), serde_json::json!({ "continued_by": target }));
            }
            out.put_slice(format!("data: {}\n\n", Value::Object(chunk)).as_bytes());
        }
        true
    }

    fn retell_delta(&mut self, delta: &mut Map<String, Value>) {
        delta.retain(|key, _| !HARMLESS.contains(&&**key));
        for (key, value) in delta.iter_mut() {
            match (&**key, text(value)) {
                ("content", Some(mut text)) => {
                    self.told.add_more(&mut text);
                    *value = text.into();
                }
                _ => self.told.is_beyond |= !is_empty(value),
            }
        }
    }
}

fn stop(reason: &Value) -> Option<Stop> {
    reason.as_str().and_then(chat::stop)
}

/// The text of a content: as it is, or in parts, of which Mistral's thinking is not text.
fn text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            parts.iter().filter(|part| part["type"] != "thinking").map(text_of_part).collect()
        }
        _ => None,
    }
}

fn text_of_part(part: &Value) -> Option<&str> {
    part["text"].as_str().filter(|_| part["type"] == "text")
}

fn is_blank(value: &Value) -> bool {
    is_empty(value) || *value == 0
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}
