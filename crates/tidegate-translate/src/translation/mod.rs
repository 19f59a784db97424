//! Translation between OpenAI's chat completions and Anthropic's messages.
//!
//! # When to use it
//!
//! The requests of a fallback chain are in the caller's dialect. Nearly all providers accept that dialect at
//! some URL; for these, nothing needs to be translated, and nothing should be. [`ChatToMessages`] and
//! [`MessagesToChat`] are for a target that is called at its native API. Pass them to `TranslateLayer`.
//!
//! # Example
//!
//! ```
//! use tidegate_core::{BodyMode, Translator};
//! use tidegate_translate::ChatToMessages;
//!
//! let mut head = http::Request::new(()).into_parts().0;
//! let chat = br#"{"model":"any","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Ebb?"}]}"#;
//! let mut translation = ChatToMessages::new("anthropic/claude-sonnet-4-5").request(&mut head, chat).unwrap();
//! let body: serde_json::Value = serde_json::from_slice(&translation.body).unwrap();
//! assert_eq!((&body["system"][0]["text"], &body["max_tokens"]), (&"Be brief.".into(), &4096.into()));
//!
//! let message = br#"{"id":"msg_1","model":"claude","content":[{"type":"text","text":"At six."}],"stop_reason":"end_turn"}"#;
//! let completion = translation.response.whole(http::StatusCode::OK, message).unwrap();
//! let completion: serde_json::Value = serde_json::from_slice(&completion).unwrap();
//! assert_eq!(completion["choices"][0]["message"]["content"], "At six.");
//! ```
//!
//! # What is translated
//!
//! | chat | messages | |
//! |--|--|--|
//! | `system`, `developer` messages | `system` | collected from all positions; after a final assistant message they become a user message; back: the leading blocks are one message, without the `x-anthropic-billing-header` line of Claude Code, and later ones are the user's unless the target is known to accept them |
//! | text, `image_url` (URL, data URL), PDF `file` | `text`, `image`, `document` | blank text is dropped, in responses as well; back: the title of a document of text becomes its heading |
//! | consecutive messages of one role | one message | back: unchanged, but the texts of a message are joined, and the assistant's messages after calls become one with them |
//! | `tool_calls` of an assistant | `tool_use` | ids are kept where the target accepts them; the text of arguments is unchanged; in responses, ids of fewer than 20 characters are prefixed with the response id |
//! | `tool` messages | `tool_result`s, first in the turn | back: one message each, first in the turn; their images go into a user message after all of them; for Mistral, the text after them is added to the last one |
//! | `tools`, `parameters`, `strict` | `tools`, `input_schema`, `strict` | schemas are adapted at every depth, and `strict` is sent only where the target accepts it; names that the target rejects are shortened, and restored in the response; tools that were called but not declared are declared, with `tool_choice` none |
//! | `tool_choice` auto, none, required, one | auto, none, any, tool | back: with a required call, DeepSeek, Kimi and MiMo do not think |
//! | `parallel_tool_calls: false` | `disable_parallel_tool_use` | back: dropped for OpenAI's o-series, which calls one tool at a time |
//! | `max_completion_tokens`, `max_tokens` | `max_tokens` | [4096](ChatToMessages::DEFAULT_MAX_TOKENS) and up to 32768 for thinking when absent; capped at the model's maximum |
//! | `stop` | `stop_sequences` | Anthropic: more than white space; chat: at most four; for a reasoning model that rejects them, the text of the response is cut before the first |
//! | `temperature`, `top_p`, `top_k` | the same; `top_k` is dropped for a chat | Anthropic: 0 to 1; dropped where the model does not accept them |
//! | `stream`, `model` | the same | |
//! | `safety_identifier`, `user` | `metadata.user_id` | dropped if it is too long or contains personal data |
//! | `stream_options.include_usage` | | Anthropic always reports usage; from a chat it is requested, except from Mistral, which reports it unrequested |
//! | `response_format` with a schema | `output_config.format` | Anthropic: closed, and limits are moved into descriptions |
//! | `response_format: json_object` | an instruction | a response that is not streamed has to be a JSON object, or is a failure |
//! | `reasoning_effort` | `thinking`, `output_config.effort` | in the form that the target's model accepts, else dropped |
//! | `finish_reason` stop, length, tool_calls, content_filter | end_turn, max_tokens, tool_use, refusal | |
//! | `prompt_tokens`, of which `cached_tokens` | `input_tokens` + cache tokens | |
//! | `reasoning_content` | `thinking` blocks | in responses; in requests, thinking without a signature is sent back to DeepSeek, Kimi and MiMo, which do not think where it is missing; all else is dropped, because thinking is signed |
//! | `cache_control` | the same | of messages, their parts, and tools; the last four; back: dropped |
//! | a comment | `ping` | |
//! | error `type` and `code` | error `type` | by the meaning of the error; status and message are kept |
//!
//! # Rejections
//!
//! A field that cannot be translated without a change of meaning is an [`Untranslatable`] error that names
//! the field:
//!
//! - from a chat: `n` above 1, `logprobs`, `logit_bias`, penalties, audio, `web_search_options`,
//!   response formats other than JSON, schemas that cannot be enforced, the old `functions`, and the
//!   provider's own tools and files;
//! - from messages: `thread`, `container`, `mcp_servers`, server tools, and documents in tool results or with
//!   `citations`.
//!
//! A request that the target would reject, although the caller's provider may accept it, is an error as
//! well: no user message, a call without its result, a prefill for a Claude from 4.6 on or for OpenAI, a
//! required tool call for a Claude from 5.1 on or for Kimi from K2.7 on, more than 128 tools for OpenAI and any
//! for GPT-6 Astra, a response schema or a file for DeepSeek, and for Anthropic parameters with unusual names
//! and images that are not at an https URL.
//!
//! Fields that are only advisory or for records (`seed`, `store`, `metadata`, `service_tier`, `verbosity`,
//! `cache_control` for a chat, `is_error`, `top_k`, names of participants) are dropped, and so is what a response
//! left in the history beside its text (`annotations`, LiteLLM's `provider_specific_fields`, Anthropic's `fallback`
//! blocks, with the calls before them). They are listed one by one; any
//! other field is rejected by name, in every object of a request, because nothing is known about its effect.
//!
//! # Streams
//!
//! Streams are translated event by event; the result does not depend on how the bytes are split into chunks.
//! An error event is the last one. An event above the response cap of the layer breaks the stream, since a
//! part of it would be worse than nothing; more than 1024 tool calls break it as well. Content blocks of
//! messages come one after the other: what belongs to a later one waits until those before have ended. A
//! character that is split over two events is put together. Where the target rejects stop sequences, text that
//! may begin one is held back, and content after one is ignored, while the usage and the end are still the
//! target's. The end of the stream is written once if the
//! original stream was complete, and not at all if it was truncated.
//!
//! # Responses in unusual forms
//!
//! All content is translated, or the response is a failure: hosts differ in where they place it, and a lost
//! call or an empty response would count as a success. Found are the older forms (`function_call`, `text`), a
//! `message` within a stream, a `delta` outside of one, calls whose fields are not in `function`, blocks and
//! deltas without a type, arguments as an object or a string of one, and calls in other choices than the text,
//! since no request asks for several; of several texts one is translated. A failure is content in any other
//! form, an image without text or a call for a caller of messages, a call without a name or with arguments that
//! are not an object, and a stop reason of calls without a call. Of arguments that are streamed only the brackets
//! are checked, since they are delivered as they come. A call whose arguments were cut off, as the stop reason explains, is delivered as far as it came in
//! a stream, and dropped from a response that is not streamed. An event that can neither be parsed nor
//! contains content is dropped.
//!
//! The pieces of a call are recognized by its id and its index, then by its index, then by the order. A call
//! without arguments (empty, `{}`, `null`) is delivered at the end of the stream, because some hosts send
//! such a placeholder before the arguments; so is a call whose name comes after its arguments.
//!
//! # Common mistakes
//!
//! - Translating for a provider that offers OpenAI's dialect itself at another URL.
//! - Delivering the reasoning of one provider to a caller that sends it to another provider: see
//!   [`omit_reasoning`](MessagesToChat::omit_reasoning).
//! - Expecting prompt caching and signed thinking to survive a change of provider: they are valid for one
//!   provider only.

