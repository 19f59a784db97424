//! The request for the rest of an answer: the caller's own, with what was delivered.

use bytes::Bytes;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::splice::Told;
use crate::Provider;
use crate::fields::Fields;
use crate::models::is_before_claude_4_6;

/// For a model that cannot be given the beginning of its own message.
const INSTRUCTION: &str = "Your last message was cut off in the middle by a lost connection. Go on exactly where it \
    stopped, with the very next character. Repeat nothing of it, and say nothing about the interruption.";

/// The rest of an answer in OpenAI's chat dialect.
pub(super) fn chat(target: &str, request: &[u8], told: &Told) -> Option<Bytes> {
    let mut fields = read(request, told)?;
    for limit in ["max_tokens", "max_completion_tokens"] {
        lower(&mut fields, limit, told.tokens)?;
    }
    let takes_prefix = Provider::named(target) == Provider::Mistral;
    extend(&mut fields, &told.text, if takes_prefix { Manner::PrefixFlag } else { Manner::Instruction })
}

/// The rest of an answer in Anthropic's dialect.
pub(super) fn messages(target: &str, request: &[u8], told: &Told) -> Option<Bytes> {
    let mut fields = read(request, told)?;
    let thinks = fields.get("thinking").is_some_and(|thinking| thinking["type"] != "disabled");
    // A budget for thinking has to stay below the limit.
    if !thinks {
        lower(&mut fields, "max_tokens", told.tokens)?;
    }
    let manner = if !thinks && is_before_claude_4_6(target) { Manner::Prefix } else { Manner::Instruction };
    // A last message that ends in a space is refused.
    extend(&mut fields, told.text.trim_end(), manner)
}

/// How a model is given what has been said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The last message is the assistant's own.
    Prefix,
    /// The same, and it has to be said so.
    PrefixFlag,
    /// The user asks to go on.
    Instruction,
}

fn read(request: &[u8], told: &Told) -> Option<Fields> {
    if told.is_beyond || told.stop.is_some() {
        return None;
    }
    let fields = Fields::read(request)?;
    let is_one = fields.get("n").is_none_or(|n| n.is_null() || n == 1);
    (is_one && !has_schema(&fields)).then_some(fields)
}

/// Whether the answer has to have a form: two halves of JSON by two models seldom make one.
fn has_schema(fields: &Fields) -> bool {
    let of_chat =
        fields.get("response_format").is_some_and(|format| !format.is_null() && format["type"] != "text");
    let of_messages = fields.get("output_config").is_some_and(|config| !config["format"].is_null());
    of_chat || of_messages || fields.has("output_format")
}

/// Lowers a limit of tokens by what was delivered. `None` if nothing is left of it.
fn lower(fields: &mut Fields, limit: &str, spent: u64) -> Option<()> {
    let Some(tokens) = fields.get(limit).as_ref().and_then(Value::as_u64) else { return Some(()) };
    fields.set(limit, tokens.checked_sub(spent).filter(|left| *left > 0)?)
}

fn extend(fields: &mut Fields, text: &str, manner: Manner) -> Option<Bytes> {
    if !text.is_empty() {
        let mut messages = fields.messages()?;
        let last: Value = serde_json::from_str(messages.last()?.get()).ok()?;
        // The caller has begun the assistant's message, and the model went on with that.
        let begun = match last["role"] == "assistant" {
            true => {
                messages.pop();
                last["content"].as_str()?.to_owned()
            }
            false => String::new(),
        };
        let mut said = json!({ "role": "assistant", "content": begun + text });
        if manner == Manner::PrefixFlag {
            said["prefix"] = true.into();
        }
        messages.push(to_raw_value(&said).ok()?);
        if manner == Manner::Instruction {
            messages.push(to_raw_value(&json!({ "role": "user", "content": INSTRUCTION })).ok()?);
        }
        fields.set("messages", &messages)?;
    }
    fields.write()
}
