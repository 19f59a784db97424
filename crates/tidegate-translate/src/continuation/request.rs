//! The continuation request: the caller's request with the delivered text added.

use bytes::Bytes;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::delivered::Delivered;
use crate::models::is_before_claude_4_6;
use crate::request_fields::RequestFields;

/// The instruction for a model that accepts no prefilled assistant message.
const INSTRUCTION: &str = "Your last message was cut off in the middle by a lost connection. Go on exactly where it \
    stopped, with the very next character. Repeat nothing of it, and say nothing about the interruption.";

/// The continuation request in OpenAI's chat dialect.
pub(super) fn chat(request: &[u8], delivered: &Delivered) -> Option<Bytes> {
    let mut fields = read(request, delivered)?;
    for limit in ["max_tokens", "max_completion_tokens"] {
        lower(&mut fields, limit, delivered.tokens)?;
    }
    // Mistral continues a message with `prefix: true`, but repeats it first.
    extend(&mut fields, &delivered.text, ResumeMode::Instruction)
}

/// The continuation request in Anthropic's dialect.
pub(super) fn messages(target: &str, request: &[u8], delivered: &Delivered) -> Option<Bytes> {
    let mut fields = read(request, delivered)?;
    let thinks = fields.has_thinking();
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
    /// As an assistant message, followed by a user message with the instruction to continue.
    Instruction,
}

fn read(request: &[u8], delivered: &Delivered) -> Option<RequestFields> {
    if delivered.blocks_continuation || delivered.stop.is_some() {
        return None;
    }
    let fields = RequestFields::read(request)?;
    let is_one = matches!(fields.raw("n"), None | Some("null" | "1"));
    // Two halves of JSON from two models rarely form one valid document.
    (is_one && !fields.has_format()).then_some(fields)
}

/// Lowers a token limit by the number of delivered tokens. `None` if none are left.
fn lower(fields: &mut RequestFields, limit: &str, delivered: u64) -> Option<()> {
    let Some(tokens) = fields.read_as::<u64>(limit) else { return Some(()) };
    fields.set(limit, tokens.checked_sub(delivered).filter(|left| *left > 0)?)
}

fn extend(fields: &mut RequestFields, text: &str, mode: ResumeMode) -> Option<Bytes> {
    if !text.is_empty() {
        let mut messages = fields.messages()?;
        let last = RequestFields::read(messages.last()?.get().as_bytes())?;
        // If the caller prefilled the assistant message, the delivered text continues it.
        let prefill = match last.read_as::<String>("role").as_deref() {
            Some("assistant") => {
                messages.pop();
                last.read_as("content")?
            }
            _ => String::new(),
        };
        let message = json!({ "role": "assistant", "content": prefill + text });
        messages.push(to_raw_value(&message).ok()?);
        if mode == ResumeMode::Instruction {
            messages.push(to_raw_value(&json!({ "role": "user", "content": INSTRUCTION })).ok()?);
        }
        fields.set("messages", &messages)?;
    }
    fields.write()
}
