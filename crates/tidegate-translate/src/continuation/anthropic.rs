use bytes::BytesMut;
use serde_json::{Value, json};
use tidegate_core::StopReason;
use tidegate_providers::stream::{Dialect, Event};

use super::delivered::Delivered;
use crate::sse::write_event;

/// The state of a stream of Anthropic message events.
#[derive(Default)]
pub(super) struct MessagesState {
    pub(super) delivered: Delivered,
    /// The content block that has started and not stopped.
    open: Option<StreamBlock>,
    /// The index of the next block.
    next: u64,
    /// The latest block of the continuing stream: its index there and its index in this stream, which is
    /// `None` if the block is omitted.
    block_mapping: Option<(u64, Option<u64>)>,
}

#[derive(Clone, Copy)]
struct StreamBlock {
    index: u64,
    is_text: bool,
}

/// The deltas that do not prevent a continuation, with their fields: text, and what belongs to the thinking or
/// the text before. Some hosts omit the type.
const DELTAS: [(&str, &str); 4] = [
    ("text_delta", "text"),
    ("thinking_delta", "thinking"),
    ("signature_delta", "signature"),
    ("citations_delta", "citation"),
];

impl MessagesState {
    pub(super) fn observe(&mut self, received: Event<'_>) {
        let Ok(event) = serde_json::from_slice::<Value>(received.data) else {
            self.delivered.blocks_continuation = true;
            return;
        };
        let index = event["index"].as_u64().unwrap_or(self.next);
        match (kind(&event, received), &event["delta"]) {
            ("content_block_start", _) => {
                let block = &event["content_block"];
                let is_text = block["type"] == "text";
                self.delivered.blocks_continuation |= !is_text && !is_thinking(block);
                self.open = Some(StreamBlock { index, is_text });
                self.next = self.next.max(index.saturating_add(1));
                if let Some(text) = block["text"].as_str().filter(|text| is_text && !text.is_empty()) {
                    self.delivered.add(text);
                }
            }
            ("content_block_delta", delta) => {
                self.delivered.blocks_continuation |= !is_known(delta);
                if let Some(text) = delta["text"].as_str() {
                    self.delivered.add(text);
                }
            }
            ("content_block_stop", _) => self.open = None,
            ("message_delta", delta) => {
                self.delivered.stop = stop(&delta["stop_reason"]).or(self.delivered.stop)
            }
            _ => self.observe_unknown(&event),
        }
    }

    /// Content in an unknown form prevents a continuation.
    fn observe_unknown(&mut self, event: &Value) {
        self.delivered.blocks_continuation |=
            event["delta"].is_object() || event["content_block"].is_object();
    }

    /// Whether an open block is not text. The signature of thinking comes at its end, and Anthropic rejects
    /// thinking without one when the caller sends it back.
    pub(super) fn is_within_other_block(&self) -> bool {
        self.open.is_some_and(|block| !block.is_text)
    }

    /// Prepares for the continuing stream.
    pub(super) fn begin_continuation(&mut self) {
        self.block_mapping = None;
        self.delivered.trimmed_whitespace =
            self.delivered.text[self.delivered.text.trim_end().len()..].to_owned();
    }

    /// Writes an event of the continuing stream as an event of this stream. Returns `false` if the event may
    /// pass unchanged.
    pub(super) fn rewrite(&mut self, received: Event<'_>, out: &mut BytesMut) -> bool {
        let Ok(mut event @ Value::Object(_)) = serde_json::from_slice(received.data) else { return false };
        let kind = kind(&event, received).to_owned();
        match &*kind {
            // This stream has started already.
            "message_start" => return true,
            "content_block_start" => {
                let index = event["index"].as_u64().unwrap_or_default();
                let target = self.open_block(&event["content_block"], out);
                self.block_mapping = Some((index, target.map(|(index, _)| index)));
                match target {
                    Some((own_index, true)) => event["index"] = own_index.into(),
                    Some((_, false)) => {
                        // The text block is open already; the text at the start of the new block becomes a
                        // delta.
                        let text = event["content_block"]["text"].as_str().unwrap_or_default();
                        let piece = json!({
                            "type": "content_block_delta",
                            "index": index,
                            "delta": {"type": "text_delta", "text": text},
                        });
                        let data = piece.to_string();
                        let piece = Event { data: data.as_bytes(), ..Event::default() };
                        return text.is_empty() || self.rewrite(piece, out);
                    }
                    None => return true,
                }
            }
            "content_block_delta" | "content_block_stop" => {
                let index = event["index"].as_u64().unwrap_or_default();
                let Some(own_index) =
                    self.block_mapping.filter(|(received, _)| *received == index).and_then(|(_, own)| own)
                else {
                    return true;
                };
                event["index"] = own_index.into();
                if kind == "content_block_stop" {
                    self.open = None;
                } else if let Some(Value::String(text)) = event.pointer_mut("/delta/text") {
                    self.delivered.add_continuation(text);
                    if text.is_empty() {
                        return true;
                    }
                }
            }
            "message_delta" => {
                self.delivered.stop = stop(&event["delta"]["stop_reason"]).or(self.delivered.stop);
                self.close_block(out);
            }
            _ => {
                self.observe_unknown(&event);
                return false;
            }
        }
        event["type"] = kind.into();
        if let (Some(target), Some(event)) = (self.delivered.pending_marker.take(), event.as_object_mut()) {
            event.insert("x_tidegate".to_owned(), json!({ "continued_by": target }));
        }
        write_event(&event, out);
        true
    }

    /// The index in this stream for a block of the continuing stream, and whether its start event is to be
    /// written. Thinking is omitted (`None`); text continues in an open text block.
    fn open_block(&mut self, block: &Value, out: &mut BytesMut) -> Option<(u64, bool)> {
        if is_thinking(block) {
            return None;
        }
        let is_text = block["type"] == "text";
        if let Some(open) = self.open.filter(|open| open.is_text && is_text) {
            return Some((open.index, false));
        }
        self.close_block(out);
        self.delivered.blocks_continuation |= !is_text;
        let index = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some(StreamBlock { index, is_text });
        Some((index, true))
    }

    fn close_block(&mut self, out: &mut BytesMut) {
        if let Some(StreamBlock { index, .. }) = self.open.take() {
            write_event(&json!({ "type": "content_block_stop", "index": index }), out);
        }
    }
}

/// The type of an event. Some hosts give it by the name alone.
fn kind<'a>(event: &'a Value, received: Event<'a>) -> &'a str {
    event["type"].as_str().unwrap_or(received.name)
}

fn is_known(delta: &Value) -> bool {
    match (&delta["type"], delta) {
        (Value::String(kind), _) => DELTAS.iter().any(|(known, _)| known == kind),
        (_, Value::Object(fields)) => {
            fields.keys().all(|field| DELTAS.iter().any(|(_, known)| known == field))
        }
        _ => true,
    }
}

fn stop(reason: &Value) -> Option<StopReason> {
    Dialect::Anthropic.stop_reason(reason.as_str()?)
}

fn is_thinking(block: &Value) -> bool {
    matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
}
