//! A stream of Anthropic's messages, as one of chat chunks.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use tidegate_core::Failure;

use super::mend;
use super::reply::{Retell, too_much};
use super::words::{Cost, finish_reason};
use crate::stream::Event;

/// Tells chunks.
#[derive(Default)]
pub(super) struct ChatEvents {
    pub(super) wants_usage: bool,
    /// Seconds since 1970; the other dialect tells no time.
    created: u64,
    id: Value,
    model: Value,
    has_begun: bool,
    cost: Cost,
    /// The tools that are being called: the number of the block, and what is known of the call.
    calls: BTreeMap<u64, Call>,
    /// The number of the next call.
    next: u64,
}

struct Call {
    number: u64,
    has_arguments: bool,
}

/// Nobody calls as many tools.
const MAX_CALLS: u64 = 1024;

/// No name of a message or a model is as long, and each chunk repeats them.
const MAX_NAME: usize = 256;

impl ChatEvents {
    pub(super) fn new(wants_usage: bool) -> Self {
        Self { wants_usage, ..Self::default() }
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        })
    }

    fn choice(&self, delta: Value, finish_reason: Option<&str>, out: &mut BytesMut) {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        write(&self.chunk(json!([choice])), out);
    }

    fn say(&self, key: &str, text: &Value, out: &mut BytesMut) {
        if text.as_str().is_some_and(|text| !text.is_empty()) {
            self.choice(json!({key: text}), None, out);
        }
    }

    fn begin_block(&mut self, event: &Value, out: &mut BytesMut) -> Result<(), Failure> {
        let block = &event["content_block"];
        match block["type"].as_str() {
            Some("text") => self.say("content", &block["text"], out),
            Some("thinking") => self.say("reasoning_content", &block["thinking"], out),
            Some("tool_use") => {
                if self.next >= MAX_CALLS {
                    return Err(too_much("tool_calls"));
                }
                self.end_block(index(event), out);
                let number = self.next;
                self.next += 1;
                let function = json!({"name": word(&block["name"]), "arguments": ""});
                let call = json!({"index": number, "id": word(&block["id"]), "type": "function", "function": function});
                self.choice(json!({"tool_calls": [call]}), None, out);
                // Usually empty, and followed by pieces; but it may be all there is.
                let whole = block["input"].as_object().filter(|input| !input.is_empty());
                if whole.is_some() {
                    self.argue(number, &block["input"].to_string(), out);
                }
                self.calls.insert(index(event), Call { number, has_arguments: whole.is_some() });
            }
            _ => {}
        }
        Ok(())
    }

    /// A call without arguments is one with none, in JSON.
    fn end_block(&mut self, block: u64, out: &mut BytesMut) {
        if let Some(Call { number, has_arguments: false }) = self.calls.remove(&block) {
            self.argue(number, "{}", out);
        }
    }

    /// What was not said to have ended does so now.
    fn end_blocks(&mut self, out: &mut BytesMut) {
        while let Some((&block, _)) = self.calls.first_key_value() {
            self.end_block(block, out);
        }
    }

    fn argue(&self, number: u64, arguments: &str, out: &mut BytesMut) {
        let call = json!({"index": number, "function": {"arguments": arguments}});
        self.choice(json!({"tool_calls": [call]}), None, out);
    }

    fn go_on(&mut self, event: &Value, out: &mut BytesMut) {
        let delta = &event["delta"];
        match delta["type"].as_str() {
            Some("text_delta") => self.say("content", &delta["text"], out),
            Some("thinking_delta") => self.say("reasoning_content", &delta["thinking"], out),
            Some("input_json_delta") => {
                let Some(call) = self.calls.get_mut(&index(event)) else { return };
                let Some(json) = delta["partial_json"].as_str().filter(|json| !json.is_empty()) else {
                    return;
                };
                call.has_arguments = true;
                let number = call.number;
                self.argue(number, json, out);
            }
            // Signatures and citations.
            _ => {}
        }
    }
}

impl Retell for ChatEvents {
    fn begin(&mut self, created: u64) {
        self.created = created;
    }

    fn ping(&mut self, out: &mut BytesMut) {
        out.put_slice(b": ping\n\n");
    }

    fn fail(&mut self, error: Value, out: &mut BytesMut) {
        write(&error, out);
    }

    fn hear(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let Ok(data) = serde_json::from_str::<Value>(&mend::text(event.data)) else { return Ok(()) };
        match data["type"].as_str().unwrap_or(event.name) {
            "ping" => self.ping(out),
            "message_start" if !std::mem::replace(&mut self.has_begun, true) => {
                let message = &data["message"];
                (self.id, self.model) = (name(&message["id"]), name(&message["model"]));
                self.cost.hear_messages(&message["usage"]);
                self.choice(json!({"role": "assistant", "content": ""}), None, out);
            }
            "content_block_start" => self.begin_block(&data, out)?,
            "content_block_delta" => self.go_on(&data, out),
            "content_block_stop" => self.end_block(index(&data), out),
            "message_delta" => {
                self.cost.hear_messages(&data["usage"]);
                if let Some(reason) = data["delta"]["stop_reason"].as_str() {
                    self.end_blocks(out);
                    self.choice(json!({}), Some(finish_reason(reason)), out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn stop(&mut self, out: &mut BytesMut) {
        self.end_blocks(out);
        if self.wants_usage {
            let mut last = self.chunk(json!([]));
            last["usage"] = self.cost.as_chat();
            write(&last, out);
        }
        out.put_slice(b"data: [DONE]\n\n");
    }

    /// There is a terminator in that dialect: what has not come is not made up.
    fn end(&mut self, _: &mut BytesMut) {}
}

/// A name that is one.
fn name(value: &Value) -> Value {
    let is_name = |name: &&str| name.len() <= MAX_NAME && !name.contains(char::is_control);
    value.as_str().filter(is_name).map_or(Value::Null, Value::from)
}

/// What has to be a word, whatever it is.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn index(event: &Value) -> u64 {
    event["index"].as_u64().unwrap_or_default()
}

fn write(chunk: &Value, out: &mut BytesMut) {
    out.put_slice(format!("data: {chunk}\n\n").as_bytes());
}
