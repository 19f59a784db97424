use std::num::NonZeroU64;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::provider::ModelCapabilities;

/// The capabilities of a model. A missing field is unknown and excludes no request.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Model")]
#[serde(deny_unknown_fields, expecting = "a table with what the model can take")]
pub(super) struct ModelEntry {
    /// The tokens of prompt and response together.
    pub(super) context_tokens: Option<NonZeroU64>,
    /// The tokens of the response.
    pub(super) max_output_tokens: Option<NonZeroU64>,
    /// Whether it can call tools.
    pub(super) tools: Option<bool>,
    /// Whether it takes images.
    pub(super) vision: Option<bool>,
    /// Whether its answer can be bound to a JSON schema.
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
