//! The providers of OpenAI's chat, and their differences.

use http::StatusCode;
use serde_json::Value;

use super::{ErrorSpec, LimitState, chat_error, limits};

/// Chat completions, models and embeddings in one variant of OpenAI's API.
#[derive(Clone, Copy)]
pub(in crate::provider) struct ChatVariant {
    /// The base paths. Clients get the first one. A `*` stands for the model.
    pub(super) bases: &'static [&'static str],
    /// An additional header of the API key, besides `authorization`.
    pub(super) key: Option<&'static str>,
    pub(super) request_id: &'static str,
    pub(super) overloaded: u16,
    pub(super) opening: BeforeRole,
    pub(super) ping: ChatPing,
    pub(super) reasoning: ReasoningAt,
    pub(super) usage: UsageAt,
    pub(super) failing: FailureEvent,
    pub(super) limits: fn(&LimitState) -> Vec<(&'static str, String)>,
    pub(super) error: fn(StatusCode, &ErrorSpec) -> Value,
}

/// The events before the chunk with the role.
#[derive(Clone, Copy)]
pub(super) enum BeforeRole {
    Nothing,
    Ping,
    PromptFilter,
}

/// The keep-alive event.
#[derive(Clone, Copy)]
pub(super) enum ChatPing {
    Comment(&'static str),
    /// An event with a name and no data.
    Name(&'static str),
    /// A chunk with an empty text.
    EmptyDelta,
}

/// The place of reasoning in a delta.
#[derive(Clone, Copy)]
pub(super) enum ReasoningAt {
    Field(&'static str),
    /// In the parts of the content.
    Parts,
}

/// The place of the usage in a stream.
#[derive(Clone, Copy)]
pub(super) enum UsageAt {
    /// In a chunk without choices, on request.
    ChunkOnRequest,
    /// In a chunk without choices, always.
    Chunk,
    /// In the chunk with the finish reason.
    LastChoice,
    /// In the chunk with the finish reason, in the field `x_groq`.
    XGroq,
}

/// How a stream reports a failure of the provider, if there is a way besides the error event.
#[derive(Clone, Copy)]
pub(super) enum FailureEvent {
    Event,
    /// By this finish reason.
    Reason(&'static str),
    /// By a text in the field `x_groq`.
    XGroq,
    /// By a chunk with an error next to its choices. The error event has the same form.
    ErrorChunk,
}

impl ChatVariant {
    /// The path below the base path, and the model if the base path contains one.
    pub(super) fn below<'a>(&self, path: &'a str) -> Option<(&'a str, Option<&'a str>)> {
        self.bases.iter().find_map(|base| match base.split_once('*') {
            None => Some((path.strip_prefix(base)?, None)),
            Some((before, _)) => {
                let rest = path.strip_prefix(before)?;
                let slash = rest.find('/')?;
                Some((&rest[slash..], Some(&rest[..slash])))
            }
        })
    }
}

pub(in crate::provider) static OPENAI: ChatVariant = ChatVariant {
    bases: &["/v1"],
    key: None,
    request_id: "x-request-id",
    overloaded: 503,
    opening: BeforeRole::Nothing,
    ping: ChatPing::Comment("keep-alive"),
    reasoning: ReasoningAt::Field("reasoning_content"),
    usage: UsageAt::ChunkOnRequest,
    failing: FailureEvent::Event,
    limits: limits::openai,
    error: chat_error::openai,
};

/// The first chunk contains the prompt's filter results. A ping is an event with a name and no data.
pub(in crate::provider) static AZURE: ChatVariant = ChatVariant {
    bases: &["/openai/v1", "/openai/deployments/*"],
    key: Some("api-key"),
    request_id: "apim-request-id",
    opening: BeforeRole::PromptFilter,
    ping: ChatPing::Name("keepalive"),
    limits: limits::azure,
    error: chat_error::azure,
    ..OPENAI
};

/// Reasoning is in parts of the content, and a failure may be the finish reason.
pub(in crate::provider) static MISTRAL: ChatVariant = ChatVariant {
    request_id: "mistral-correlation-id",
    ping: ChatPing::EmptyDelta,
    reasoning: ReasoningAt::Parts,
    usage: UsageAt::LastChoice,
    failing: FailureEvent::Reason("error"),
    limits: limits::mistral,
    error: chat_error::mistral,
    ..OPENAI
};

/// The usage and errors in mid-stream are in a field of their own.
pub(in crate::provider) static GROQ: ChatVariant = ChatVariant {
    bases: &["/openai/v1"],
    overloaded: 498,
    reasoning: ReasoningAt::Field("reasoning"),
    usage: UsageAt::XGroq,
    failing: FailureEvent::XGroq,
    limits: limits::groq,
    error: chat_error::groq,
    ..OPENAI
};

/// A ping precedes everything else, and there are no rate limit headers.
pub(in crate::provider) static DEEPSEEK: ChatVariant = ChatVariant {
    bases: &["/v1", ""],
    request_id: "x-ds-trace-id",
    opening: BeforeRole::Ping,
    usage: UsageAt::LastChoice,
    failing: FailureEvent::Reason("insufficient_system_resource"),
    limits: limits::none,
    error: chat_error::deepseek,
    ..OPENAI
};

/// It forwards the responses of other providers. An error in mid-stream is the last chunk, which also has a
/// choice.
pub(in crate::provider) static OPENROUTER: ChatVariant = ChatVariant {
    bases: &["/api/v1"],
    request_id: "x-generation-id",
    opening: BeforeRole::Ping,
    ping: ChatPing::Comment("OPENROUTER PROCESSING"),
    reasoning: ReasoningAt::Field("reasoning"),
    usage: UsageAt::Chunk,
    failing: FailureEvent::ErrorChunk,
    limits: limits::only_retry_after,
    error: chat_error::openrouter,
    ..OPENAI
};
