//! What a stream of events says: whether it has begun, how it ended, and what it cost.
//!
//! # When
//!
//! The head of a stream says 200 before the model has said a word. Whether there will be one, whether the last
//! one was the last, and what all of them cost, is told by events: an error may come after
//! `response.created`, and a connection that closes early looks like one that closes.
//! [`Scan`](tidegate_core::Scan) is how a layer asks, and [`Scanner`] answers.
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
//! let pulse = scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"cho");
//! assert!(scanner.state().has_started);
//! assert_eq!((pulse.events, pulse.tokens), (1, 1));
//!
//! scanner.push(b"ices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
//! assert_eq!(scanner.state().stop, Some(StopReason::Natural));
//! assert!(!scanner.state().has_finished);
//!
//! scanner.push(b"data: [DONE]\n\n");
//! assert!(scanner.state().has_finished);
//! ```
//!
//! # How it reads
//!
//! | dialect | content | end | usage |
//! |--|--|--|--|
//! | [`Chat`](Dialect::Chat) | a delta with text, reasoning, a refusal or a tool call | `[DONE]` | any chunk; `x_groq` |
//! | [`Responses`](Dialect::Responses) | `*.delta`, the name of a tool | `response.completed`, `.incomplete` | the last event |
//! | [`Anthropic`](Dialect::Anthropic) | a delta of text, thinking or JSON, the name of a tool | `message_stop` | `message_start`, `message_delta` |
//! | [`Gemini`](Dialect::Gemini) | a part that is not empty | the end of the body after a `finishReason` | every chunk |
//! | [`Cohere`](Dialect::Cohere) | text, plan, the name and arguments of a tool | `message-end` | the same |
//! | [`Converse`](Dialect::Converse) | text, reasoning, the name and input of a tool | `messageStop` | `metadata`, after it |
//!
//! Roles, empty texts, signatures, pings and comments are no content. The last usage told wins, number by
//! number, and it is taken even from an event that comes after the end.
//!
//! The dialect is recognised by the stream, not by the provider: DeepSeek speaks Anthropic's at one of its
//! addresses, and OpenAI speaks two at one. A stream in no known dialect is let through: all it carries is
//! content, and its end is its end. Nor does the framing need more than the head, except where Google streams a
//! JSON array, which looks like any answer in JSON until its [first byte](Scanner::json).
//!
//! Events are scanned, not parsed. Once the answer has begun, a plain piece of it is told by a look for a handful of
//! keys, in place and without an allocation; every other event is walked leaf by leaf, and only an error is
//! parsed. Memory is bounded: of an event larger than 256 KiB the beginning is read, as far as it goes.
//!
//! # Mistakes people make
//!
//! - Looking for `"error"` or `[DONE]` in the bytes. A model that explains this page says both.
//! - Taking the first event for the first token.
//! - Taking a finish reason for the end, and losing the usage that comes after it.

mod amazon;
pub(crate) mod anthropic;
mod array;
mod base64;
pub(crate) mod chat;
mod cohere;
mod converse;
mod dialect;
mod event;
mod gemini;
pub(crate) mod fast_path;
pub(crate) mod json_walk;
mod parsed_event;
mod responses;
mod scanner;
mod sse;

pub use dialect::Dialect;
pub(crate) use dialect::DialectGuess;
pub use event::Event;
pub(crate) use event::is_cut;
pub(crate) use parsed_event::{EndSignal, StreamError};
pub use scanner::Scanner;
pub(crate) use scanner::is_whole;
pub use sse::SseFramer;
