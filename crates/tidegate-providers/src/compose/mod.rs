//! Answers without a provider: what a request asks, what an answer says, and a text as an answer to it.
//!
//! # When
//!
//! All providers are down, and an answer that was given before, or a kind word, is better than an error. The last
//! resorts of a fallback chain ask here, and know no dialect themselves.
//!
//! # Example
//!
//! ```
//! use std::time::SystemTime;
//! use http::Request;
//! use tidegate_core::AnswerSynthesizer;
//! use tidegate_providers::compose::Composer;
//!
//! let head = Request::post("/v1/chat/completions").body(()).unwrap().into_parts().0;
//! let body = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"Who are you?"}]}"#;
//! let question = Composer.question(&head, body).unwrap();
//! assert_eq!((&*question.prompt, &*question.model), ("Who are you?", "gpt-4o"));
//!
//! let answer = Composer.answer(&question, "Nobody just now.", SystemTime::UNIX_EPOCH);
//! let said: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
//! assert_eq!(said["choices"][0]["message"]["content"], "Nobody just now.");
//! ```
//!
//! # Dialects
//!
//! OpenAI's chat completions (a path that ends in `/chat/completions`) and Anthropic's messages (`/messages`), plain and
//! streamed. A request whose last message is not the user's, or is more than text, is not understood: a tool's
//! result or a picture is nothing that a text from elsewhere could answer. Nor is one that asks for several choices.
//!
//! A composed answer tells that nothing was used, since no model was asked: zeros where its dialect tells the usage, in a
//! chat stream only if `stream_options.include_usage` asks for it. An answer that ended in an error, or after one, is not
//! written down.
//!
//! # Requests made simpler
//!
//! [`rephrase`](AnswerSynthesizer::rephrase) changes what is in the way of a short answer as well: `thinking` goes, and
//! `context_management` with it, since a budget above the limit is refused; a `reasoning_effort` is lowered; the limit of
//! tokens is set by the name that the model takes. A model that reasons may still come to no word within a few tokens.
//!
//! # Mistakes people make
//!
//! - Taking the prompt alone for the question. "And in French?" has as many answers as there are conversations.

mod answer;
mod question;
mod rephrase;
mod transcript;

use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, request, response};
use tidegate_core::{AnswerRecorder, AnswerSynthesizer, ChatQuestion, CompletionLimits};

/// Understands and composes in OpenAI's chat dialect and in Anthropic's; see the [module page](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Composer;

/// As [`ChatQuestion::dialect`] has it.
const CHAT: &str = "chat";
const MESSAGES: &str = "messages";

impl AnswerSynthesizer for Composer {
    fn question(&self, head: &request::Parts, body: &[u8]) -> Option<ChatQuestion> {
        question::read(head.uri.path(), body)
    }

    fn transcribe(&self, head: &response::Parts) -> Option<Box<dyn AnswerRecorder>> {
        transcript::of(head)
    }

    fn answer(&self, question: &ChatQuestion, text: &str, now: SystemTime) -> Response<Bytes> {
        answer::write(question, text, now)
    }

    fn rephrase(&self, body: &[u8], prompt: Option<&str>, bounds: CompletionLimits) -> Option<Bytes> {
        rephrase::write(body, prompt, bounds)
    }
}
