use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use tidegate_core::Stop;

use super::splice::Told;
use crate::stream::anthropic;

/// A stream of Anthropic's messages.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) told: Told,
    /// The block that has begun and not ended.
    open: Option<Block>,
    /// The number of the next block.
    next: u64,
    /// The latest block of who goes on: its number there, and the one here, unless it is left out.
    place: Option<(u64, Option<u64>)>,
}

#[derive(Clone, Copy)]
struct Block {
    index: u64,
    is_text: bool,
}

impl Messages {
    pub(super) fn hear(&mut self, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Value>(data) else {
            self.told.is_beyond = true;
            return;
        };
        let index = event["index"].as_u64().unwrap_or(self.next);
        match (event["type"].as_str(), &event["delta"]) {
            (Some("content_block_start"), _) => {
                let block = &event["content_block"];
                let is_text = block["type"] == "text";
                self.told.is_beyond |= !is_text && !is_thinking(block);
                self.open = Some(Block { index, is_text });
                self.next = self.next.max(index.saturating_add(1));
                if let Some(text) = block["text"].as_str().filter(|text| is_text && !text.is_empty()) {
                    self.told.add(text);
                }
            }
            (Some("content_block_delta"), delta) if delta["type"] == "text_delta" => {
                self.told.add(delta["text"].as_str().unwrap_or_default());
            }
            // Citations belong to the text before them, signatures to the thinking: nobody else can go on with those,
            // and nobody has to.
            (Some("content_block_delta"), _) => {}
            (Some("content_block_stop"), _) => self.open = None,
            (Some("message_delta"), delta) => self.told.stop = stop(&delta["stop_reason"]).or(self.told.stop),
            _ => {}
        }
    }

    /// Ends what another cannot go on with.
    pub(super) fn turn(&mut self, out: &mut BytesMut) {
        self.place = None;
        self.told.owed = self.told.text[self.told.text.trim_end().len()..].to_owned();
        if self.open.is_some_and(|block| !block.is_text) {
            self.close(out);
        }
    }

    /// Writes the event of another as one of this stream. `false`: it may pass as it came.
    pub(super) fn retell(&mut self, data: &[u8], out: &mut BytesMut) -> bool {
        let Ok(mut event) = serde_json::from_slice::<Value>(data) else { return false };
        let Some(kind) = event["type"].as_str().map(str::to_owned) else { return false };
        match &*kind {
            // There is one already.
            "message_start" => return true,
            "content_block_start" => {
                let index = event["index"].as_u64().unwrap_or_default();
                let place = self.begin(&event["content_block"], out);
                self.place = Some((index, place.map(|(place, _)| place)));
                match place {
                    Some((place, true)) => event["index"] = place.into(),
                    Some((_, false)) => {
                        // The block is open already; what this one begins with is a piece of it.
                        let text = event["content_block"]["text"].as_str().unwrap_or_default();
                        let piece = json!({
                            "type": "content_block_delta",
                            "index": index,
                            "delta": {"type": "text_delta", "text": text},
                        });
                        return text.is_empty() || self.retell(piece.to_string().as_bytes(), out);
                    }
                    None => return true,
                }
            }
            "content_block_delta" | "content_block_stop" => {
                let index = event["index"].as_u64().unwrap_or_default();
                let Some(place) =
                    self.place.filter(|(theirs, _)| *theirs == index).and_then(|(_, ours)| ours)
                else {
                    return true;
                };
                event["index"] = place.into();
                if kind == "content_block_stop" {
                    self.open = None;
                } else if let Some(Value::String(text)) = event.pointer_mut("/delta/text") {
                    self.told.add_more(text);
                    if text.is_empty() {
                        return true;
                    }
                }
            }
            "message_delta" => {
                self.told.stop = stop(&event["delta"]["stop_reason"]).or(self.told.stop);
                self.close(out);
            }
            _ => return false,
        }
        if let (Some(target), Some(event)) = (self.told.mark.take(), event.as_object_mut()) {
            event.insert("x_tidegate".to_owned(), json!({ "continued_by": target }));
        }
        write(&kind, &event, out);
        true
    }

    /// Where a block of who goes on belongs, and whether its beginning is to be told. Thinking is left out; a text
    /// goes on in the block that is open.
    fn begin(&mut self, block: &Value, out: &mut BytesMut) -> Option<(u64, bool)> {
        if is_thinking(block) {
            return None;
        }
        let is_text = block["type"] == "text";
        if let Some(open) = self.open
            && is_text
        {
            return Some((open.index, false));
        }
        self.close(out);
        self.told.is_beyond |= !is_text;
        let index = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some(Block { index, is_text });
        Some((index, true))
    }

    fn close(&mut self, out: &mut BytesMut) {
        if let Some(Block { index, .. }) = self.open.take() {
            let kind = "content_block_stop";
            write(kind, &json!({ "type": kind, "index": index }), out);
        }
    }
}

fn stop(reason: &Value) -> Option<Stop> {
    reason.as_str().map(anthropic::stop)
}

fn is_thinking(block: &Value) -> bool {
    matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
}

fn write(kind: &str, event: &Value, out: &mut BytesMut) {
    out.put_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
}
