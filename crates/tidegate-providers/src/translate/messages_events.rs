//! A stream of chat chunks, as one of Anthropic's messages.
//!
//! ```text
//!              a piece of another kind, or the next call
//!                 ┌────────────────────────────┐
//!                 ▼                            │
//! message_start ─ block_start ─ block_delta* ─ block_stop ─ message_delta ─ message_stop
//!                                              a reason      [DONE], or the end after a reason
//! ```

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use tidegate_core::Failure;

use super::ids::AnswerIds;
use super::mend;
use super::messages_answer::{first, reasoning, start, texts};
use super::reply::{Retell, too_much};
use super::words::{Cost, stop_reason};
use crate::stream::Event;

/// Tells events.
#[derive(Default)]
pub(super) struct MessagesEvents {
    /// The provider is known to say `[DONE]`, so that an end without it is none.
    says_done: bool,
    /// Nobody is told what was thought, only that it was.
    pub(super) keeps_thoughts: bool,
    has_begun: bool,
    /// The block that has begun and not ended.
    open: Option<Open>,
    /// The number of the next block.
    next: u64,
    calls: Vec<Call>,
    ids: AnswerIds,
    reason: Option<String>,
    cost: Cost,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Tool,
}

/// A call of a tool: its number there, its id there, and its block here.
struct Call {
    index: Option<u64>,
    id: String,
    block: u64,
}

/// Nobody calls as many tools at once.
const MAX_CALLS: usize = 1024;

/// No name of a call is as long, and all of them are kept.
const MAX_ID: usize = 1024;

impl MessagesEvents {
    pub(super) fn new(says_done: bool, keeps_thoughts: bool) -> Self {
        Self { says_done, keeps_thoughts, ..Self::default() }
    }

    fn begin_message(&mut self, chunk: &Value, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.ids = AnswerIds::of(chunk);
            write(&start(&chunk["id"], &chunk["model"]), out);
        }
    }

    /// Makes sure that a block of this kind is open.
    fn open(&mut self, kind: Open, block: Value, out: &mut BytesMut) {
        self.close(out);
        write(&json!({"type": "content_block_start", "index": self.next, "content_block": block}), out);
        self.open = Some(kind);
        self.next += 1;
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            write(&json!({"type": "content_block_stop", "index": self.next - 1}), out);
        }
    }

    fn say(&mut self, text: &str, out: &mut BytesMut) {
        if self.open != Some(Open::Text) {
            self.open(Open::Text, json!({"type": "text", "text": ""}), out);
        }
        delta(self.next - 1, json!({"type": "text_delta", "text": text}), out);
    }

    fn think(&mut self, text: &str, out: &mut BytesMut) {
        if self.open != Some(Open::Thinking) {
            self.open(Open::Thinking, json!({"type": "thinking", "thinking": "", "signature": ""}), out);
        }
        delta(self.next - 1, json!({"type": "thinking_delta", "thinking": text}), out);
    }

    fn call(&mut self, call: &Value, out: &mut BytesMut) -> Result<(), Failure> {
        let (index, id) = (call["index"].as_u64(), call["id"].as_str().unwrap_or_default());
        // Some give every call the same number, or none, and tell them apart by name only.
        let known = match index {
            Some(_) => self.calls.iter().rev().find(|known| known.index == index),
            None => self.calls.last(),
        };
        let known = known.filter(|known| id.is_empty() || known.id == id).map(|known| known.block);
        let block = match known {
            Some(block) => block,
            None => {
                if self.calls.len() >= MAX_CALLS || id.len() > MAX_ID {
                    return Err(too_much("tool_calls"));
                }
                let (block, told) = (self.next, self.ids.tell(id));
                let name = call["function"]["name"].as_str().unwrap_or_default();
                self.open(
                    Open::Tool,
                    json!({"type": "tool_use", "id": told, "name": name, "input": {}}),
                    out,
                );
                self.calls.push(Call { index, id: id.to_owned(), block });
                block
            }
        };
        // Calls come one after the other. If they do not, the number of the block says whose piece it is.
        if let Some(json) = call["function"]["arguments"].as_str().filter(|json| !json.is_empty()) {
            delta(block, json!({"type": "input_json_delta", "partial_json": json}), out);
        }
        Ok(())
    }
}

impl Retell for MessagesEvents {
    /// This dialect tells no time.
    fn begin(&mut self, _: u64) {}

    fn ping(&mut self, out: &mut BytesMut) {
        write(&json!({"type": "ping"}), out);
    }

    fn fail(&mut self, error: Value, out: &mut BytesMut) {
        write(&error, out);
    }

    fn hear(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let Ok(chunk) = serde_json::from_str::<Value>(&mend::text(event.data)) else { return Ok(()) };
        self.cost.hear_chat(&chunk["usage"]);
        self.cost.hear_chat(&chunk["x_groq"]["usage"]);
        // Azure begins with one that is about the prompt.
        let Some(choice) = first(&chunk) else { return Ok(()) };
        self.begin_message(&chunk, out);
        let said = &choice["delta"];
        match reasoning(said) {
            Some(_) if self.keeps_thoughts => self.ping(out),
            Some(text) => self.think(text, out),
            None => {}
        }
        // What the model itself declines, it declines in words.
        let refusal = said["refusal"].as_str().unwrap_or_default();
        for text in texts(&said["content"]).into_iter().chain([refusal]).filter(|text| !text.is_empty()) {
            self.say(text, out);
        }
        for call in said["tool_calls"].as_array().map_or(&[][..], |calls| calls) {
            self.call(call, out)?;
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.reason = Some(reason.to_owned());
            self.close(out);
        }
        Ok(())
    }

    fn stop(&mut self, out: &mut BytesMut) {
        self.begin_message(&Value::Null, out);
        self.close(out);
        let reason = self.reason.as_deref().unwrap_or_default();
        let reason = stop_reason(reason, !self.calls.is_empty());
        let delta = json!({"stop_reason": reason, "stop_sequence": null});
        write(&json!({"type": "message_delta", "delta": delta, "usage": self.cost.as_messages()}), out);
        write(&json!({"type": "message_stop"}), out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        if self.reason.is_some() && !self.says_done {
            self.stop(out);
        }
    }
}

fn delta(index: u64, delta: Value, out: &mut BytesMut) {
    write(&json!({"type": "content_block_delta", "index": index, "delta": delta}), out);
}

fn write(event: &Value, out: &mut BytesMut) {
    let kind = event["type"].as_str().unwrap_or_default();
    out.put_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
}
