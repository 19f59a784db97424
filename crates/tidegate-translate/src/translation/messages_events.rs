//! Encodes a stream of chat chunks as Anthropic message events.
//!
//! ```text
//!              a delta of another kind, or the next call
//!                 ┌────────────────────────────┐
//!                 ▼                            │
//! message_start ─ block_start ─ block_delta* ─ block_stop ─ message_delta ─ message_stop
//!                                              stop reason   [DONE], or end of stream after a stop reason
//! ```

use bytes::BytesMut;
use serde_json::{Value, json};
use tidegate_core::Failure;
use tidegate_providers::stream::Event;

use super::call_ids::ResponseCallIds;
use super::encode_events::{EncodeEvents, too_many};
use super::messages_response::{first_choice, message_start, reasoning};
use super::repair;
use super::stop_reason::stop_reason;
use super::usage::TokenUsage;
use crate::content_text::texts;
use crate::sse::write_event;

/// Encodes Anthropic message events.
#[derive(Default)]
pub(super) struct MessagesEvents {
    /// The provider is known to send `[DONE]`, so a stream without it is truncated.
    sends_done_marker: bool,
    /// Reasoning is replaced by pings.
    pub(super) omits_reasoning: bool,
    has_begun: bool,
    /// The kind of the block that has started and not stopped.
    open: Option<OpenBlockKind>,
    /// The index of the next block.
    next: u64,
    calls: Vec<KnownToolCall>,
    call_ids: ResponseCallIds,
    reason: Option<String>,
    token_usage: TokenUsage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenBlockKind {
    Text,
    Thinking,
    Tool,
}

/// A tool call: its index and id in the chat stream, and its block index in the encoded stream.
struct KnownToolCall {
    index: Option<u64>,
    id: String,
    block: u64,
}

/// The maximum number of tool calls in one stream.
const MAX_CALLS: usize = 1024;

/// The maximum length of a call id, since all ids are kept until the stream ends.
const MAX_ID: usize = 1024;

impl MessagesEvents {
    pub(super) fn new(sends_done_marker: bool, omits_reasoning: bool) -> Self {
        Self { sends_done_marker, omits_reasoning, ..Self::default() }
    }

    fn begin_message(&mut self, chunk: &Value, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.call_ids = ResponseCallIds::for_response(chunk);
            write_event(&message_start(&chunk["id"], &chunk["model"]), out);
        }
    }

    /// Stops the open block and starts a block of this kind.
    fn open_block(&mut self, kind: OpenBlockKind, block: Value, out: &mut BytesMut) {
        self.close_block(out);
        write_event(&json!({"type": "content_block_start", "index": self.next, "content_block": block}), out);
        self.open = Some(kind);
        self.next += 1;
    }

    fn close_block(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            write_event(&json!({"type": "content_block_stop", "index": self.next - 1}), out);
        }
    }

    fn write_text(&mut self, text: &str, out: &mut BytesMut) {
        if self.open != Some(OpenBlockKind::Text) {
            self.open_block(OpenBlockKind::Text, json!({"type": "text", "text": ""}), out);
        }
        delta(self.next - 1, json!({"type": "text_delta", "text": text}), out);
    }

    fn write_thinking(&mut self, text: &str, out: &mut BytesMut) {
        if self.open != Some(OpenBlockKind::Thinking) {
            self.open_block(
                OpenBlockKind::Thinking,
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                out,
            );
        }
        delta(self.next - 1, json!({"type": "thinking_delta", "thinking": text}), out);
    }

    fn write_call(&mut self, call: &Value, out: &mut BytesMut) -> Result<(), Failure> {
        let (index, id) = (call["index"].as_u64(), call["id"].as_str().unwrap_or_default());
        // Some providers give all calls the same index, or none, so that only the ids differ.
        let known = match index {
            Some(_) => self.calls.iter().rev().find(|known| known.index == index),
            None => self.calls.last(),
        };
        let known = known.filter(|known| id.is_empty() || known.id == id).map(|known| known.block);
        let block = match known {
            Some(block) => block,
            None => {
                if self.calls.len() >= MAX_CALLS || id.len() > MAX_ID {
                    return Err(too_many("tool_calls"));
                }
                let (block, unique_id) = (self.next, self.call_ids.assign(id));
                let name = call["function"]["name"].as_str().unwrap_or_default();
                self.open_block(
                    OpenBlockKind::Tool,
                    json!({"type": "tool_use", "id": unique_id, "name": name, "input": {}}),
                    out,
                );
                self.calls.push(KnownToolCall { index, id: id.to_owned(), block });
                block
            }
        };
        // Calls usually arrive one after the other. If not, the block index assigns the delta to its call.
        if let Some(json) = call["function"]["arguments"].as_str().filter(|json| !json.is_empty()) {
            delta(block, json!({"type": "input_json_delta", "partial_json": json}), out);
        }
        Ok(())
    }
}

impl EncodeEvents for MessagesEvents {
    /// Anthropic's dialect has no creation time.
    fn begin(&mut self, _: u64) {}

    fn ping(&mut self, out: &mut BytesMut) {
        write_event(&json!({"type": "ping"}), out);
    }

    fn fail(&mut self, error: Value, out: &mut BytesMut) {
        write_event(&error, out);
    }

    fn encode(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let Ok(chunk) = serde_json::from_str::<Value>(&repair::decode(event.data)) else { return Ok(()) };
        self.token_usage.update_from_chat(&chunk["usage"]);
        self.token_usage.update_from_chat(&chunk["x_groq"]["usage"]);
        // Azure's first chunk reports on the prompt and has no choices.
        let Some(choice) = first_choice(&chunk) else { return Ok(()) };
        self.begin_message(&chunk, out);
        let choice_delta = &choice["delta"];
        match reasoning(choice_delta) {
            Some(_) if self.omits_reasoning => self.ping(out),
            Some(text) => self.write_thinking(text, out),
            None => {}
        }
        // A refusal by the model is translated as text.
        let refusal = choice_delta["refusal"].as_str().unwrap_or_default();
        for text in texts(&choice_delta["content"]).chain([refusal]).filter(|text| !text.is_empty()) {
            self.write_text(text, out);
        }
        for call in choice_delta["tool_calls"].as_array().map_or(&[][..], |calls| calls) {
            self.write_call(call, out)?;
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.reason = Some(reason.to_owned());
            self.close_block(out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.begin_message(&Value::Null, out);
        self.close_block(out);
        let reason = self.reason.as_deref().unwrap_or_default();
        let reason = stop_reason(reason, !self.calls.is_empty());
        let delta = json!({"stop_reason": reason, "stop_sequence": null});
        write_event(
            &json!({"type": "message_delta", "delta": delta, "usage": self.token_usage.as_messages()}),
            out,
        );
        write_event(&json!({"type": "message_stop"}), out);
    }

    fn end_of_stream(&mut self, out: &mut BytesMut) {
        if self.reason.is_some() && !self.sends_done_marker {
            self.finish(out);
        }
    }
}

fn delta(index: u64, delta: Value, out: &mut BytesMut) {
    write_event(&json!({"type": "content_block_delta", "index": index, "delta": delta}), out);
}