mod block_queue;
mod call_arguments;
mod call_ids;
mod call_pieces;
mod chat;
mod chat_content;
mod chat_events;
mod chat_response;
mod content;
mod encode_events;
mod error;
mod exact_arguments;
mod fields;
mod messages;
mod messages_events;
mod messages_response;
mod open_calls;
mod repair;
mod response;
mod schema;
mod shape;
mod split_surrogates;
mod stop_reason;
mod stop_sequences;
mod text_digest;
mod to_chat;
mod to_messages;
mod tool_names;
mod usage;

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use tidegate_core::{Translation, Translator, Untranslatable};
use tidegate_providers::Provider;

use self::chat_events::ChatEvents;
use self::messages_events::MessagesEvents;
use self::response::{ResponseConverter, ResponseEncoder};

/// Translates chat completion requests into Anthropic's messages, and the responses back; see the [module
/// page](self).
#[derive(Clone, Debug)]
pub struct ChatToMessages {
    target: Box<str>,
    default_max_tokens: u64,
}

/// Translates Anthropic's messages requests into chat completions, and the responses back; see the [module
/// page](self).
#[derive(Clone, Debug)]
pub struct MessagesToChat {
    target: Box<str>,
    omits_reasoning: bool,
}

impl ChatToMessages {
    /// The token limit for requests without one: the maximum that every model since Claude 3 supports. For a
    /// model that thinks, up to 32768 tokens are added for its thinking.
    ///
    /// Chat completions need no limit, but messages do. A higher limit than needed has a cost: Anthropic
    /// counts it against the limit of output tokens per minute until the response has ended.
    pub const DEFAULT_MAX_TOKENS: u64 = 4096;

