use tidegate_core::Untranslatable;

use super::super::fields::{Fields, Raw, malformed, raw};
use crate::models::Sampling;

/// The temperature and the share of words to choose from, as far as the model takes them.
///
/// They only advise, so that one that would be refused is left out. While it thinks, a model takes no temperature but
/// 1, and of `top_p` some take none (Anthropic, "Extended thinking"; adaptive thinking says the same). Where one of
/// both is taken it is the temperature, which most callers mean.
pub(super) fn sampling(
    fields: &mut Fields,
    taken: Sampling,
    thinks: bool,
) -> Result<(Option<Raw>, Option<Raw>), Untranslatable> {
    let (temperature, top_p) = (number(fields, "temperature")?, number(fields, "top_p")?);
    Ok(match (taken, temperature) {
        _ if thinks => (None, None),
        (Sampling::None, _) => (None, None),
        (Sampling::One, Some(temperature)) => (Some(temperature), None),
        (_, temperature) => (temperature, top_p),
    })
}

/// Up to 2 in OpenAI's dialect, up to 1 here.
fn number(fields: &mut Fields, name: &'static str) -> Result<Option<Raw>, Untranslatable> {
    let Some(written) = fields.raw(name) else { return Ok(None) };
    let number: f64 = serde_json::from_str(written.get()).map_err(|_| malformed(name))?;
    Ok(match number {
        ..0.0 => raw("0"),
        0.0..=1.0 => Some(written),
        _ => raw("1"),
    })
}
