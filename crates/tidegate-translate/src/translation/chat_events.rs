//! Encodes a stream of Anthropic message events as chat chunks.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use tidegate_core::Failure;
use tidegate_providers::stream::Event;

use super::call_arguments::CallArguments;
use super::call_ids::ResponseCallIds;
use super::call_pieces::{self, CallPiece, argument_text};
use super::encode_events::{EncodeEvents, too_many, unreadable};
use super::exact_arguments::with_argument_text;
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
    /// The open tool calls by block index.
    calls: BTreeMap<u64, OpenToolCall>,
    call_ids: ResponseCallIds,
    /// The index of the next call.
    next: u64,
    /// The arguments of a call that has ended are incomplete.
    has_cut_call: bool,
    /// The reason in the last chunk.
    stop_reason: Option<String>,
    text_half: HeldHalf,
    thinking_half: HeldHalf,
}

struct OpenToolCall {
    number: u64,
    /// The `input` of the start. It is usually empty and followed by deltas, but it may be the only arguments,
    /// or be repeated by the deltas.
    input: String,
    /// The arguments in the deltas.
    arguments: CallArguments,
}

/// The fields with content of a delta, by its type. Some hosts omit the type.
const DELTAS: [(&str, &str); 3] =
    [("text_delta", "text"), ("thinking_delta", "thinking"), ("input_json_delta", "partial_json")];

/// The maximum number of tool calls in one stream.
const MAX_CALLS: u64 = 1024;

/// The maximum length of a message id or a model name, since each chunk repeats them.
const MAX_NAME: usize = 256;

