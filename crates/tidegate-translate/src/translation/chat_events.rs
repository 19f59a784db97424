//! Encodes a stream of Anthropic message events as chat chunks.

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use tidegate_core::Failure;
use tidegate_providers::stream::Event;

use super::call_ids::ResponseCallIds;
use super::call_pieces;
use super::encode_events::{EncodeEvents, unreadable};
use super::exact_arguments::with_argument_text;
use super::open_calls::OpenCalls;
use super::repair;
use super::split_surrogates::{HeldHalf, without_marks};
use super::stop_reason::{finish_reason, is_cut_off, is_of_calls};
use super::tool_names::ToolNames;
use super::usage::TokenUsage;
use crate::sse::{self, write_data};

/// Encodes chat chunks.
pub(super) struct ChatEvents {
    pub(super) wants_usage: bool,
    /// Seconds since 1970. Anthropic's dialect has no such field.
    created: u64,
    id: Value,
    model: Value,
    has_begun: bool,
    token_usage: TokenUsage,
    /// Whether the text of a response that is not streamed has to be a JSON object.
    pub(super) wants_json: bool,
    tool_names: ToolNames,
    calls: OpenCalls,
    /// The reason in the last chunk.
    stop_reason: Option<String>,
    text_half: HeldHalf,
    thinking_half: HeldHalf,
    /// Whether a stream without a terminator is truncated.
    needs_terminator: bool,
    /// Whether there was a stop reason, and no content since.
    has_stopped: bool,
}

/// The fields with content of a delta, by its type. Some hosts omit the type.
const DELTAS: [(&str, &str); 3] =
    [("text_delta", "text"), ("thinking_delta", "thinking"), ("input_json_delta", "partial_json")];

/// The maximum length of a message id or a model name, since each chunk repeats them.
const MAX_NAME: usize = 256;

impl ChatEvents {
    pub(super) fn new(
        wants_usage: bool,
        wants_json: bool,
        tool_names: ToolNames,
        needs_terminator: bool,
    ) -> Self {
        Self {
            needs_terminator,
            has_stopped: false,
            wants_usage,
            wants_json,
            created: 0,
            id: Value::Null,
            model: Value::Null,
            has_begun: false,
            token_usage: TokenUsage::default(),
            tool_names,
            calls: OpenCalls::default(),
            stop_reason: None,
            text_half: HeldHalf::default(),
            thinking_half: HeldHalf::default(),
        }
    }

