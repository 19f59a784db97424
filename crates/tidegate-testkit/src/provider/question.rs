use http::Method;
use serde_json::Value;

/// What a request wants.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) model: Option<String>,
    pub(super) is_stream: bool,
    /// Whether an OpenAI stream is to end with its usage.
    pub(super) wants_usage: bool,
    pub(super) prompt_tokens: usize,
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

impl Endpoint {
    /// The endpoint at `path`, where chat is at `chat`.
    pub(super) fn find(method: &Method, path: &str, chat: &str) -> Option<Self> {
        match (method.as_str(), path) {
            ("POST", path) if path == chat => Some(Self::Chat),
            ("POST", "/v1/embeddings") => Some(Self::Embeddings),
            ("GET", "/v1/models") => Some(Self::Models),
            _ => None,
        }
    }
}

impl Question {
    /// Reads a request body; one that is no JSON object asks for nothing in particular.
    pub(super) fn read(body: &[u8]) -> Self {
        /// About what English takes with the big tokenizers.
        const BYTES_PER_TOKEN: usize = 4;
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            model: value["model"].as_str().map(str::to_owned),
            is_stream: value["stream"] == true,
            wants_usage: value["stream_options"]["include_usage"] == true,
            prompt_tokens: body.len().div_ceil(BYTES_PER_TOKEN),
            inputs: value["input"].as_array().map_or(1, Vec::len),
            is_json: value.is_object(),
        }
    }
}
