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
use super::call_pieces::CallPiece;
use super::chat_content::{ChatPiece, choice_index, has_image, one_or_many, pieces_of, text_index};
use super::encode_events::{EncodeEvents, unreadable};
use super::exact_arguments::with_argument_text;
use super::messages_response::message_start;
use super::repair;
use super::stop_reason::{is_cut_off, is_of_calls, stop_reason};
use super::stop_sequences::StopSequenceSearch;
use super::text_digest::DeliveredText;
use super::tool_names::ToolNames;
use super::usage::TokenUsage;
use crate::sse::write_event;

/// Encodes Anthropic message events.
pub(super) struct MessagesEvents {
    /// The provider is known to send `[DONE]`, so a stream without it is truncated.
    sends_done_marker: bool,
    /// Reasoning is replaced by pings.
    pub(super) omits_reasoning: bool,
    has_begun: bool,
    /// The index of the choice whose text is translated, once it has text.
    text_index: Option<u64>,
    /// The content of the deltas, which some hosts repeat in a whole message.
    text: DeliveredText,
    thinking: DeliveredText,
    has_call_deltas: bool,
    /// Whether there was an image, and whether there was text, which is delivered without it.
    has_image: bool,
    has_text: bool,
    pub(super) blocks: BlockQueue,
    reason: Option<String>,
    /// Whether there was a stop reason, and no content since.
    has_stopped: bool,
    token_usage: TokenUsage,
}

impl MessagesEvents {
    pub(super) fn new(
        sends_done_marker: bool,
        omits_reasoning: bool,
        tool_names: ToolNames,
        stops: StopSequenceSearch,
    ) -> Self {
        Self {
            sends_done_marker,
            omits_reasoning,
            has_begun: false,
            text_index: None,
            text: DeliveredText::default(),
            thinking: DeliveredText::default(),
            has_call_deltas: false,
            has_image: false,
            has_text: false,
            blocks: BlockQueue::new(tool_names, stops),
            reason: None,
            has_stopped: false,
            token_usage: TokenUsage::default(),
        }
    }

