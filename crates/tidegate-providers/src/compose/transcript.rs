use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;
use serde_json::Value;
use tidegate_core::{AnswerRecorder, Stop};

use crate::continuation::{Follower, Told};
use crate::stream::{anthropic, chat};

/// A longer answer is not written down.
const MAX_JSON: usize = 512 * 1024;

pub(super) fn of(head: &Parts) -> Option<Box<dyn AnswerRecorder>> {
    let value = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let is_plain = value(CONTENT_ENCODING).is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
    if !is_plain || !head.status.is_success() {
        return None;
    }
    let media = value(CONTENT_TYPE)?.split(';').next()?.trim();
    if media.eq_ignore_ascii_case("text/event-stream") {
        Some(Box::<OfStream>::default())
    } else if media.eq_ignore_ascii_case("application/json") {
        Some(Box::<OfJson>::default())
    } else {
        None
    }
}

/// Of an answer that comes in events.
#[derive(Default)]
struct OfStream(Follower);

impl AnswerRecorder for OfStream {
    fn push(&mut self, bytes: &Bytes) {
        self.0.hear(bytes);
    }

    fn finish(&mut self) -> Option<String> {
        // The last event may lack its empty line; that it tells of a failure matters all the same.
        self.0.hear(&Bytes::from_static(b"\n\n"));
        let Told { text, is_beyond, stop, .. } = self.0.told()?;
        let is_complete = !*is_beyond && *stop == Some(Stop::Natural) && !text.is_empty();
        is_complete.then(|| std::mem::take(text))
    }
}

/// Of an answer that comes as a whole.
#[derive(Default)]
struct OfJson {
    body: BytesMut,
    is_too_long: bool,
}

impl AnswerRecorder for OfJson {
    fn push(&mut self, bytes: &Bytes) {
        self.is_too_long |= self.body.len() + bytes.len() > MAX_JSON;
        match self.is_too_long {
            true => self.body = BytesMut::new(),
            false => self.body.extend_from_slice(bytes),
        }
    }

    fn finish(&mut self) -> Option<String> {
        let answer: Value = serde_json::from_slice(&self.body).ok()?;
        if !answer["error"].is_null() {
            return None;
        }
        let (text, stop) = match answer["choices"].as_array().map(Vec::as_slice) {
            Some([choice]) => (message(&choice["message"])?, chat::stop(choice["finish_reason"].as_str()?)?),
            Some(_) => return None,
            None => (blocks(&answer["content"])?, anthropic::stop(answer["stop_reason"].as_str()?)),
        };
        (stop == Stop::Natural && !text.is_empty()).then_some(text)
    }
}

fn message(message: &Value) -> Option<String> {
    let is_empty = |name: &str| match &message[name] {
        Value::Null => true,
        Value::Array(calls) => calls.is_empty(),
        _ => false,
    };
    let is_text = ["tool_calls", "function_call", "refusal", "audio"].into_iter().all(is_empty);
    message["content"].as_str().filter(|_| is_text).map(str::to_owned)
}

/// The text of Anthropic's blocks; thinking is not part of it.
fn blocks(content: &Value) -> Option<String> {
    let mut text = String::new();
    for block in content.as_array()? {
        match block["type"].as_str()? {
            "text" => text += block["text"].as_str()?,
            "thinking" | "redacted_thinking" => {}
            _ => return None,
        }
    }
    Some(text)
}
