use bytes::Bytes;
use serde_json::Value;
use serde_json::value::to_raw_value;
use tidegate_core::CompletionLimits;

use crate::fields::Fields;
use crate::models::{Sampling, only_reasons, sampling};

/// The limits of tokens that there are in a chat. Messages have the second, and always.
const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// Efforts that cannot be lowered, or need not be. OpenAI's models that reason all take `low`; which of the others they
/// take differs from one to the next.
const LOW: [&str; 3] = ["none", "minimal", "low"];

/// The request with another prompt and bounded costs.
///
/// Thoughts count against the limit of tokens, and within a small one they leave no room for words; a budget for them
/// above the limit is refused. So messages are answered without thoughts, and what of the context is handled with
/// them goes, too. A chat reasons at a low effort: without the field it would at a medium one. A temperature is lowered
/// where one is given, and not added, and left alone where the model takes none but the default.
pub(super) fn write(body: &[u8], prompt: Option<&str>, bounds: CompletionLimits) -> Option<Bytes> {
    let mut fields = Fields::read(body)?;
    let mut messages = fields.messages()?;
    if let Some(prompt) = prompt {
        let mut last: Value = serde_json::from_str(messages.pop()?.get()).ok()?;
        *last.get_mut("content")? = prompt.into();
        messages.push(to_raw_value(&last).ok()?);
        fields.set("messages", &messages)?;
    }
    let model = fields.get("model").and_then(|model| model.as_str().map(str::to_owned)).unwrap_or_default();
    let effort = fields.get("reasoning_effort").and_then(|effort| effort.as_str().map(str::to_owned));
    let reasons = effort.is_some() || only_reasons(&model);
    if effort.is_some_and(|effort| !LOW.contains(&&*effort)) {
        fields.set("reasoning_effort", "low")?;
    }
    if fields.get("thinking").is_some_and(|thinking| thinking["type"] != "disabled") {
        fields.remove("thinking");
        fields.remove("context_management");
    }
    // A null stands for what is not there.
    let count = |fields: &Fields, limit: &str| fields.get(limit).as_ref().and_then(Value::as_u64);
    let mut is_bounded = false;
    for limit in LIMITS {
        if let Some(tokens) = count(&fields, limit) {
            fields.set(limit, tokens.min(bounds.max_tokens))?;
            is_bounded = true;
        }
    }
    if !is_bounded {
        // Models that reason refuse the older name, and others know no newer one.
        fields.set(if reasons { LIMITS[0] } else { LIMITS[1] }, bounds.max_tokens)?;
    }
    if let Some(temperature) = fields.get("temperature").as_ref().and_then(Value::as_f64)
        && temperature > bounds.temperature
        && !reasons
        && sampling(&model) != Sampling::None
    {
        fields.set("temperature", bounds.temperature)?;
    }
    fields.write()
}
