//! Those who speak OpenAI's chat, and what each does its own way.

use http::StatusCode;
use serde_json::Value;

use super::{ErrorWords, Standing, chat_error, limits};

/// Chat completions, models and embeddings as OpenAI has them, in one of its flavours.
#[derive(Clone, Copy)]
pub(in crate::provider) struct Chat {
    /// Where it is found. The first is told to clients; a `*` stands for the model.
    pub(super) bases: &'static [&'static str],
    /// The header of the key, where the usual one is not the only one.
    pub(super) key: Option<&'static str>,
    pub(super) request_id: &'static str,
    pub(super) overloaded: u16,
    pub(super) opening: Opening,
    pub(super) ping: Ping,
    pub(super) reasoning: Reasoning,
    pub(super) usage: UsageAt,
    pub(super) failing: Failing,
    pub(super) limits: fn(&Standing) -> Vec<(&'static str, String)>,
    pub(super) error: fn(StatusCode, &ErrorWords) -> Value,
}

/// What comes before the role.
#[derive(Clone, Copy)]
pub(super) enum Opening {
    Nothing,
    Ping,
    PromptFilter,
}

/// A sign of life.
#[derive(Clone, Copy)]
pub(super) enum Ping {
    Comment(&'static str),
    /// An event with a name and no data.
    Name(&'static str),
    /// A chunk whose text is empty.
    EmptyDelta,
}

/// Where a thought stands in a delta.
#[derive(Clone, Copy)]
pub(super) enum Reasoning {
    Field(&'static str),
    /// Among the parts of the content.
    Parts,
}

/// Where a stream tells its usage.
#[derive(Clone, Copy)]
pub(super) enum UsageAt {
    /// In a chunk without choices, for those who ask.
    ChunkIfAsked,
    /// The same, for all.
    Chunk,
    /// With the reason to stop.
    LastChoice,
    /// With the reason to stop, in the field `x_groq`.
    XGroq,
}

/// How an answer tells that the provider failed, where there is a way besides the error event.
#[derive(Clone, Copy)]
pub(super) enum Failing {
    Event,
    /// By this reason to stop.
    Reason(&'static str),
    /// By a text in the field `x_groq`.
    XGroq,
    /// By a chunk with an error next to its choices, which is its error event, too.
    ErrorChunk,
}

impl Chat {
    /// The path below the base, and the model if the base names one.
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
