use serde_json::Value;

use super::dialect::Framing;

/// What a request wants, as far as its body says.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) model: Option<String>,
    pub(super) is_stream: bool,
    /// How a stream is to be framed.
    pub(super) framing: Framing,
    /// Whether OpenAI's stream is to end with its usage.
    pub(super) wants_usage: bool,
    pub(super) prompt_tokens: usize,
    /// The most tokens that the answer may have, if it says so.
    pub(super) max_tokens: u64,
    /// How many texts are to be embedded.
    pub(super) inputs: usize,
    pub(super) is_json: bool,
}

/// What can be asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Embeddings,
    Models,
}

impl Question {
    /// Reads a request body; one that is no JSON object asks for nothing in particular.
    pub(super) fn read(body: &[u8]) -> Self {
        /// About what English takes with the big tokenizers.
        const BYTES_PER_TOKEN: usize = 4;
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            model: value["model"].as_str().map(str::to_owned),
            framing: Framing::default(),
            is_stream: value["stream"] == true,
            wants_usage: value["stream_options"]["include_usage"] == true,
            prompt_tokens: body.len().div_ceil(BYTES_PER_TOKEN),
            max_tokens: value["max_tokens"].as_u64().unwrap_or_default(),
            inputs: value["input"].as_array().map_or(1, Vec::len),
            is_json: value.is_object(),
        }
    }
}