    /// Creates a translator for requests to `target` (`provider/model`). The model determines how thinking is
    /// requested.
    #[must_use]
    pub fn new(target: &str) -> Self {
        Self { target: target.into(), default_max_tokens: Self::DEFAULT_MAX_TOKENS }
    }

    /// The token limit for requests without one; [4096](Self::DEFAULT_MAX_TOKENS) by default. At least 1. It
    /// is capped at the maximum of the model, if known.
    #[must_use]
    pub fn default_max_tokens(self, tokens: u64) -> Self {
        Self { default_max_tokens: tokens.max(1), ..self }
    }
}

impl MessagesToChat {
    /// Creates a translator for requests to `target` (`provider/model`). The target determines the name of
    /// the token limit field and whether `reasoning_effort` is sent.
    #[must_use]
    pub fn new(target: &str) -> Self {
        Self { target: target.into(), omits_reasoning: false }
    }

    /// Omits the model's reasoning from responses; streams carry pings instead. Off by default.
    ///
    /// This is for a chain that also calls Anthropic natively: the caller sends thinking back with its next
    /// request, and Anthropic rejects thinking that it has not signed. DeepSeek, Kimi and MiMo, which need
    /// their reasoning back, do not think after the first call of a turn; Kimi from K2.7 on, which always thinks,
    /// receives blank reasoning.
    #[must_use]
    pub fn omit_reasoning(self, omit: bool) -> Self {
        Self { omits_reasoning: omit, ..self }
    }
}

impl Translator for ChatToMessages {
    fn request(&self, head: &mut Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        let request = to_messages::request(body, &self.target, self.default_max_tokens)?;
        shape::check_chat(body)?;
        strip_dialect_headers("openai-", &mut head.headers);
        let version = HeaderName::from_static("anthropic-version");
        head.headers.entry(version).or_insert(HeaderValue::from_static("2023-06-01"));
        let provider = Provider::named(&self.target);
        let encoder = ResponseEncoder::Chat(ChatEvents::new(
            request.wants_usage,
            request.wants_json,
            request.tool_names,
            // Some servers with the dialect omit it.
            provider != Provider::Other,
        ));
        Ok(Translation { body: request.body, response: Box::new(ResponseConverter::new(encoder, provider)) })
    }
}

impl Translator for MessagesToChat {
    fn request(&self, head: &mut Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        let request = to_chat::request(body, &self.target)?;
        shape::check_messages(body)?;
        strip_dialect_headers("anthropic-", &mut head.headers);
        let provider = Provider::named(&self.target);
        let events = MessagesEvents::new(
            provider.sends_done(),
            self.omits_reasoning,
            request.tool_names,
            request.stops,
        );
        let response = Box::new(ResponseConverter::new(ResponseEncoder::Messages(events), provider));
        Ok(Translation { body: request.body, response })
    }
}

/// Removes the headers of the caller's dialect and requests an uncompressed response.
fn strip_dialect_headers(prefix: &str, headers: &mut HeaderMap) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}
