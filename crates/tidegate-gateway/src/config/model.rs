use std::num::NonZeroU64;

use serde::Deserialize;
use tidegate::provider::ModelCapabilities;

/// The capabilities of a model. A missing field is unknown and excludes no request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with what the model can take")]
pub(super) struct ModelEntry {
    pub(super) context_tokens: Option<NonZeroU64>,
    pub(super) max_output_tokens: Option<NonZeroU64>,
    pub(super) tools: Option<bool>,
    pub(super) vision: Option<bool>,
    pub(super) json_schema: Option<bool>,
}

impl From<ModelEntry> for ModelCapabilities {
    fn from(entry: ModelEntry) -> Self {
        Self {
            context_tokens: entry.context_tokens.map(NonZeroU64::get),
            max_output_tokens: entry.max_output_tokens.map(NonZeroU64::get),
            tools: entry.tools,
            vision: entry.vision,
            json_schema: entry.json_schema,
        }
    }
}
