//! Asking in one dialect who speaks another: OpenAI's chat completions and Anthropic's messages.
//!
//! # When
//!
//! A chain of targets is asked in the caller's dialect. Where a target speaks it at some URL, as nearly all do, nothing
//! needs to be translated, and nothing should. [`ChatToMessages`] and [`MessagesToChat`] are for a target that is
//! asked natively. They are given to `TranslateLayer`.
//!
//! # Example
//!
//! ```
//! use tidegate_core::{BodyMode, Translator};
//! use tidegate_providers::translate::ChatToMessages;
//!
//! let mut head = http::Request::new(()).into_parts().0;
//! let asked = br#"{"model":"any","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Ebb?"}]}"#;
//! let mut told = ChatToMessages::new("anthropic/claude-sonnet-4-5").request(&mut head, asked).unwrap();
//! let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
//! assert_eq!((&body["system"][0]["text"], &body["max_tokens"]), (&"Be brief.".into(), &4096.into()));
//!
//! let answer = br#"{"id":"msg_1","model":"claude","content":[{"type":"text","text":"At six."}],"stop_reason":"end_turn"}"#;
//! let answer = told.answer.whole(http::StatusCode::OK, answer).unwrap();
//! let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
//! assert_eq!(answer["choices"][0]["message"]["content"], "At six.");
//! ```
//!
//! # What becomes what
//!
//! | chat | messages | |
//! |--|--|--|
//! | `system`, `developer` messages | `system` | all of them, wherever they stood; the user's after the assistant's last word; back: one for each block |
//! | text, `image_url` (URL, data URL), PDF `file` | `text`, `image`, `document` | blank text is left out |
//! | messages of one role, one after the other | one message | back: each its own |
//! | `tool_calls` of an assistant | `tool_use` | ids are kept where they can be, and the text of arguments is; of answers: ids of less than 20 characters are told with that of the answer |
//! | `tool` messages | `tool_result`s, before all else in the turn | back: a message each, first of all; images in them are the user's, after all of them |
//! | `tools`, `parameters`, `strict` | `tools`, `input_schema`, `strict` | schemas as they were written; tools that were called and not declared are, and not to be called |
//! | `tool_choice` auto, none, required, one | auto, none, any, tool | |
//! | `parallel_tool_calls: false` | `disable_parallel_tool_use` | |
//! | `max_completion_tokens`, `max_tokens` | `max_tokens` | [4096](ChatToMessages::DEFAULT_MAX_TOKENS) when absent, and what the model can at most |
//! | `stop` | `stop_sequences` | more than white space there, four at most here |
//! | `temperature`, `top_p` | the same | 0 to 1 there, and what of them the model takes |
//! | `stream`, `model` | the same | |
//! | `safety_identifier`, `user` | `metadata.user_id` | where it is short and says nothing of who it is |
//! | `stream_options.include_usage` | | messages always tell their usage; it is asked for of a chat, but of Mistral's, which tells it unasked |
//! | `response_format` with a schema | `output_config.format` | |
//! | `reasoning_effort` | `thinking`, `output_config.effort` | as the model of the target takes it, else left out |
//! | `finish_reason` stop, length, tool_calls, content_filter | end_turn, max_tokens, tool_use, refusal | |
//! | `prompt_tokens`, of which `cached_tokens` | `input_tokens` + cache tokens | |
//! | `reasoning_content` | `thinking` blocks | of answers; in requests they are left out, being signed |
//! | a comment | `ping` | |
//! | error `type` and `code` | error `type` | by what the error means; status and message are kept |
//!
//! # When it says no
//!
//! What would change its meaning is an [`Untranslatable`] that names the field: `n` above
//! 1, `logprobs`, `logit_bias`, penalties, audio, `web_search_options`, `response_format` without a schema, old
//! `functions`, tools and files of the provider's own; on the other side `top_k`, `container`, `mcp_servers`, server
//! tools, documents in tool results or with `citations`. So is what the target would refuse, and the caller's provider may take: no question,
//! a call without its result, the beginning of an answer for a Claude from 4.6 on or for OpenAI, stops for a model that reasons.
//! What only advises or keeps records (`seed`, `store`, `metadata`, `service_tier`, `verbosity`,
//! `cache_control`, `is_error`, names of speakers) is left out, and so is what nobody knows.
//!
//! # Streams
//!
//! Event by event, and the same however the bytes are cut. An event that cannot be read is left out, an error event is
//! the last, and an event above 256 KiB breaks the stream: half of it would be worse than none. So do more than 1024 calls
//! of tools. Of several choices the first is told. A stream ends once if it did, and not at all if it was cut.
//!
//! # Mistakes people make
//!
//! - Translating for OpenAI's dialect what the provider speaks itself at another URL.
//! - Telling the thoughts of one provider to a caller who will send them to another: see
//!   [`omit_reasoning`](MessagesToChat::omit_reasoning).
//! - Expecting prompt caching and signed thoughts to survive: they belong to one provider.

