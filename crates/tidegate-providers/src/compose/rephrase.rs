use bytes::Bytes;
use serde_json::Value;
use serde_json::value::to_raw_value;
use tidegate_core::Bounds;

use crate::fields::Fields;

/// The limits of tokens that there are; the last is set where there is none.
const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// The request with another prompt and bounded costs. A temperature is lowered where one is given, and not added: some
/// models take none.
pub(super) fn write(body: &[u8], prompt: Option<&str>, bounds: Bounds) -> Option<Bytes> {
    let mut fields = Fields::read(body)?;
    if let Some(prompt) = prompt {
        let mut messages = fields.messages()?;
        let mut last: Value = serde_json::from_str(messages.pop()?.get()).ok()?;
        *last.get_mut("content")? = prompt.into();
        messages.push(to_raw_value(&last).ok()?);
        fields.set("messages", &messages)?;
    }
    let limit = LIMITS.into_iter().find(|limit| fields.has(limit)).unwrap_or(LIMITS[1]);
    let tokens = fields.get(limit).as_ref().and_then(Value::as_u64).unwrap_or(u64::MAX);
    fields.set(limit, tokens.min(bounds.max_tokens))?;
    if let Some(temperature) = fields.get("temperature").as_ref().and_then(Value::as_f64)
        && temperature > bounds.temperature
    {
        fields.set("temperature", bounds.temperature)?;
    }
    fields.write()
}
