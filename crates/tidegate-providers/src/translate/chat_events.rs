//! A stream of Anthropic's messages, as one of chat chunks.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use tidegate_core::Failure;

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

/// Nobody calls as many tools at once.
const MAX_CALLS: usize = 1024;

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
                if self.calls.len() >= MAX_CALLS {
                    return Err(too_much("tool_calls"));
                }
                let number = self.next;
                self.next += 1;
                let function = json!({"name": block["name"], "arguments": ""});
                let call =
                    json!({"index": number, "id": block["id"], "type": "function", "function": function});
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
        let Ok(data) = serde_json::from_slice::<Value>(event.data) else { return Ok(()) };
        match data["type"].as_str().unwrap_or(event.name) {
            "ping" => self.ping(out),
            "message_start" => {
                let message = &data["message"];
                (self.id, self.model) = (message["id"].clone(), message["model"].clone());
                self.cost.hear_messages(&message["usage"]);
                self.choice(json!({"role": "assistant", "content": ""}), None, out);
            }
            "content_block_start" => self.begin_block(&data, out)?,
            "content_block_delta" => self.go_on(&data, out),
            "content_block_stop" => {
                // A call without arguments is one with none, in JSON.
                if let Some(Call { number, has_arguments: false }) = self.calls.remove(&index(&data)) {
                    self.argue(number, "{}", out);
                }
            }
            "message_delta" => {
                self.cost.hear_messages(&data["usage"]);
                if let Some(reason) = data["delta"]["stop_reason"].as_str() {
                    self.choice(json!({}), Some(finish_reason(reason)), out);
                }
            }
            "message_stop" => {
                if self.wants_usage {
                    let mut last = self.chunk(json!([]));
                    last["usage"] = self.cost.as_chat();
                    write(&last, out);
                }
                out.put_slice(b"data: [DONE]\n\n");
            }
            _ => {}
        }
        Ok(())
    }

    /// There is a terminator in that dialect: what has not come is not made up.
    fn end(&mut self, _: &mut BytesMut) {}
}

fn index(event: &Value) -> u64 {
    event["index"].as_u64().unwrap_or_default()
}

fn write(chunk: &Value, out: &mut BytesMut) {
    out.put_slice(format!("data: {chunk}\n\n").as_bytes());
}