impl ChatEvents {
    pub(super) fn new(wants_usage: bool, wants_json: bool, tool_names: ToolNames) -> Self {
        Self {
            wants_usage,
            wants_json,
            created: 0,
            id: Value::Null,
            model: Value::Null,
            has_begun: false,
            token_usage: TokenUsage::default(),
            tool_names,
            calls: BTreeMap::new(),
            call_ids: ResponseCallIds::default(),
            next: 0,
            has_cut_call: false,
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

    fn write_text(&mut self, text: &str, out: &mut BytesMut) {
        let text = self.text_half.join(text);
        if !text.is_empty() {
            self.choice(json!({"content": text}), None, out);
        }
    }

    fn write_thinking(&mut self, text: &str, out: &mut BytesMut) {
        let text = self.thinking_half.join(text);
        if !text.is_empty() {
            self.choice(json!({"reasoning_content": text}), None, out);
        }
    }

    /// Returns whether the block was encoded, or is omitted on purpose.
    fn begin_block(&mut self, event: &Value, out: &mut BytesMut) -> Result<bool, Failure> {
        let block = &event["content_block"];
        match block_type(block) {
            "text" => self.write_text(string(&block["text"]), out),
            "thinking" => self.write_thinking(string(&block["thinking"]), out),
            // Only its provider can read it.
            "redacted_thinking" => {}
            "tool_use" => self.begin_call(index(event), block, out)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn begin_call(&mut self, index: u64, block: &Value, out: &mut BytesMut) -> Result<(), Failure> {
        if self.next >= MAX_CALLS {
            return Err(too_many("tool_calls"));
        }
        self.end_block(index, out)?;
        let call = CallPiece::read(block)?;
        if call.name.is_empty() {
            return Err(unreadable());
        }
        let number = self.next;
        self.next += 1;
        let id = self.call_ids.assign_global(call.id());
        let function = json!({"name": self.tool_names.original(&call.name), "arguments": ""});
        let delta = json!({"index": number, "id": id, "type": "function", "function": function});
        self.choice(json!({"tool_calls": [delta]}), None, out);
        let (input, arguments) = (call.arguments.into_owned(), CallArguments::default());
        self.calls.insert(index, OpenToolCall { number, input, arguments });
        Ok(())
    }

    /// Ends a tool call. A call without arguments gets an empty JSON object.
    fn end_block(&mut self, block: u64, out: &mut BytesMut) -> Result<(), Failure> {
        let Some(mut call) = self.calls.remove(&block) else { return Ok(()) };
        let mut rest = call.arguments.finish()?;
        self.has_cut_call |= call.arguments.is_cut();
        if !call.arguments.has_content() {
            rest = CallArguments::whole(&call.input)?;
        }
        self.write_arguments(call.number, &rest, out);
        Ok(())
    }

    /// Ends all open tool calls, and the text.
    fn end_blocks(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        while let Some((&block, _)) = self.calls.first_key_value() {
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

    fn write_arguments(&self, number: u64, arguments: &str, out: &mut BytesMut) {
        if !arguments.is_empty() {
            let call = json!({"index": number, "function": {"arguments": arguments}});
            self.choice(json!({"tool_calls": [call]}), None, out);
        }
    }

    /// Returns whether the delta contained content. Signatures and citations are omitted.
    fn write_block_delta(&mut self, event: &Value, out: &mut BytesMut) -> Result<bool, Failure> {
        let delta = &event["delta"];
        let typed = DELTAS.iter().find(|(kind, _)| delta["type"] == *kind);
        let mut has_content = false;
        for (_, field) in typed.map_or(&DELTAS[..], std::slice::from_ref) {
            let value = &delta[*field];
            has_content |= !matches!(value, Value::Null) && *value != "";
            match *field {
                "text" => self.write_text(string(value), out),
                "thinking" => self.write_thinking(string(value), out),
                _ => self.write_call_delta(index(event), value, out)?,
            }
        }
        Ok(has_content)
    }

    fn write_call_delta(&mut self, block: u64, json: &Value, out: &mut BytesMut) -> Result<(), Failure> {
        let json = argument_text(json).ok_or_else(unreadable)?;
        let Some(call) = self.calls.get_mut(&block) else {
            // Arguments before the start or after the stop of their call.
            return if json.trim().is_empty() { Ok(()) } else { Err(unreadable()) };
        };
        call.arguments.push(&json)?;
        let (number, ready) = (call.number, call.arguments.release());
        self.write_arguments(number, &ready, out);
        Ok(())
    }

    /// Writes the end of the message, unless calls are missing or incomplete without a reason.
    fn write_stop(&mut self, reason: &str, out: &mut BytesMut) -> Result<(), Failure> {
        self.end_blocks(out)?;
        let has_calls = self.next > 0;
        if is_of_calls(reason) && !has_calls || self.has_cut_call && !is_cut_off(reason) {
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

    /// Nothing is kept.
    fn set_event_cap(&mut self, _: usize) {}

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
        let is_encoded = match data["type"].as_str().unwrap_or(event.name) {
            "ping" => {
                self.ping(out);
                false
            }
            "message_start" if !std::mem::replace(&mut self.has_begun, true) => {
                let message = &data["message"];
                (self.id, self.model) = (short_name(&message["id"]), short_name(&message["model"]));
                self.call_ids = ResponseCallIds::for_response(message);
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
                if let Some(reason) = data["delta"]["stop_reason"].as_str() {
                    self.write_stop(reason, out)?;
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
        match is_token && !is_encoded {
            true => Err(unreadable()),
            false => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        if self.stop_reason.is_none() && self.next > 0 {
            self.write_stop("", out)?;
        }
        self.end_blocks(out)?;
        let is_cut_off = self.stop_reason.as_deref().is_some_and(is_cut_off);
        if self.has_cut_call && !is_cut_off {
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

    /// Anthropic's dialect has a terminator, so a stream without one is truncated and is not completed here.
    fn end_of_stream(&mut self, _: &mut BytesMut) -> Result<(), Failure> {
        Ok(())
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

/// The string, or an empty one for any other type.
fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn index(event: &Value) -> u64 {
    call_pieces::number(&event["index"]).unwrap_or_default()
}
