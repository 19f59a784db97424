use tidegate_core::Untranslatable;

use super::super::content::raw;
use crate::models::Sampling;
use crate::request_fields::{RawJson, RequestFields};
use crate::untranslatable::malformed;

/// The `temperature` and `top_p` that the model accepts.
///
/// Both are advisory, so a value that would be rejected is dropped. With thinking, a model accepts only the
/// temperature 1, and some models accept no `top_p` (Anthropic, "Extended thinking"; the same holds for
/// adaptive thinking). If the model accepts only one of the two, the temperature is kept, since it is the one
/// that callers usually mean.
pub(super) fn sampling(
    fields: &mut RequestFields,
    supported: Sampling,
    thinks: bool,
) -> Result<(Option<RawJson>, Option<RawJson>), Untranslatable> {
    let (temperature, top_p) = (number(fields, "temperature")?, number(fields, "top_p")?);
    Ok(match (supported, temperature) {
        _ if thinks => (None, None),
        (Sampling::None, _) => (None, None),
        (Sampling::One, Some(temperature)) => (Some(temperature), None),
        (_, temperature) => (temperature, top_p),
    })
}

/// Reads a number and clamps it to 0 to 1. OpenAI's dialect allows up to 2.
fn number(fields: &mut RequestFields, name: &'static str) -> Result<Option<RawJson>, Untranslatable> {
    let Some(written) = fields.take_raw(name) else { return Ok(None) };
    let number: f64 = serde_json::from_str(written.get()).map_err(|_| malformed(name))?;
    Ok(match number {
        ..0.0 => raw("0"),
        0.0..=1.0 => Some(written),
        _ => raw("1"),
    })
}
