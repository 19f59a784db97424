//! Responses without a provider: reads the question of a request, records the text of a response, and builds
//! a response from a text.
//!
//! # When to use it
//!
//! When all providers are unavailable, a cached response or a static text is better than an error. The last
//! resorts of a fallback chain use [`Composer`] and contain no dialect code themselves.
//!
//! # Example
//!
//! ```
//! use std::time::SystemTime;
//! use http::Request;
//! use tidegate_core::AnswerSynthesizer;
//! use tidegate_translate::Composer;
//!
//! let head = Request::post("/v1/chat/completions").body(()).unwrap().into_parts().0;
//! let body = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"When is low tide?"}]}"#;
//! let question = Composer.question(&head, body).unwrap();
//! assert_eq!((&*question.prompt, &*question.model), ("When is low tide?", "gpt-4o"));
//!
//! let answer = Composer.synthesize(&question, "At six.", SystemTime::UNIX_EPOCH);
//! let answer: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
//! assert_eq!(answer["choices"][0]["message"]["content"], "At six.");
//! ```
//!
//! # Dialects
//!
//! OpenAI's chat completions (a path that ends in `/chat/completions`) and Anthropic's messages
//! (`/messages`), plain and streamed. A request is not read as a question if its last message is not the
//! user's or holds more than text: a text from elsewhere cannot answer a tool result or an image. A request
//! for several choices is not read either.
//!
//! A composed response reports zero usage, since no model was called. The zeros stand where the dialect
//! reports usage; in a chat stream only if `stream_options.include_usage` is set. A response that ended in an
//! error, or after one, is not recorded.
//!
//! # Simplified requests
//!
//! [`rewrite_request`](AnswerSynthesizer::rewrite_request) also changes the fields that prevent a short
//! response. `thinking` is removed, because a budget above the token limit is rejected, or disabled for a Claude
//! that thinks without the field; `context_management` is removed with it. `reasoning_effort`, or the effort in
//! `output_config`, is lowered. The token limit is set in the
//! field that the model accepts. A reasoning model may still use up a small limit before it generates any
//! text.
//!
//! # Common mistakes
//!
//! - Using the prompt alone as the cache key. "And in French?" has a different answer in each conversation.

mod answer;
mod question;
mod recorder;
mod rewrite;

use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, request, response};
use tidegate_core::{AnswerRecorder, AnswerSynthesizer, ChatQuestion, CompletionLimits};

/// Reads and writes OpenAI's chat dialect and Anthropic's messages dialect; see the [module page](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Composer;

impl AnswerSynthesizer for Composer {
    fn question(&self, head: &request::Parts, body: &[u8]) -> Option<ChatQuestion> {
        question::read(head.uri.path(), body)
    }

    fn recorder(&self, head: &response::Parts) -> Option<Box<dyn AnswerRecorder>> {
        recorder::for_response(head)
    }

    fn synthesize(&self, question: &ChatQuestion, text: &str, now: SystemTime) -> Response<Bytes> {
        answer::write(question, text, now)
    }

    fn rewrite_request(&self, body: &[u8], prompt: Option<&str>, bounds: CompletionLimits) -> Option<Bytes> {
        rewrite::write(body, prompt, bounds)
    }
}
