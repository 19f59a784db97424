//! Scanning of streamed responses: first token, end, stop reason and usage.
//!
//! # When to use it
//!
//! The head of a stream has status 200 before the model has generated anything. Whether a token follows,
//! whether the last token was received, and how many tokens were used is in the events. An error may follow
//! `response.created`, and a connection that breaks looks like one that is closed. Layers observe a stream
//! through [`Scan`](tidegate_core::Scan), which [`Scanner`] implements.
//!
//! # Example
//!
//! ```
//! use tidegate_core::{Scan, StopReason};
//! use tidegate_providers::Provider;
//! use tidegate_providers::stream::Scanner;
//!
//! let mut scanner = Scanner::sse(Provider::OpenAi);
//! scanner.push(b"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n");
//! assert!(!scanner.state().has_started);
//!
//! let progress = scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"cho");
//! assert!(scanner.state().has_started);
//! assert_eq!((progress.events, progress.tokens), (1, 1));
//!
//! scanner.push(b"ices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
//! assert_eq!(scanner.state().stop, Some(StopReason::Natural));
//! assert!(!scanner.state().has_finished);
//!
//! scanner.push(b"data: [DONE]\n\n");
//! assert!(scanner.state().has_finished);
//! ```
//!
//! # Dialects
//!
//! | dialect | content | end | usage |
//! |--|--|--|--|
//! | [`Chat`](Dialect::Chat) | a delta with text, reasoning, a refusal or a tool call | `[DONE]` | any chunk, or its choice; `x_groq` |
//! | [`Responses`](Dialect::Responses) | `*.delta`, the name of a tool | `response.completed`, `.incomplete`, `.done` | the last event |
//! | [`Anthropic`](Dialect::Anthropic) | a delta of text, thinking or JSON, the name of a tool | `message_stop` | `message_start`, `message_delta` |
//! | [`Gemini`](Dialect::Gemini) | a part that is not empty | the end of the body after a `finishReason` | every chunk |
//! | [`Cohere`](Dialect::Cohere) | text, plan, the name and arguments of a tool | `message-end` | the same |
//! | [`Converse`](Dialect::Converse) | text, reasoning, the name and input of a tool | `messageStop` | `metadata`, after it |
//!
//! Roles, empty strings, signatures, pings and comments are not content. The last value reported for each
//! number of the usage wins, even one in an event after the end.
//!
//! The dialect is recognised from the stream, not from the provider: DeepSeek serves Anthropic's dialect at
//! one of its addresses, and OpenAI serves two dialects at one. A stream in an unknown dialect is passed
//! through: all of its data counts as content, and the end of the body is its end. Where a model has to
//! answer, only a field in which some server has its answer is content. The framing follows from the head,
//! except where Google streams a JSON array, which looks like any JSON response until its [first
//! byte](Scanner::json).
//!
//! A bare JSON document with an error, between the events, is an error event: Google ends streams with one. An
//! error in another form than that of the dialect is a failure at any place of the stream. After any other event
//! that resembles an error, such as a sentence, a stream without a stop reason does not end cleanly. A status in
//! a comment of an error event, as DashScope sends it, is that of the error.
//!
//! Events are scanned, not parsed. After the first token, an event that contains only content is recognised
//! by a search for a few keys, in place and without an allocation. Every other event is visited leaf by leaf,
//! and only an error is parsed. Memory is bounded: of an event larger than 256 KiB only the beginning
//! and the end are read.
//!
//! # Common mistakes
//!
//! - Searching the bytes for `"error"` or `[DONE]`. A model that explains this page generates both.
//! - Treating the first event as the first token.
//! - Treating a finish reason as the end, which loses the usage after it.

mod content_template;
mod generated_text;
mod own_dialect;
pub(crate) mod scanner;
pub(crate) mod sse;

pub use self::scanner::Scanner;
pub use self::sse::SseFramer;
pub use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
pub use crate::dialect::{Dialect, DialectGuess};
pub use crate::event::Event;
