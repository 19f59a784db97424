//! The continuation request: the caller's request with the delivered text added.

use bytes::Bytes;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tidegate_providers::Provider;

use super::delivered::Delivered;
use crate::models::is_before_claude_4_6;
use crate::request_fields::RequestFields;

/// The instruction for a model that accepts no prefilled assistant message.
const INSTRUCTION: &str = "Your last message was cut off in the middle by a lost connection. Go on exactly where it \
    stopped, with the very next character. Repeat nothing of it, and say nothing about the interruption.";

/// The continuation request in OpenAI's chat dialect.
pub(super) fn chat(target: &str, request: &[u8], delivered: &Delivered) -> Option<Bytes> {
    let mut fields = read(request, delivered)?;
    for limit in ["max_tokens", "max_completion_tokens"] {
        lower(&mut fields, limit, delivered.tokens)?;
    }
    let takes_prefix = Provider::named(target) == Provider::Mistral;
    extend(
        &mut fields,
        &delivered.text,
        if takes_prefix { ResumeMode::FlaggedPrefill } else { ResumeMode::Instruction },
    )
}

/// The continuation request in Anthropic's dialect.
pub(super) fn messages(target: &str, request: &[u8], delivered: &Delivered) -> Option<Bytes> {
    let mut fields = read(request, delivered)?;
    let thinks = fields.get("thinking").is_some_and(|thinking| thinking["type"] != "disabled");
    // The thinking budget must stay below the limit, so the limit is not lowered when thinking is on.
    if !thinks {
        lower(&mut fields, "max_tokens", delivered.tokens)?;
    }
    let mode =
        if !thinks && is_before_claude_4_6(target) { ResumeMode::Prefill } else { ResumeMode::Instruction };
    // Anthropic rejects a final assistant message that ends in white space.
    extend(&mut fields, delivered.text.trim_end(), mode)
}

/// How the delivered text is passed to the model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResumeMode {
    /// As the final assistant message.
    Prefill,
    /// As the final assistant message, with `prefix: true`.
    FlaggedPrefill,
    /// As an assistant message, followed by a user message with the instruction to continue.
    Instruction,
}

fn read(request: &[u8], delivered: &Delivered) -> Option<RequestFields> {
    if delivered.blocks_continuation || delivered.stop.is_some() {
        return None;
    }
    let fields = RequestFields::read(request)?;
    let is_one = fields.get("n").is_none_or(|n| n.is_null() || n == 1);
    (is_one && !has_schema(&fields)).then_some(fields)
}

/// Whether the request sets a response format. Two halves of JSON from two models rarely form one valid
/// document.
fn has_schema(fields: &RequestFields) -> bool {
    let of_chat =
        fields.get("response_format").is_some_and(|format| !format.is_null() && format["type"] != "text");
    let of_messages = fields.get("output_config").is_some_and(|config| !config["format"].is_null());
    of_chat || of_messages || fields.has("output_format")
}

/// Lowers a token limit by the number of delivered tokens. `None` if none are left.
fn lower(fields: &mut RequestFields, limit: &str, delivered: u64) -> Option<()> {
    let Some(tokens) = fields.get(limit).as_ref().and_then(Value::as_u64) else { return Some(()) };
    fields.set(limit, tokens.checked_sub(delivered).filter(|left| *left > 0)?)
}

fn extend(fields: &mut RequestFields, text: &str, mode: ResumeMode) -> Option<Bytes> {
    if !text.is_empty() {
        let mut messages = fields.messages()?;
        let last: Value = serde_json::from_str(messages.last()?.get()).ok()?;
        // If the caller prefilled the assistant message, the delivered text continues it.
        let prefill = match last["role"] == "assistant" {
            true => {
                messages.pop();
                last["content"].as_str()?.to_owned()
            }
            false => String::new(),
        };
        let mut message = json!({ "role": "assistant", "content": prefill + text });
        if mode == ResumeMode::FlaggedPrefill {
            message["prefix"] = true.into();
        }
        messages.push(to_raw_value(&message).ok()?);
        if mode == ResumeMode::Instruction {
            messages.push(to_raw_value(&json!({ "role": "user", "content": INSTRUCTION })).ok()?);
        }
        fields.set("messages", &messages)?;
    }
    fields.write()
}
