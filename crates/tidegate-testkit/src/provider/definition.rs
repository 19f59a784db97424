use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::dialect::{
    AZURE, Anthropic, Bedrock, Cohere, DEEPSEEK, GROQ, Gemini, MISTRAL, OPENAI, OPENROUTER, Responses,
    TestDialect,
};
use super::limit::LimitBucket;
use super::{InMemory, LoggedRequest, Reply, RequestLog, Script, Server};

/// The definition of a scripted provider: its dialect, its limits and its script. See
/// [the module](crate::provider).
pub struct Provider {
    pub(super) dialect: &'static dyn TestDialect,
    pub(super) script: Script,
    pub(super) log: RequestLog,
    pub(super) api_key: Option<String>,
    /// Any model is accepted if this is empty.
    pub(super) models: Vec<String>,
    /// Shared by all callers.
    pub(super) rate_limit: Option<Mutex<LimitBucket>>,
    pub(super) token_limit: Option<Mutex<LimitBucket>>,
    pub(super) concurrency_limit: Option<usize>,
}

impl Provider {
    /// A provider of OpenAI's chat completions, at `/v1/chat/completions`.
    #[must_use]
    pub fn openai() -> Self {
        Self::new(&OPENAI)
    }

    /// A provider of Anthropic's messages, at `/v1/messages`.
    #[must_use]
    pub fn anthropic() -> Self {
        Self::new(&Anthropic)
    }

    /// A provider of OpenAI's Responses, at `/v1/responses`.
    #[must_use]
    pub fn responses() -> Self {
        Self::new(&Responses)
    }

    /// Azure's variant of OpenAI's chat, at `/openai/v1/chat/completions` and at
    /// `/openai/deployments/{model}/chat/completions`. The first chunk carries the prompt's filter results.
    #[must_use]
    pub fn azure() -> Self {
        Self::new(&AZURE)
    }

    /// A provider of Google's Gemini, at `/v1beta/models/{model}:generateContent` and
    /// `:streamGenerateContent`. The latter streams events with `alt=sse` and a JSON array without it.
    #[must_use]
    pub fn gemini() -> Self {
        Self::new(&Gemini)
    }

    /// Mistral's variant of OpenAI's chat, at `/v1/chat/completions`.
    #[must_use]
    pub fn mistral() -> Self {
        Self::new(&MISTRAL)
    }

    /// Groq's variant of OpenAI's chat, at `/openai/v1/chat/completions`. The usage is in `x_groq`.
    #[must_use]
    pub fn groq() -> Self {
        Self::new(&GROQ)
    }

    /// DeepSeek's variant of OpenAI's chat, at `/v1/chat/completions` and `/chat/completions`. It sends
    /// comments as pings, and no rate limit headers.
    #[must_use]
    pub fn deepseek() -> Self {
        Self::new(&DEEPSEEK)
    }

    /// A provider of Cohere's chat, version 2, at `/v2/chat`.
    #[must_use]
    pub fn cohere() -> Self {
        Self::new(&Cohere)
    }

    /// OpenRouter's variant of OpenAI's chat, at `/api/v1/chat/completions`. An error in mid-stream is an
    /// ordinary chunk with an `error` field.
    #[must_use]
    pub fn openrouter() -> Self {
        Self::new(&OPENROUTER)
    }

    /// A provider of Bedrock's Converse, at `/model/{model}/converse` and `/converse-stream`. It streams
    /// Amazon's binary events.
    #[must_use]
    pub fn bedrock() -> Self {
        Self::new(&Bedrock)
    }

    fn new(dialect: &'static dyn TestDialect) -> Self {
        Self {
            dialect,
            script: Script::new(),
            log: RequestLog::new(),
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

    /// The reply to every request after the script is used up. It is [`Reply::ok`] when not set.
    #[must_use]
    pub fn otherwise(self, reply: Reply) -> Self {
        self.script.otherwise(reply);
        self
    }

    /// The reply to every request after the script is used up, computed from the request: by its time, its
    /// model or a header.
    ///
    /// ```
    /// use tidegate_testkit::{Provider, Reply};
    ///
    /// let provider = Provider::openai().otherwise_with(|request| match request.model.as_deref() {
    ///     Some("gpt-4o") => Reply::status(503),
    ///     _ => Reply::ok(),
    /// });
    /// # drop(provider);
    /// ```
    #[must_use]
    pub fn otherwise_with(self, reply: impl Fn(&LoggedRequest) -> Reply + Send + Sync + 'static) -> Self {
        self.script.otherwise_with(reply);
        self
    }

    /// Once the script is used up, `ratio` of the requests (0 to 1) get `reply`. The same seed selects the
    /// same requests.
    #[must_use]
    pub fn failing(self, ratio: f64, seed: u64, reply: Reply) -> Self {
        self.script.failing(ratio, seed, reply);
        self
    }

    /// The API key that requests must carry.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The models that exist. Any model is accepted when this is not set.
    #[must_use]
    pub fn models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts `requests` at once and as many, evenly spread, over each `per`. It rejects the rest with 429
    /// and the time to wait, and reports the remaining quota in the headers of every response.
    #[must_use]
    pub fn rate_limit(mut self, requests: u32, per: Duration) -> Self {
        self.rate_limit = Some(Mutex::new(LimitBucket::new(requests, per)));
        self
    }

    /// Accepts `tokens` at once and as many, evenly spread, over each `per`. Every request is charged on
    /// arrival for its prompt (a quarter of its length) and for the largest response that it allows. Unused
    /// tokens are not returned. Rejections and headers are those of [`rate_limit`](Self::rate_limit).
    #[must_use]
    pub fn token_limit(mut self, tokens: u32, per: Duration) -> Self {
        self.token_limit = Some(Mutex::new(LimitBucket::new(tokens, per)));
        self
    }

    /// Accepts at most `requests` at once and rejects the rest as overloaded.
    #[must_use]
    pub fn concurrency_limit(mut self, requests: usize) -> Self {
        self.concurrency_limit = Some(requests);
        self
    }

    /// Serves on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If no socket can be opened.
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

    /// The path, with its query, of a chat request or of a stream for `model`.
    #[must_use]
    pub fn chat_path(&self, model: &str, is_stream: bool) -> String {
        self.dialect.chat_path(model, is_stream)
    }

    /// Serves in memory, where time is tokio's clock alone.
    #[must_use]
    pub fn service(self) -> InMemory {
        InMemory::new(Arc::new(self))
    }
}

/// Does not show the API key.
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("script", &self.script)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
