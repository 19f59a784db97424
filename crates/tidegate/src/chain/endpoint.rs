use std::fmt;

/// An endpoint of a provider's API. The path of a request determines it, with or without the version in
/// front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Chat completions of OpenAI: `/chat/completions`.
    ChatCompletions,
    /// Embeddings of OpenAI: `/embeddings`.
    Embeddings,
    /// Responses of OpenAI: `/responses`.
    Responses,
    /// Messages of Anthropic: `/messages`.
    Messages,
}

/// The HTTP API of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ApiDialect {
    /// The API of OpenAI, which most providers offer under some URL.
    OpenAi,
    /// The API of Anthropic.
    Anthropic,
    /// The API of Gemini. Nothing is translated into it, since Gemini offers OpenAI's API as well.
    Gemini,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 4] = [Self::ChatCompletions, Self::Embeddings, Self::Responses, Self::Messages];

    /// The endpoint at the end of `path`.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let found = Self::ALL.into_iter().find(|endpoint| path.ends_with(endpoint.suffix()))?;
        let base = path.strip_suffix(found.suffix())?;
        // The messages of a thread are another resource of OpenAI.
        let is_of_thread = found == Self::Messages && base.contains("/threads/");
        (!is_of_thread).then_some(found)
    }

    /// The path below the base URL of a provider, which ends in the version.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
        }
    }

    /// The path with the version, as the official clients use it.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// The dialect of requests to this endpoint.
    #[must_use]
    pub const fn dialect(self) -> ApiDialect {
        match self {
            Self::ChatCompletions | Self::Embeddings | Self::Responses => ApiDialect::OpenAi,
            Self::Messages => ApiDialect::Anthropic,
        }
    }

    /// The endpoint to call at a provider with `dialect`: this one, or its equivalent in that dialect. `None`
    /// if there is no equivalent.
    #[must_use]
    pub fn at_provider(self, dialect: ApiDialect) -> Option<Self> {
        match (self, dialect) {
            _ if self.dialect() == dialect => Some(self),
            (Self::ChatCompletions, ApiDialect::Anthropic) => Some(Self::Messages),
            (Self::Messages, ApiDialect::OpenAi) => Some(Self::ChatCompletions),
            _ => None,
        }
    }
}

impl ApiDialect {
    /// The name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_determines_the_endpoint() {
        for endpoint in Endpoint::ALL {
            for path in
                [endpoint.path().to_owned(), format!("{}/", endpoint.suffix()), format!("/a/b{endpoint}")]
            {
                assert_eq!(Endpoint::of_path(&path), Some(endpoint), "{path}");
            }
        }
        for path in
            ["", "/", "/v1/threads/t/messages", "/v1/messages/count_tokens", "/v1/audio/speech", "/v1/models"]
        {
            assert_eq!(Endpoint::of_path(path), None, "{path}");
        }
    }
}
