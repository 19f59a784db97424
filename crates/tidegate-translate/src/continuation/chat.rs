use bytes::BytesMut;
use serde_json::{Map, Value};
use tidegate_core::StopReason;
use tidegate_providers::stream::Dialect;

use super::delivered::Delivered;
use crate::content_text::text_only;
use crate::sse::write_data;

/// The state of a stream of OpenAI chat chunks.
#[derive(Default)]
pub(super) struct ChatState {
    pub(super) delivered: Delivered,
    /// The values of the fields that all chunks share, from the first chunk that has them.
    shared: Map<String, Value>,
}

/// Top-level fields with the same value in every chunk of a stream.
const SHARED_FIELDS: [&str; 6] = ["id", "created", "model", "system_fingerprint", "service_tier", "provider"];

/// Fields of a delta besides the text that do not prevent a continuation. They are not passed on from the
/// continuing stream.
const IGNORED_DELTA_FIELDS: [&str; 6] =
    ["role", "reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "thinking"];

const DONE: &[u8] = b"[DONE]";

/// Whether a field of a delta does not prevent a continuation. Google adds the signature of its reasoning, and
/// marks text that is reasoning in the same object.
fn is_ignored(key: &str, value: &Value) -> bool {
    let has_only = |object: &Value, field: &str| {
        object.as_object().is_some_and(|fields| fields.keys().all(|key| key == field))
    };
    let is_signature = || has_only(value, "google") && has_only(&value["google"], "thought_signature");
    IGNORED_DELTA_FIELDS.contains(&key) || key == "extra_content" && is_signature()
}

impl ChatState {
    pub(super) fn observe(&mut self, data: &[u8]) {
        if data.trim_ascii() == DONE {
            return;
        }
        let Ok(Value::Object(chunk)) = serde_json::from_slice(data) else {
            self.delivered.blocks_continuation = true;
            return;
        };
        let Some(choices) = chunk.get("choices").and_then(Value::as_array) else { return };
        for choice in choices {
            self.delivered.blocks_continuation |= choice["index"].as_u64().unwrap_or(0) != 0;
            self.delivered.stop = stop(&choice["finish_reason"]).or(self.delivered.stop);
            match choice["delta"].as_object() {
                Some(delta) => self.observe_delta(delta),
                // Azure reports on its content filter in choices without content.
                None => {
                    self.delivered.blocks_continuation |= !choice["delta"].is_null()
                        || choice["message"].is_object()
                        || choice["text"].is_string();
                }
            }
        }
        // The first chunk may lack these fields: Azure's first chunk reports on the prompt.
        let shared =
            chunk.into_iter().filter(|(key, value)| SHARED_FIELDS.contains(&&**key) && !is_blank(value));
        for (key, value) in shared {
            self.shared.entry(key).or_insert(value);
        }
    }

    fn observe_delta(&mut self, delta: &Map<String, Value>) {
        for (key, value) in delta {
            match (&**key, value) {
                ("content", value) => match text_only(value) {
                    Some(text) if text.is_empty() => {}
                    Some(text) => self.delivered.add(&text),
                    None => self.delivered.blocks_continuation |= !is_empty(value),
                },
                (key, value) => {
                    self.delivered.blocks_continuation |= !is_empty(value) && !is_ignored(key, value)
                }
            }
        }
    }

    /// Writes a chunk of the continuing stream as a chunk of this stream. Returns `false` if `data` is not a
    /// chunk and may pass unchanged.
    pub(super) fn rewrite(&mut self, data: &[u8], out: &mut BytesMut) -> bool {
        let Ok(Value::Object(mut chunk)) = serde_json::from_slice(data) else { return false };
        let Some(choices) = chunk.get_mut("choices").and_then(Value::as_array_mut) else { return false };
        let mut has_content = choices.is_empty();
        // Only requests for one choice are continued.
        choices.retain(|choice| choice["index"].as_u64().unwrap_or(0) == 0);
        for choice in choices {
            let Some(choice) = choice.as_object_mut() else { return false };
            let stop = choice.get("finish_reason").and_then(stop);
            self.delivered.stop = stop.or(self.delivered.stop);
            has_content |= stop.is_some();
            if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
                self.rewrite_delta(delta);
                has_content |= delta.values().any(|value| !is_empty(value));
            }
        }
        if has_content || chunk.get("usage").is_some_and(|usage| !usage.is_null()) {
            chunk.retain(|key, _| !SHARED_FIELDS.contains(&&**key));
            chunk.extend(self.shared.clone());
            if let Some(target) = self.delivered.pending_marker.take() {
                chunk.insert("x_tidegate".to_owned(), serde_json::json!({ "continued_by": target }));
            }
            write_data(&Value::Object(chunk), out);
        }
        true
    }

    fn rewrite_delta(&mut self, delta: &mut Map<String, Value>) {
        delta.retain(|key, value| !is_ignored(key, value));
        for (key, value) in delta.iter_mut() {
            match (&**key, text_only(value)) {
                ("content", Some(mut text)) => {
                    self.delivered.add_continuation(&mut text);
                    *value = text.into();
                }
                _ => self.delivered.blocks_continuation |= !is_empty(value),
            }
        }
    }
}

fn stop(reason: &Value) -> Option<StopReason> {
    Dialect::Chat.stop_reason(reason.as_str()?)
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
