//! Going on with a broken stream where another model left off.
//!
//! # When
//!
//! A long answer breaks in the middle, and half of it has been read. Asking again from the start would pay for all
//! of it twice and show the reader another text. [`StreamContinuation`] hands the text that was delivered to the
//! next target and makes one stream of the two. It is given to
//! `FallbackLayer::continue_streams`, and is off unless it is.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use tidegate_core::{StreamContinuator, StreamSplicer};
//! use tidegate_providers::continuation::StreamContinuation;
//!
//! let head = http::Response::builder().header("content-type", "text/event-stream").body(()).unwrap().into_parts().0;
//! let mut splice = StreamContinuation.follow(&head).unwrap();
//!
//! let begun = Bytes::from("data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Once \"}}]}\n\ndata: {\"cho");
//! assert!(splice.pass(&begun).unwrap().ends_with(b"\n\n"), "half an event is kept back");
//!
//! let asked = br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"A tale."}]}"#;
//! let body = splice.ask("mistral/mistral-large", asked).unwrap();
//! assert!(body.ends_with(br#"{"content":"Once ","prefix":true,"role":"assistant"}],"model":"m","stream":true}"#));
//!
//! splice.go_on("mistral/mistral-large");
//! let more = Bytes::from("data: {\"id\":\"b\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"upon\"}}]}\n\n");
//! let told = splice.pass(&more).unwrap();
//! assert!(told.starts_with(b"data: {") && !told.windows(8).any(|bytes| bytes == br#""id":"b""#));
//! ```
//!
//! # What is continued
//!
//! Text, in the dialects of [chat](crate::stream::Dialect::Chat) and [Anthropic](crate::stream::Dialect::Anthropic).
//! Never a tool call: half a call cannot be gone on with, and one that was whole may have been acted upon. Nor
//! several choices at once, a refusal, audio, an answer in a form that was asked for (`response_format`), one that has
//! already told why it stopped, more than 1 MiB of text, or a stream with an event that could not be read.
//!
//! # How the rest is asked for
//!
//! The delivered text becomes the beginning of the assistant's message where the model takes one (Mistral's
//! `prefix`; Claude up to 4.5, without thinking), and goes on from there to the letter. All others get it as a
//! message of theirs, and an instruction to go on; that works well and not always: a model may repeat a word or
//! comment on the break. The limit of tokens is lowered by what was delivered.
//!
//! # How it is told
//!
//! One stream with one beginning: the second stream's preamble is left out, and so is its reasoning, of which the
//! reader has seen another's; `id`, `created`, `model` and the numbers of blocks are the first stream's. It is
//! marked: a comment line `: continued by provider/model`, and `x_tidegate.continued_by` in the first event that
//! follows. The usage at the end is the last model's own, and its prompt holds the delivered text.
//!
//! A second stream in another dialect, or with an event larger than 256 KiB, is no part of the first: it is given up
//! like one that breaks.
//!
//! # Mistakes people make
//!
//! - Taking the continuation for the same voice. Where the text turns, so may its style.

mod anthropic;
mod chat;
mod event;
mod request;
mod splice;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;
use tidegate_core::{StreamContinuator, StreamSplicer};

pub(crate) use self::splice::{Follower, Told};

/// Continues text streams in OpenAI's chat dialect and in Anthropic's; see the [module page](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamContinuation;

impl StreamContinuator for StreamContinuation {
    /// Server-sent events that are not compressed.
    fn follow(&self, head: &Parts) -> Option<Box<dyn StreamSplicer>> {
        let value = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let media = value(CONTENT_TYPE)?.split(';').next()?.trim();
        let is_plain = value(CONTENT_ENCODING).is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
        let is_readable =
            head.status.is_success() && is_plain && media.eq_ignore_ascii_case("text/event-stream");
        is_readable.then(|| Box::new(Follower::default()) as _)
    }
}
