//! Encodes a stream of Anthropic message events as chat chunks.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use tidegate_core::Failure;
use tidegate_providers::stream::Event;

use super::call_pieces::arguments;
use super::encode_events::{EncodeEvents, too_many, unreadable};
use super::repair;
use super::stop_reason::finish_reason;
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
    /// The index of the next call.
    next: u64,
}

struct OpenToolCall {
    number: u64,
    has_arguments: bool,
}

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
            next: 0,
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

    fn write_text(&self, key: &str, text: &Value, out: &mut BytesMut) {
        if text.as_str().is_some_and(|text| !text.is_empty()) {
            self.choice(json!({key: text}), None, out);
        }
    }

    fn begin_block(&mut self, event: &Value, out: &mut BytesMut) -> Result<(), Failure> {
        let block = &event["content_block"];
        match block["type"].as_str() {
            Some("text") => self.write_text("content", &block["text"], out),
            Some("thinking") => self.write_text("reasoning_content", &block["thinking"], out),
            Some("tool_use") => {
                if self.next >= MAX_CALLS {
                    return Err(too_many("tool_calls"));
                }
                self.end_block(index(event), out);
                let number = self.next;
                self.next += 1;
                let name = self.tool_names.original(string(&block["name"]));
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": number, "id": string(&block["id"]), "type": "function", "function": function});
                self.choice(json!({"tool_calls": [call]}), None, out);
                // `input` is usually empty and followed by deltas, but it may hold the complete arguments.
                let whole = arguments(block).ok_or_else(unreadable)?;
                let has_arguments = !matches!(&*whole, "" | "{}");
                if has_arguments {
                    self.write_arguments(number, &whole, out);
                }
                self.calls.insert(index(event), OpenToolCall { number, has_arguments });
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends a tool call. A call without arguments gets an empty JSON object.
    fn end_block(&mut self, block: u64, out: &mut BytesMut) {
        if let Some(OpenToolCall { number, has_arguments: false }) = self.calls.remove(&block) {
            self.write_arguments(number, "{}", out);
        }
    }

    /// Ends all open tool calls.
    fn end_blocks(&mut self, out: &mut BytesMut) {
        while let Some((&block, _)) = self.calls.first_key_value() {
            self.end_block(block, out);
        }
    }

    fn write_arguments(&self, number: u64, arguments: &str, out: &mut BytesMut) {
        let call = json!({"index": number, "function": {"arguments": arguments}});
        self.choice(json!({"tool_calls": [call]}), None, out);
    }

    fn write_block_delta(&mut self, event: &Value, out: &mut BytesMut) {
        let delta = &event["delta"];
        match delta["type"].as_str() {
            Some("text_delta") => self.write_text("content", &delta["text"], out),
            Some("thinking_delta") => self.write_text("reasoning_content", &delta["thinking"], out),
            Some("input_json_delta") => {
                let Some(call) = self.calls.get_mut(&index(event)) else { return };
                let Some(json) = delta["partial_json"].as_str().filter(|json| !json.is_empty()) else {
                    return;
                };
                call.has_arguments = true;
                let number = call.number;
                self.write_arguments(number, json, out);
            }
            // Signatures and citations are omitted.
            _ => {}
        }
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

    fn encode(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let Ok(data) = serde_json::from_str::<Value>(&repair::decode(event.data)) else { return Ok(()) };
        match data["type"].as_str().unwrap_or(event.name) {
            "ping" => self.ping(out),
            "message_start" if !std::mem::replace(&mut self.has_begun, true) => {
                let message = &data["message"];
                (self.id, self.model) = (short_name(&message["id"]), short_name(&message["model"]));
                self.token_usage.update_from_messages(&message["usage"]);
                self.choice(json!({"role": "assistant", "content": ""}), None, out);
            }
            "content_block_start" => self.begin_block(&data, out)?,
            "content_block_delta" => self.write_block_delta(&data, out),
            "content_block_stop" => self.end_block(index(&data), out),
            "message_delta" => {
                self.token_usage.update_from_messages(&data["usage"]);
                if let Some(reason) = data["delta"]["stop_reason"].as_str() {
                    self.end_blocks(out);
                    self.choice(json!({}), Some(finish_reason(reason)), out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.end_blocks(out);
        if self.wants_usage {
            let mut last = self.chunk(json!([]));
            last["usage"] = self.token_usage.as_chat();
            write_data(&last, out);
        }
        out.put_slice(sse::DONE);
    }

    /// Anthropic's dialect has a terminator, so a stream without one is truncated and is not completed here.
    fn end_of_stream(&mut self, _: &mut BytesMut) {}
}

/// A name without control characters and within the length limit, else null.
fn short_name(value: &Value) -> Value {
    let is_name = |name: &&str| name.len() <= MAX_NAME && !name.contains(char::is_control);
    value.as_str().filter(is_name).map_or(Value::Null, Value::from)
}

/// The string, or an empty one for any other type.
fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn index(event: &Value) -> u64 {
    event["index"].as_u64().unwrap_or_default()
}