mod chat;
mod chat_answer;
mod chat_events;
mod error;
mod fields;
mod ids;
mod mend;
mod messages;
mod messages_answer;
mod messages_events;
mod reply;
mod to_chat;
mod to_messages;
mod words;

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use tidegate_core::{Translation, Translator, Untranslatable};

use self::chat_events::ChatEvents;
use self::messages_events::MessagesEvents;
use self::reply::{Reply, Tongue};
use crate::Provider;

/// Asks in Anthropic's messages what came as a chat completion; see the [module page](self).
#[derive(Clone, Debug)]
pub struct ChatToMessages {
    target: Box<str>,
    default_max_tokens: u64,
}

/// Asks for a chat completion what came as Anthropic's messages; see the [module page](self).
#[derive(Clone, Debug)]
pub struct MessagesToChat {
    target: Box<str>,
    keeps_thoughts: bool,
}

impl ChatToMessages {
    /// The limit of tokens where the caller names none: what every model since Claude 3 can say. Chat needs no limit,
    /// and messages do. More than is needed has its price: Anthropic counts it against the limit of output tokens a
    /// minute until the answer has ended.
    pub const DEFAULT_MAX_TOKENS: u64 = 4096;

    /// For requests to `target` (`provider/model`), which settles how its model is told to think.
    #[must_use]
    pub fn new(target: &str) -> Self {
        Self { target: target.into(), default_max_tokens: Self::DEFAULT_MAX_TOKENS }
    }

    /// The limit of tokens where the caller names none; [4096](Self::DEFAULT_MAX_TOKENS) by default. Of a model that
    /// is known to say less, what it can. At least 1.
    #[must_use]
    pub fn default_max_tokens(self, tokens: u64) -> Self {
        Self { default_max_tokens: tokens.max(1), ..self }
    }
}

impl MessagesToChat {
    /// For requests to `target` (`provider/model`), which settles how the limit of tokens is called and whether its
    /// model takes a `reasoning_effort`.
    #[must_use]
    pub fn new(target: &str) -> Self {
        Self { target: target.into(), keeps_thoughts: false }
    }

    /// Tells the caller nothing of what the model thought, and pings instead. Off by default.
    ///
    /// For a chain in which Anthropic is asked natively as well: the caller sends thoughts back with its next question,
    /// and Anthropic refuses those that it has not signed.
    #[must_use]
    pub fn omit_reasoning(self, keep: bool) -> Self {
        Self { keeps_thoughts: keep, ..self }
    }
}

impl Translator for ChatToMessages {
    fn request(&self, head: &mut Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        let asked = to_messages::request(body, &self.target, self.default_max_tokens)?;
        leave("openai-", &mut head.headers);
        let version = HeaderName::from_static("anthropic-version");
        head.headers.entry(version).or_insert(HeaderValue::from_static("2023-06-01"));
        let tongue = Tongue::Chat(ChatEvents::new(asked.wants_usage));
        Ok(Translation {
            body: asked.body,
            answer: Box::new(Reply::new(tongue, Provider::named(&self.target))),
        })
    }
}

impl Translator for MessagesToChat {
    fn request(&self, head: &mut Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        let body = to_chat::request(body, &self.target)?;
        leave("anthropic-", &mut head.headers);
        let provider = Provider::named(&self.target);
        let tongue = Tongue::Messages(MessagesEvents::new(provider.sends_done(), self.keeps_thoughts));
        Ok(Translation { body, answer: Box::new(Reply::new(tongue, provider)) })
    }
}

/// Drops what was said to a provider of the other dialect, and asks for bytes that can be read.
fn leave(prefix: &str, headers: &mut HeaderMap) {
    let foreign: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}
