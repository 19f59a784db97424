use std::fmt;

use http::HeaderMap;
use serde::Deserialize;

/// An API endpoint that the gateway serves, at the path that the official clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Endpoint {
    /// Chat completions of OpenAI.
    ChatCompletions,
    /// Embeddings of OpenAI.
    Embeddings,
    /// Responses of OpenAI.
    Responses,
    /// Messages of Anthropic.
    Messages,
}

/// The path at which callers of Anthropic's messages count tokens.
pub(crate) const COUNT_TOKENS: &str = "/v1/messages/count_tokens";

/// The HTTP API of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApiDialect {
    /// The API of OpenAI, which most providers offer under some URL.
    OpenAi,
    /// The API of Anthropic.
    Anthropic,
    /// The API of Gemini. No endpoint uses it yet.
    Gemini,
}

impl Endpoint {
    /// All endpoints.
    pub(crate) const ALL: [Self; 4] =
        [Self::ChatCompletions, Self::Embeddings, Self::Responses, Self::Messages];

    /// The path of the endpoint at the gateway.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// The path below the base URL of a provider, which ends in the version.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
        }
    }

    /// The endpoint to call at a provider with `dialect`: this one, or its equivalent in that dialect. `None`
    /// if there is no equivalent.
    pub(crate) fn at_provider(self, dialect: ApiDialect) -> Option<Self> {
        match (self, dialect) {
            _ if self.dialect() == dialect => Some(self),
            (Self::ChatCompletions, ApiDialect::Anthropic) => Some(Self::Messages),
            (Self::Messages, ApiDialect::OpenAi) => Some(Self::ChatCompletions),
            _ => None,
        }
    }

    /// The dialect of callers at this endpoint.
    pub(crate) const fn dialect(self) -> ApiDialect {
        match self {
            Self::ChatCompletions | Self::Embeddings | Self::Responses => ApiDialect::OpenAi,
            Self::Messages => ApiDialect::Anthropic,
        }
    }
}

impl ApiDialect {
    /// The dialect of a caller, whatever it requests.
    pub(crate) fn of_caller(path: &str, headers: &HeaderMap) -> Self {
        match path.starts_with(Endpoint::Messages.path()) || headers.contains_key("anthropic-version") {
            true => Self::Anthropic,
            false => Self::OpenAi,
        }
    }

    /// The name in the configuration file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl fmt::Display for ApiDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
