use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, request, response};

/// Understands the requests of callers and composes answers to them, for when no provider gives one.
///
/// Implementations know dialects; the layers know only when an answer is wanted. Pure: bytes in, bytes out.
pub trait AnswerSynthesizer: Send + Sync + 'static {
    /// What a request asks. `None` if it is not understood, or asks for what no text could answer.
    fn question(&self, head: &request::Parts, body: &[u8]) -> Option<ChatQuestion>;

    /// Who writes down the text of a good answer as it passes. `None` if it is not one in a known form.
    fn recorder(&self, head: &response::Parts) -> Option<Box<dyn AnswerRecorder>>;

    /// `text` as an answer in the caller's own dialect, given `now`, streamed if a stream was asked for.
    fn synthesize(&self, question: &ChatQuestion, text: &str, now: SystemTime) -> Response<Bytes>;

    /// The request with `prompt` in place of its own, if there is one, and with bounds for what it may cost: the body
    /// to send instead.
    fn rewrite_request(&self, body: &[u8], prompt: Option<&str>, bounds: CompletionLimits) -> Option<Bytes>;
}

/// Writes down the text of one answer. Sans-io, and bounded.
pub trait AnswerRecorder: Send {
    /// Takes the next bytes of the body.
    fn push(&mut self, bytes: &Bytes);

    /// The body has ended well: the text, if the answer was complete and nothing but text.
    fn finish(&mut self) -> Option<String>;
}

/// What a request asks, as far as an answer depends on it.
#[derive(Clone, PartialEq, Eq)]
pub struct ChatQuestion {
    /// The text of the last message.
    pub prompt: String,
    /// A digest of all else that matters: the model, the messages before, instructions, tools. Equal for requests that
    /// differ in their prompt only; of this process, and of nobody's making.
    pub context: u64,
    /// The model that was asked for.
    pub model: String,
    /// The most tokens that the answer may have, if the caller has said.
    pub max_tokens: Option<u64>,
    /// Whether a stream was asked for.
    pub streams: bool,
    /// Whether the stream is to tell at its end what it used, in a dialect where that has to be asked for.
    pub include_usage: bool,
    /// In which dialect, as the one who read it calls it.
    pub dialect: &'static str,
}

/// The most that a request may ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompletionLimits {
    /// Tokens of the answer.
    pub max_tokens: u64,
    /// The temperature.
    pub temperature: f64,
}

impl fmt::Debug for ChatQuestion {
    /// Without the prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("model", &self.model)
            .field("streams", &self.streams)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}
