//! Continues a broken stream with another model from the text that was already delivered.
//!
//! # When to use it
//!
//! A long streaming response breaks in the middle, after a part of it was delivered. A retry from the start
//! would pay for the whole response twice and deliver a different text. [`StreamContinuation`] sends the
//! delivered text to the next target and joins the two streams into one. Set it with
//! `FallbackLayer::continue_streams`; without it, streams are not continued.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use tidegate_core::{StreamContinuator, StreamSplicer};
//! use tidegate_translate::StreamContinuation;
//!
//! let head = http::Response::builder().header("content-type", "text/event-stream").body(()).unwrap().into_parts().0;
//! let mut splicer = StreamContinuation.splicer(&head).unwrap();
//!
//! let begun = Bytes::from("data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Once \"}}]}\n\ndata: {\"cho");
//! assert!(splicer.push(&begun).unwrap().ends_with(b"\n\n"), "an incomplete event is withheld");
//!
//! let request = br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"A tale."}]}"#;
//! let body = splicer.continuation_request("mistral/mistral-large", request).unwrap();
//! let body = String::from_utf8(body.into()).unwrap();
//! assert!(body.contains(r#"{"content":"Once ","role":"assistant"}"#), "the model goes on from there");
//!
//! splicer.switch_to("mistral/mistral-large");
//! let more = Bytes::from("data: {\"id\":\"b\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"upon\"}}]}\n\n");
//! let rewritten = splicer.push(&more).unwrap();
//! assert!(rewritten.starts_with(b"data: {") && !rewritten.windows(8).any(|bytes| bytes == br#""id":"b""#));
//! ```
//!
//! # What is continued
//!
//! Text, in the dialects of [chat](tidegate_providers::stream::Dialect::Chat) and
//! [Anthropic](tidegate_providers::stream::Dialect::Anthropic). These are not continued:
//!
//! - a tool call: an incomplete call cannot be continued, and a complete one may already have been executed;
//! - a thinking block that has not ended: its signature comes last;
//! - several choices, a refusal, or audio;
//! - a response in a requested format (`response_format`);
//! - a stream that has already reported its stop reason;
//! - more than 1 MiB of text;
//! - a stream with an event that could not be parsed, or with content in an unknown form.
//!
//! # The continuation request
//!
//! Where the model continues a prefilled assistant message exactly (Claude up to 4.5, without thinking), the
//! delivered text becomes that message. All other models get the delivered text as an assistant message,
//! followed by a user message with the instruction to continue. This usually works, but a model may repeat
//! some text or comment on the interruption. The token limit is lowered by what was delivered.
//!
//! # The joined stream
//!
//! The caller receives one stream with one start. The preamble of the second stream is omitted. Its reasoning
//! is omitted as well, because the caller has already received the reasoning of the first model. `id`,
//! `created`, `model` and the block indexes are those of the first stream. The continuation is marked with a
//! comment line `: continued by provider/model` and with `x_tidegate.continued_by` in the first event that
//! follows. The usage at the end is that of the last model only; its prompt includes the delivered text.
//!
//! A second stream in another dialect, or with an event larger than 256 KiB, cannot be joined to the first.
//! It is abandoned like a stream that breaks.
//!
//! # Common mistakes
//!
//! - Expecting one consistent style. The style of the text may change where the second model takes over.

mod anthropic;
mod chat;
pub(crate) mod delivered;
mod request;
pub(crate) mod splicer;

use http::response::Parts;
use tidegate_core::{StreamContinuator, StreamSplicer};
use tidegate_providers::BodyFormat;

use self::splicer::Splicer;

/// Continues text streams in OpenAI's chat dialect and in Anthropic's dialect; see the [module page](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamContinuation;

impl StreamContinuator for StreamContinuation {
    /// Accepts successful responses with uncompressed server-sent events.
    fn splicer(&self, head: &Parts) -> Option<Box<dyn StreamSplicer>> {
        let is_readable = head.status.is_success() && BodyFormat::of(&head.headers) == BodyFormat::Events;
        is_readable.then(|| Box::new(Splicer::default()) as _)
    }
}
