use serde_json::Number;
use tidegate_core::Untranslatable;

use super::super::content::raw;
use crate::models::Sampling;
use crate::request_fields::{RawJson, RequestFields};
use crate::untranslatable::malformed;

/// The sampling parameters of a request.
#[derive(Default)]
pub(super) struct SamplingParameters {
    pub(super) temperature: Option<RawJson>,
    pub(super) top_p: Option<RawJson>,
    /// Not a part of OpenAI's own dialect, but of that of many other hosts.
    pub(super) top_k: Option<RawJson>,
}

/// The sampling parameters that the model accepts.
///
/// All are advisory, so a value that would be rejected is dropped. With thinking, a model accepts only the
/// temperature 1, and some models accept none of the others (Anthropic, "Extended thinking"; the same holds
/// for adaptive thinking). If the model accepts only one of the two, the temperature is kept, since it is the
/// one that callers usually mean.
pub(super) fn sampling(
    fields: &mut RequestFields,
    supported: Sampling,
    thinks: bool,
) -> Result<SamplingParameters, Untranslatable> {
    let all = SamplingParameters {
        temperature: number(fields, "temperature")?,
        top_p: number(fields, "top_p")?,
        top_k: count(fields, "top_k")?,
    };
    Ok(match supported {
        _ if thinks => SamplingParameters::default(),
        Sampling::None => SamplingParameters::default(),
        Sampling::One if all.temperature.is_some() => SamplingParameters { top_p: None, ..all },
        Sampling::One | Sampling::Both => all,
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

/// Reads a number that is sent only if it is a positive integer. Servers of open models take -1 for none.
fn count(fields: &mut RequestFields, name: &'static str) -> Result<Option<RawJson>, Untranslatable> {
    let count = fields.take::<Number>(name)?.filter(|count| count.as_u64() > Some(0));
    Ok(count.and_then(|count| raw(&count.to_string())))
}
