//! Those who speak OpenAI's chat, and what each does its own way.

use super::chat::{Chat, Failing, Opening, Ping, Reasoning, UsageAt};
use super::{chat_error, limits};

pub(in crate::provider) static OPENAI: Chat = Chat {
    bases: &["/v1"],
    key: None,
    request_id: "x-request-id",
    overloaded: 503,
    opening: Opening::Nothing,
    ping: Ping::Comment("keep-alive"),
    reasoning: Reasoning::Field("reasoning_content"),
    usage: UsageAt::ChunkIfAsked,
    failing: Failing::Event,
    limits: limits::openai,
    error: chat_error::openai,
};

/// Its first chunk tells what a filter thought of the prompt, and a name is enough of an event to stay alive.
pub(in crate::provider) static AZURE: Chat = Chat {
    bases: &["/openai/v1", "/openai/deployments/*"],
    key: Some("api-key"),
    request_id: "apim-request-id",
    opening: Opening::PromptFilter,
    ping: Ping::Name("keepalive"),
    limits: limits::azure,
    error: chat_error::azure,
    ..OPENAI
};

/// It thinks in parts of the content, and a failure may be the reason to stop.
pub(in crate::provider) static MISTRAL: Chat = Chat {
    request_id: "mistral-correlation-id",
    ping: Ping::EmptyDelta,
    reasoning: Reasoning::Parts,
    usage: UsageAt::LastChoice,
    failing: Failing::Reason("error"),
    limits: limits::mistral,
    error: chat_error::mistral,
    ..OPENAI
};

/// The usage, and what goes wrong midway, stand in a field of its own.
pub(in crate::provider) static GROQ: Chat = Chat {
    bases: &["/openai/v1"],
    overloaded: 498,
    reasoning: Reasoning::Field("reasoning"),
    usage: UsageAt::XGroq,
    failing: Failing::XGroq,
    limits: limits::groq,
    error: chat_error::groq,
    ..OPENAI
};

/// It says that it is alive before it says anything else, and tells no limits.
pub(in crate::provider) static DEEPSEEK: Chat = Chat {
    bases: &["/v1", ""],
    request_id: "x-ds-trace-id",
    opening: Opening::Ping,
    usage: UsageAt::LastChoice,
    failing: Failing::Reason("insufficient_system_resource"),
    limits: limits::none,
    error: chat_error::deepseek,
    ..OPENAI
};

/// It passes on what others say; an error midway is the last chunk, which is one of the answer's, too.
pub(in crate::provider) static OPENROUTER: Chat = Chat {
    bases: &["/api/v1"],
    request_id: "x-generation-id",
    opening: Opening::Ping,
    ping: Ping::Comment("OPENROUTER PROCESSING"),
    reasoning: Reasoning::Field("reasoning"),
    usage: UsageAt::Chunk,
    failing: Failing::ErrorChunk,
    limits: limits::only_the_wait,
    error: chat_error::openrouter,
    ..OPENAI
};
