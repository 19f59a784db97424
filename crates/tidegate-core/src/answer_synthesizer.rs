use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, request, response};

/// Parses the requests of callers and builds responses to them, for calls that no provider has answered.
///
/// Implementations contain the knowledge about dialects; the layers decide when a response is built.
/// Implementations are pure: bytes in, bytes out.
pub trait AnswerSynthesizer: Send + Sync + 'static {
    /// Parses the question of a request. `None` if the request cannot be parsed, or if a text cannot be its
    /// response.
    fn question(&self, head: &request::Parts, body: &[u8]) -> Option<ChatQuestion>;

    /// A recorder for the text of a successful response while it passes. `None` if its format is unknown.
    fn recorder(&self, head: &response::Parts) -> Option<Box<dyn AnswerRecorder>>;

    /// Builds a response with `text` in the caller's dialect. It is a stream if one was requested. `now` is
    /// its creation time.
    fn synthesize(&self, question: &ChatQuestion, text: &str, now: SystemTime) -> Response<Bytes>;

    /// Rewrites the body of a request: the prompt is replaced by `prompt` if that is given, and the output is
    /// limited to `limits`. `None` if the request cannot be parsed.
    fn rewrite_request(&self, body: &[u8], prompt: Option<&str>, limits: CompletionLimits) -> Option<Bytes>;
}

/// Records the text of one response. It does no I/O, and its memory is bounded.
pub trait AnswerRecorder: Send + Sync {
    /// Records the next bytes of the body.
    fn push(&mut self, bytes: &Bytes);

    /// Called when the body has ended without an error. Returns the text, if the response was complete and
    /// contained text only.
    fn finish(&mut self) -> Option<String>;
}

/// The parts of a request on which its response depends.
#[derive(Clone, PartialEq, Eq)]
#[doc(alias = "LLMFallbackContext")]
pub struct ChatQuestion {
    /// The text of the last message.
    pub prompt: String,
    /// A digest of everything else on which the response depends: the model, the earlier messages,
    /// instructions, tools. Requests that differ only in their prompt have equal digests. The digest is keyed
    /// with a secret of this process, so that a caller cannot construct a collision.
    pub context: u64,
    /// The requested model.
    pub model: String,
    /// The most tokens that the response may have, if the request sets it.
    pub max_tokens: Option<u64>,
    /// Whether a stream is requested.
    pub streams: bool,
    /// Whether the stream has to report its usage at the end, in a dialect where usage is optional.
    pub include_usage: bool,
    /// The dialect of the request, under the name that the implementation uses for it.
    pub dialect: &'static str,
}

/// Limits that are set on a rewritten request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompletionLimits {
    /// The most tokens of the response.
    pub max_tokens: u64,
    /// The temperature.
    pub temperature: f64,
}

impl fmt::Debug for ChatQuestion {
    /// Omits the prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatQuestion")
            .field("model", &self.model)
            .field("streams", &self.streams)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}
