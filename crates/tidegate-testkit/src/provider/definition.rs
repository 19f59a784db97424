use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::dialect::{
    AZURE, Anthropic, Bedrock, Cohere, DEEPSEEK, Dialect, GROQ, Gemini, MISTRAL, OPENAI, OPENROUTER,
    Responses,
};
use super::limit::Limit;
use super::{InMemory, Log, Reply, Script, Server};

/// A provider as it is to be: its dialect, its limits and its script. See [the module](crate::provider).
pub struct Provider {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) script: Script,
    pub(super) log: Log,
    pub(super) api_key: Option<String>,
    /// Empty: any model is fine.
    pub(super) models: Vec<String>,
    /// Shared by all that ask.
    pub(super) rate_limit: Option<Mutex<Limit>>,
    pub(super) token_limit: Option<Mutex<Limit>>,
    pub(super) concurrency_limit: Option<usize>,
}

impl Provider {
    /// A provider that speaks OpenAI's chat completions, at `/v1/chat/completions`.
    #[must_use]
    pub fn openai() -> Self {
        Self::new(&OPENAI)
    }

    /// A provider that speaks Anthropic's messages, at `/v1/messages`.
    #[must_use]
    pub fn anthropic() -> Self {
        Self::new(&Anthropic)
    }

    /// A provider that speaks OpenAI's Responses, at `/v1/responses`.
    #[must_use]
    pub fn responses() -> Self {
        Self::new(&Responses)
    }

    /// OpenAI's chat as Azure has it, at `/openai/v1/chat/completions` and at
    /// `/openai/deployments/{model}/chat/completions`: the first chunk is about the prompt.
    #[must_use]
    pub fn azure() -> Self {
        Self::new(&AZURE)
    }

    /// A provider that speaks Google's Gemini, at `/v1beta/models/{model}:generateContent` and
    /// `:streamGenerateContent`, which streams events if it is asked with `alt=sse` and else a JSON array.
    #[must_use]
    pub fn gemini() -> Self {
        Self::new(&Gemini)
    }

    /// OpenAI's chat as Mistral has it, at `/v1/chat/completions`.
    #[must_use]
    pub fn mistral() -> Self {
        Self::new(&MISTRAL)
    }

    /// OpenAI's chat as Groq has it, at `/openai/v1/chat/completions`: the usage is in `x_groq`.
    #[must_use]
    pub fn groq() -> Self {
        Self::new(&GROQ)
    }

    /// OpenAI's chat as DeepSeek has it, at `/v1/chat/completions` and `/chat/completions`: with comments to stay
    /// alive, and without a word about limits.
    #[must_use]
    pub fn deepseek() -> Self {
        Self::new(&DEEPSEEK)
    }

    /// A provider that speaks Cohere's chat, version 2, at `/v2/chat`.
    #[must_use]
    pub fn cohere() -> Self {
        Self::new(&Cohere)
    }

    /// OpenAI's chat as OpenRouter has it, at `/api/v1/chat/completions`: an error midway is a chunk like others.
    #[must_use]
    pub fn openrouter() -> Self {
        Self::new(&OPENROUTER)
    }

    /// A provider that speaks Bedrock's Converse, at `/model/{model}/converse` and `/converse-stream`, in Amazon's
    /// binary events.
    #[must_use]
    pub fn bedrock() -> Self {
        Self::new(&Bedrock)
    }

    fn new(dialect: &'static dyn Dialect) -> Self {
        Self {
            dialect,
            script: Script::new(),
            log: Log::new(),
            api_key: None,
            models: Vec::new(),
            rate_limit: None,
            token_limit: None,
            concurrency_limit: None,
        }
    }

    /// Adds a reply for one request.
    #[must_use]
    pub fn then(self, reply: Reply) -> Self {
        self.script.then(reply);
        self
    }

    /// The reply to every request for which the script has none left; [`Reply::ok`] when not set.
    #[must_use]
    pub fn otherwise(self, reply: Reply) -> Self {
        self.script.otherwise(reply);
        self
    }

    /// Where the script has nothing left, `ratio` of the requests (0 to 1) get `reply`; the same seed gives
    /// the same ones.
    #[must_use]
    pub fn failing(self, ratio: f64, seed: u64, reply: Reply) -> Self {
        self.script.failing(ratio, seed, reply);
        self
    }

    /// The key that requests must carry.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The models there are. Any model is answered when none is named.
    #[must_use]
    pub fn models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Takes `requests` at once and as many evenly over each `per`; refuses the rest with 429 and the time to
    /// wait, and tells on every answer how much is left.
    #[must_use]
    pub fn rate_limit(mut self, requests: u32, per: Duration) -> Self {
        self.rate_limit = Some(Mutex::new(Limit::new(requests, per)));
        self
    }

    /// Takes so many tokens at once and as many evenly over each `per`: of every request its prompt (a quarter of its
    /// length) and the most that its answer may have, as it comes in; what is not used does not come back. Refuses and
    /// tells as [`rate_limit`](Self::rate_limit) does.
    #[must_use]
    pub fn token_limit(mut self, tokens: u32, per: Duration) -> Self {
        self.token_limit = Some(Mutex::new(Limit::new(tokens, per)));
        self
    }

    /// Answers at most so many requests at once and refuses the rest as overloaded.
    #[must_use]
    pub fn concurrency_limit(mut self, requests: usize) -> Self {
        self.concurrency_limit = Some(requests);
        self
    }

    /// Serves on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If no socket can be had.
    pub async fn start(self) -> io::Result<Server> {
        self.start_on((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Serves on `addr`.
    ///
    /// # Errors
    ///
    /// If `addr` cannot be bound.
    pub async fn start_on(self, addr: SocketAddr) -> io::Result<Server> {
        Server::bind(self, addr).await
    }

    /// The path at which `model` is asked for an answer, or for a stream; a query is a part of it.
    #[must_use]
    pub fn chat_path(&self, model: &str, is_stream: bool) -> String {
        self.dialect.chat_path(model, is_stream)
    }

    /// Serves in memory, moved by tokio's clock alone.
    #[must_use]
    pub fn service(self) -> InMemory {
        InMemory::new(Arc::new(self))
    }
}

/// Does not show the key.
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("script", &self.script)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
