use bytes::Bytes;
use serde_json::json;
use serde_json::value::to_raw_value;
use tidegate_core::CompletionLimits;

use crate::models::{Sampling, ThinkingControl, is_reasoning_model, sampling, thinking_control};
use crate::request_fields::RequestFields;

/// The token limit fields of a chat request. A messages request has only the second, and always has it.
const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// Efforts that are not lowered. All OpenAI reasoning models accept `low`; which of the others they accept
/// differs by model.
const LOW: [&str; 3] = ["none", "minimal", "low"];

/// Replaces the prompt of the request and limits its cost.
///
/// Thinking counts against the token limit, and under a small limit it leaves no room for text; a thinking
/// budget above the limit is rejected. `thinking` is therefore removed from a messages request, together with
/// `context_management`, or disabled for a model that thinks without the field. Both dialects keep a low effort,
/// since without the field it would be higher. A temperature is lowered if the request sets one, but not added, and not changed for a
/// model that accepts only the default.
pub(super) fn write(body: &[u8], prompt: Option<&str>, bounds: CompletionLimits) -> Option<Bytes> {
    let mut fields = RequestFields::read(body)?;
    let mut messages = fields.messages()?;
    if let Some(prompt) = prompt {
        let mut last = RequestFields::read(messages.pop()?.get().as_bytes())?;
        last.raw("content")?;
        last.set("content", prompt)?;
        messages.push(to_raw_value(&last).ok()?);
        fields.set("messages", &messages)?;
    }
    let model: String = fields.read_as("model").unwrap_or_default();
    let effort: Option<String> = fields.read_as("reasoning_effort");
    let reasons = effort.is_some() || is_reasoning_model(&model);
    if effort.is_some_and(|effort| !LOW.contains(&&*effort)) {
        fields.set("reasoning_effort", "low")?;
    }
    let config = fields.raw("output_config").and_then(|config| RequestFields::read(config.as_bytes()));
    if let Some(mut config) = config
        && config.read_as::<String>("effort").is_some_and(|effort| !LOW.contains(&&*effort))
    {
        config.set("effort", "low")?;
        fields.set("output_config", &config)?;
    }
    if fields.has_thinking() {
        match thinking_control(&model) {
            ThinkingControl::OnUnless(off) => fields.set("thinking", json!({"type": off}))?,
            _ => _ = fields.take_raw("thinking"),
        }
        fields.take_raw("context_management");
    }
    let mut is_bounded = false;
    for limit in LIMITS {
        // A null counts as absent.
        if let Some(tokens) = fields.read_as::<u64>(limit) {
            fields.set(limit, tokens.min(bounds.max_tokens))?;
            is_bounded = true;
        }
    }
    if !is_bounded {
        // Reasoning models reject the older field; other models do not support the newer one.
        fields.set(if reasons { LIMITS[0] } else { LIMITS[1] }, bounds.max_tokens)?;
    }
    if let Some(temperature) = fields.read_as::<f64>("temperature")
        && temperature > bounds.temperature
        && !reasons
        && sampling(&model) != Sampling::None
    {
        fields.set("temperature", bounds.temperature)?;
    }
    fields.write()
}