    pub(super) fn tool_names(&self) -> &ToolNames {
        &self.tool_names
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        })
    }

    fn choice(&self, delta: Value, finish_reason: Option<&str>, out: &mut BytesMut) {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        write_data(&self.chunk(json!([choice])), out);
    }

    /// Writes text or reasoning. Returns whether there was any.
    fn write_text(&mut self, key: &str, text: &Value, out: &mut BytesMut) -> bool {
        let text = text.as_str().unwrap_or_default();
        let half = if key == "content" { &mut self.text_half } else { &mut self.thinking_half };
        let joined = half.join(text);
        if !joined.is_empty() {
            self.choice(json!({key: joined}), None, out);
        }
        !text.is_empty()
    }

    fn write_call(&self, call: Option<Value>, out: &mut BytesMut) {
        if let Some(call) = call {
            self.choice(json!({"tool_calls": [call]}), None, out);
        }
    }

    /// Returns whether the block contained content, or is omitted on purpose.
    fn begin_block(&mut self, event: &Value, out: &mut BytesMut) -> Result<bool, Failure> {
        let block = &event["content_block"];
        match block_type(block) {
            "text" => Ok(self.write_text("content", &block["text"], out)),
            "thinking" => Ok(self.write_text("reasoning_content", &block["thinking"], out)),
            // Only its provider can read it.
            "redacted_thinking" => Ok(true),
            "tool_use" => {
                self.end_block(index(event), out)?;
                let call = self.calls.start(index(event), block, &self.tool_names)?;
                self.write_call(Some(call), out);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn end_block(&mut self, block: u64, out: &mut BytesMut) -> Result<(), Failure> {
        let call = self.calls.end(block)?;
        self.write_call(call, out);
        Ok(())
    }

    /// Ends all open tool calls, and the text.
    fn end_blocks(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        while let Some(block) = self.calls.first_open() {
            self.end_block(block, out)?;
        }
        for (name, half) in
            [("reasoning_content", self.thinking_half.take()), ("content", self.text_half.take())]
        {
            if let Some(half) = half {
                self.choice(json!({name: half}), None, out);
            }
        }
        Ok(())
    }

    /// Returns whether the delta contained content. Signatures and citations are omitted.
    fn write_block_delta(&mut self, event: &Value, out: &mut BytesMut) -> Result<bool, Failure> {
        let delta = &event["delta"];
        let typed = DELTAS.iter().find(|(kind, _)| delta["type"] == *kind);
        let mut has_content = false;
        for (_, field) in typed.map_or(&DELTAS[..], std::slice::from_ref) {
            let value = &delta[*field];
            has_content |= match *field {
                "text" => self.write_text("content", value, out),
                "thinking" => self.write_text("reasoning_content", value, out),
                _ => {
                    let call = self.calls.push(index(event), value)?;
                    self.write_call(call, out);
                    !value.is_null()
                }
            };
        }
        Ok(has_content)
    }

    /// Writes the end of the message, unless calls are missing or incomplete without a reason.
    fn write_stop(&mut self, reason: &str, out: &mut BytesMut) -> Result<(), Failure> {
        self.end_blocks(out)?;
        let has_calls = self.calls.has_calls();
        if is_of_calls(reason) && !has_calls || self.calls.has_cut_call() && !is_cut_off(reason) {
            return Err(unreadable());
        }
        self.choice(json!({}), Some(finish_reason(reason, has_calls)), out);
        self.stop_reason = Some(reason.to_owned());
        Ok(())
    }
}

impl EncodeEvents for ChatEvents {
    fn begin(&mut self, created: u64) {
        self.created = created;
    }

    fn set_event_cap(&mut self, bytes: usize) {
        self.calls.set_max_held(bytes);
    }

    fn ping(&mut self, out: &mut BytesMut) {
        out.put_slice(b": ping\n\n");
    }

    fn fail(&mut self, error: Value, out: &mut BytesMut) {
        write_data(&error, out);
    }

    fn encode(&mut self, event: Event<'_>, is_token: bool, out: &mut BytesMut) -> Result<(), Failure> {
        let Ok(data) = serde_json::from_str::<Value>(&with_argument_text(repair::decode_event(event.data)))
        else {
            return if is_token { Err(unreadable()) } else { Ok(()) };
        };
        self.has_stopped &= !is_token;
        let is_encoded = match data["type"].as_str().unwrap_or(event.name) {
            "ping" => {
                self.ping(out);
                false
            }
            "message_start" if !std::mem::replace(&mut self.has_begun, true) => {
                let message = &data["message"];
                (self.id, self.model) = (short_name(&message["id"]), short_name(&message["model"]));
                self.calls.begin(ResponseCallIds::for_response(message));
                self.token_usage.update_from_messages(&message["usage"]);
                self.choice(json!({"role": "assistant", "content": ""}), None, out);
                false
            }
            "content_block_stop" => {
                self.end_block(index(&data), out)?;
                false
            }
            "message_delta" => {
                self.token_usage.update_from_messages(&data["usage"]);
                let reason = data["delta"]["stop_reason"].as_str();
                if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
                    self.write_stop(reason, out)?;
                    self.has_stopped = true;
                }
                false
            }
            "content_block_start" => self.begin_block(&data, out)?,
            "content_block_delta" => self.write_block_delta(&data, out)?,
            // Of an unknown type.
            _ if is_token && data["content_block"].is_object() => self.begin_block(&data, out)?,
            _ if is_token => self.write_block_delta(&data, out)?,
            _ => false,
        };
        if is_token && !is_encoded { Err(unreadable()) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        if self.stop_reason.is_none() {
            self.write_stop("", out)?;
        }
        self.end_blocks(out)?;
        let is_cut_off = self.stop_reason.as_deref().is_some_and(is_cut_off);
        if self.calls.has_cut_call() && !is_cut_off {
            return Err(unreadable());
        }
        if self.wants_usage {
            let mut last = self.chunk(json!([]));
            last["usage"] = self.token_usage.as_chat();
            write_data(&last, out);
        }
        out.put_slice(sse::DONE);
        Ok(())
    }

    fn end_of_stream(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        if self.has_stopped && !self.needs_terminator { self.finish(out) } else { Ok(()) }
    }
}

/// The type of a content block. Some hosts omit it.
pub(super) fn block_type(block: &Value) -> &str {
    let by_field = || {
        let fields = [("name", "tool_use"), ("thinking", "thinking"), ("text", "text")];
        fields.into_iter().find(|(field, _)| block[*field].is_string()).map_or("", |(_, kind)| kind)
    };
    block["type"].as_str().unwrap_or_else(by_field)
}

/// A name without control characters and within the length limit, else null.
fn short_name(value: &Value) -> Value {
    let is_name = |name: &&str| name.len() <= MAX_NAME && !name.contains(char::is_control);
    value.as_str().filter(is_name).map_or(Value::Null, |name| without_marks(name).into())
}

fn index(event: &Value) -> u64 {
    call_pieces::number(&event["index"]).unwrap_or_default()
}
