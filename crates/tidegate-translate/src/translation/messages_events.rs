//! Encodes a stream of chat chunks as Anthropic message events.
//!
//! ```text
//! message_start ─ blocks, in the order of the queue ─ message_delta ─ message_stop
//!                                                     stop reason     [DONE], or end of stream after a
//!                                                                     stop reason
//! ```

use bytes::BytesMut;
use serde_json::{Value, json};
use tidegate_core::Failure;
use tidegate_providers::stream::Event;

use super::block_queue::{BlockKind, BlockQueue};
use super::call_ids::ResponseCallIds;
use super::encode_events::EncodeEvents;
use super::messages_response::{first_choice, message_start, reasoning};
use super::repair;
use super::stop_reason::stop_reason;
use super::tool_names::ToolNames;
use super::usage::TokenUsage;
use crate::content_text::texts;
use crate::sse::write_event;

/// Encodes Anthropic message events.
pub(super) struct MessagesEvents {
    /// The provider is known to send `[DONE]`, so a stream without it is truncated.
    sends_done_marker: bool,
    /// Reasoning is replaced by pings.
    pub(super) omits_reasoning: bool,
    has_begun: bool,
    pub(super) blocks: BlockQueue,
    reason: Option<String>,
    token_usage: TokenUsage,
}

impl MessagesEvents {
    pub(super) fn new(sends_done_marker: bool, omits_reasoning: bool, tool_names: ToolNames) -> Self {
        Self {
            sends_done_marker,
            omits_reasoning,
            has_begun: false,
            blocks: BlockQueue::new(tool_names),
            reason: None,
            token_usage: TokenUsage::default(),
        }
    }

    fn begin_message(&mut self, chunk: &Value, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.blocks.begin(ResponseCallIds::for_response(chunk));
            write_event(&message_start(&chunk["id"], &chunk["model"]), out);
        }
    }
}

impl EncodeEvents for MessagesEvents {
    /// Anthropic's dialect has no creation time.
    fn begin(&mut self, _: u64) {}

    fn set_event_cap(&mut self, bytes: usize) {
        self.blocks.set_max_waiting(bytes);
    }

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
            Some(text) => self.blocks.push_text(BlockKind::Thinking, text, out)?,
            None => {}
        }
        // A refusal by the model is translated as text.
        let refusal = choice_delta["refusal"].as_str().unwrap_or_default();
        for text in texts(&choice_delta["content"]).chain([refusal]).filter(|text| !text.is_empty()) {
            self.blocks.push_text(BlockKind::Text, text, out)?;
        }
        for call in choice_delta["tool_calls"].as_array().map_or(&[][..], |calls| calls) {
            self.blocks.push_call(call, out)?;
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.reason = Some(reason.to_owned());
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.begin_message(&Value::Null, out);
        self.blocks.finish(out);
        let reason = self.reason.as_deref().unwrap_or_default();
        let reason = stop_reason(reason, self.blocks.has_calls());
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