    fn begin_message(&mut self, chunk: &Value, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.blocks.begin(ResponseCallIds::for_response(chunk));
            write_event(&message_start(&chunk["id"], &chunk["model"]), out);
        }
    }

    fn push_thinking(&mut self, text: &str, out: &mut BytesMut) -> Result<(), Failure> {
        if self.omits_reasoning {
            self.ping(out)
        } else {
            self.blocks.push_text(BlockKind::Thinking, text, out)?
        }
        Ok(())
    }

    /// Reads a piece of a call. One that cannot be read is ignored after a stop sequence.
    fn read_call<'a>(
        &self,
        call: &'a Value,
        position: usize,
        choice: u64,
    ) -> Result<Option<CallPiece<'a>>, Failure> {
        match CallPiece::read(call) {
            Err(_) if self.blocks.has_stopped() => Ok(None),
            piece => Ok(Some(piece?.at(position).of_choice(choice))),
        }
    }

    /// Writes the content of a choice. Returns whether there was any.
    fn push_choice(&mut self, choice: &Value, is_of_text: bool, out: &mut BytesMut) -> Result<bool, Failure> {
        let index = choice_index(choice);
        let delta = pieces_of(&choice["delta"], is_of_text);
        let message = pieces_of(&choice["message"], is_of_text);
        self.push_delta(&delta, index, out)?;
        self.push_message(&message, index, out)?;
        let mut has_content = !delta.is_empty() || !message.is_empty();
        for piece in delta.iter().chain(&message) {
            self.has_text |= matches!(piece, ChatPiece::Text(_));
            if !matches!(piece, ChatPiece::Call(_)) {
                self.text_index = Some(index);
            }
        }
        self.has_image |= has_image(&choice["delta"]) || has_image(&choice["message"]);
        // The older completions API.
        let text = choice["text"].as_str().filter(|text| is_of_text && !has_content && !text.is_empty());
        if let Some(text) = text {
            (has_content, self.has_text, self.text_index) = (true, true, Some(index));
            self.blocks.push_text(BlockKind::Text, text, out)?;
        }
        let reason = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty());
        // One of a choice that is not translated has no meaning.
        let reason = reason.filter(|_| is_of_text || has_content || self.has_call_deltas);
        self.has_stopped = reason.is_some() || self.has_stopped && !has_content;
        if let Some(reason) = reason {
            self.reason = Some(reason.to_owned());
        }
        Ok(has_content)
    }

    /// Writes the pieces of a delta.
    fn push_delta(
        &mut self,
        pieces: &[ChatPiece<'_>],
        choice: u64,
        out: &mut BytesMut,
    ) -> Result<(), Failure> {
        let mut calls = 0;
        for piece in pieces {
            match *piece {
                ChatPiece::Thinking(text) => {
                    self.thinking.push(text);
                    self.push_thinking(text, out)?;
                }
                ChatPiece::Text(text) => {
                    self.text.push(text);
                    self.blocks.push_text(BlockKind::Text, text, out)?;
                }
                ChatPiece::Call(call) => {
                    self.has_call_deltas = true;
                    if let Some(piece) = self.read_call(call, calls, choice)? {
                        self.blocks.push_call(&piece, out)?;
                    }
                    calls += 1;
                }
                ChatPiece::Encrypted => self.ping(out),
            }
        }
        Ok(())
    }

    /// Writes the pieces of a message within a stream: the next piece, or a repetition of all deltas.
    fn push_message(
        &mut self,
        pieces: &[ChatPiece<'_>],
        choice: u64,
        out: &mut BytesMut,
    ) -> Result<(), Failure> {
        let (mut text, mut thinking) = (String::new(), String::new());
        for piece in pieces {
            match *piece {
                ChatPiece::Thinking(more) => thinking += more,
                ChatPiece::Text(more) => text += more,
                ChatPiece::Call(_) | ChatPiece::Encrypted => {}
            }
        }
        let rest = self.thinking.undelivered(&thinking);
        if !rest.is_empty() {
            self.push_thinking(rest, out)?;
        }
        let rest = self.text.undelivered(&text);
        if !rest.is_empty() {
            self.blocks.push_text(BlockKind::Text, rest, out)?;
        }
        let calls = pieces.iter().filter_map(|piece| match piece {
            ChatPiece::Call(call) => Some(call),
            _ => None,
        });
        for (position, call) in calls.enumerate() {
            let Some(piece) = self.read_call(call, position, choice)? else { continue };
            if !self.has_call_deltas || !self.blocks.is_repeated(&piece) {
                self.blocks.push_call(&piece, out)?;
            }
        }
        Ok(())
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

    fn encode(&mut self, event: Event<'_>, is_token: bool, out: &mut BytesMut) -> Result<(), Failure> {
        let Ok(chunk) = serde_json::from_str::<Value>(&with_argument_text(repair::decode_event(event.data)))
        else {
            return if is_token && !self.blocks.has_stopped() { Err(unreadable()) } else { Ok(()) };
        };
        self.token_usage.update_from_chat(&chunk["usage"]);
        self.token_usage.update_from_chat(&chunk["x_groq"]["usage"]);
        let choices = one_or_many(&chunk["choices"]);
        // Azure's first chunk reports on the prompt and has no choices.
        let Some(text_index) = self.text_index.or_else(|| text_index(choices)) else { return Ok(()) };
        if !choices.is_empty() {
            self.begin_message(&chunk, out);
        }
        let mut has_content = false;
        for choice in choices {
            // Kimi's usage is in the choice.
            self.token_usage.update_from_chat(&choice["usage"]);
            has_content |= self.push_choice(choice, choice_index(choice) == text_index, out)?;
        }
        let is_of_text = matches!(choices, [choice] if choice_index(choice) == text_index);
        if is_token && is_of_text && !has_content && !self.blocks.has_stopped() {
            return Err(unreadable());
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        self.begin_message(&Value::Null, out);
        self.blocks.finish(out)?;
        let reason = self.reason.as_deref().unwrap_or_default();
        let stop_sequence = self.blocks.stops().found();
        let is_missing = is_of_calls(reason) && !self.blocks.has_calls() && stop_sequence.is_none();
        let has_only_image = self.has_image && !self.has_text && !self.blocks.has_calls();
        if is_missing || has_only_image || self.blocks.has_cut_call() && !is_cut_off(reason) {
            return Err(unreadable());
        }
        let reason = match stop_sequence {
            Some(_) => "stop_sequence",
            None => stop_reason(reason, self.blocks.has_calls()),
        };
        let delta = json!({"stop_reason": reason, "stop_sequence": stop_sequence});
        write_event(
            &json!({"type": "message_delta", "delta": delta, "usage": self.token_usage.as_messages()}),
            out,
        );
        write_event(&json!({"type": "message_stop"}), out);
        Ok(())
    }

    fn end_of_stream(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        if self.has_stopped && !self.sends_done_marker { self.finish(out) } else { Ok(()) }
    }
}
