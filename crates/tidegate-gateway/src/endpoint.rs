use std::fmt;

use serde::Deserialize;

/// What callers can ask for, each at the path that the official clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Endpoint {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// OpenAI's embeddings.
    Embeddings,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

/// Whose HTTP a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// OpenAI's, which most providers speak at some URL.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Gemini's own. No endpoint asks in it yet.
    Gemini,
}

impl Endpoint {
    /// All of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::ChatCompletions, Self::Embeddings, Self::Responses, Self::Messages];

    /// Where callers ask.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// What follows the base URL of a provider, which ends in the version.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
        }
    }

    /// Where to ask a provider that speaks `spoken`: here, or where its own dialect has the same. `None` if it has not.
    pub(crate) fn asked_in(self, spoken: Dialect) -> Option<Self> {
        match (self, spoken) {
            _ if self.dialect() == spoken => Some(self),
            (Self::ChatCompletions, Dialect::Anthropic) => Some(Self::Messages),
            (Self::Messages, Dialect::OpenAi) => Some(Self::ChatCompletions),
            _ => None,
        }
    }

    /// What callers speak here.
    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions | Self::Embeddings | Self::Responses => Dialect::OpenAi,
            Self::Messages => Dialect::Anthropic,
        }
    }
}

impl Dialect {
    /// The name in the file.
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

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
