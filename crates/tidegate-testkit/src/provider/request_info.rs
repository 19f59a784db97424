use serde_json::Value;

use super::framing::Framing;

/// The properties of a request that the response depends on, from its body and its path.
#[derive(Debug)]
pub(super) struct RequestInfo {
    pub(super) model: Option<String>,
    pub(super) is_stream: bool,
    /// How a stream is framed.
    pub(super) framing: Framing,
    /// Whether OpenAI's stream ends with its usage.
    pub(super) includes_usage: bool,
    pub(super) prompt_tokens: usize,
    /// The largest number of tokens of the response, if the request sets it.
    pub(super) max_tokens: u64,
    /// The number of texts to embed.
    pub(super) inputs: usize,
    pub(super) is_json: bool,
}

/// The endpoints of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiEndpoint {
    Chat,
    Embeddings,
    TokenCount,
    Models,
}

impl RequestInfo {
    /// Parses a request body. A body that is not a JSON object yields the defaults.
    pub(super) fn read(body: &[u8]) -> Self {
        /// Approximates English text under the common large tokenizers.
        const BYTES_PER_TOKEN: usize = 4;
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            model: value["model"].as_str().map(str::to_owned),
            framing: Framing::default(),
            is_stream: value["stream"] == true,
            includes_usage: value["stream_options"]["include_usage"] == true,
            prompt_tokens: body.len().div_ceil(BYTES_PER_TOKEN),
            max_tokens: value["max_tokens"].as_u64().unwrap_or_default(),
            inputs: value["input"].as_array().map_or(1, Vec::len),
            is_json: value.is_object(),
        }
    }
}
