use bytes::{Bytes, BytesMut};
use http::response::Parts;
use serde_json::Value;
use tidegate_core::{AnswerRecorder, StopReason};
use tidegate_providers::BodyFormat;
use tidegate_providers::stream::Dialect;

use crate::content_text::text_only;
use crate::continuation::delivered::Delivered;
use crate::continuation::splicer::Splicer;

/// The maximum length of a JSON body. A longer response is not recorded.
const MAX_JSON: usize = 512 * 1024;

pub(super) fn for_response(head: &Parts) -> Option<Box<dyn AnswerRecorder>> {
    match BodyFormat::of(&head.headers) {
        _ if !head.status.is_success() => None,
        BodyFormat::Events => Some(Box::<StreamRecorder>::default()),
        BodyFormat::Json => Some(Box::<JsonRecorder>::default()),
        _ => None,
    }
}

/// Records a response that arrives as server-sent events.
#[derive(Default)]
struct StreamRecorder(Splicer);

impl AnswerRecorder for StreamRecorder {
    fn push(&mut self, bytes: &Bytes) {
        self.0.observe(bytes);
    }

    fn finish(&mut self) -> Option<String> {
        // The last event may lack its terminating empty line and still report a failure.
        self.0.observe(&Bytes::from_static(b"\n\n"));
        let Delivered { text, blocks_continuation, stop, .. } = self.0.delivered()?;
        let is_complete = !*blocks_continuation && *stop == Some(StopReason::Natural) && !text.is_empty();
        is_complete.then(|| std::mem::take(text))
    }
}

/// Records a response that arrives as one JSON body.
#[derive(Default)]
struct JsonRecorder {
    body: BytesMut,
    is_too_long: bool,
}

impl AnswerRecorder for JsonRecorder {
    fn push(&mut self, bytes: &Bytes) {
        self.is_too_long |= self.body.len() + bytes.len() > MAX_JSON;
        if self.is_too_long { self.body = BytesMut::new() } else { self.body.extend_from_slice(bytes) }
    }

    fn finish(&mut self) -> Option<String> {
        let answer: Value = serde_json::from_slice(&self.body).ok()?;
        if !answer["error"].is_null() {
            return None;
        }
        let (text, stop) = match answer["choices"].as_array().map(Vec::as_slice) {
            Some([choice]) => {
                (message(&choice["message"])?, Dialect::Chat.stop_reason(choice["finish_reason"].as_str()?))
            }
            Some(_) => return None,
            None => (
                text_only(&answer["content"]).filter(|_| answer["content"].is_array())?,
                Dialect::Anthropic.stop_reason(answer["stop_reason"].as_str()?),
            ),
        };
        (stop == Some(StopReason::Natural) && !text.is_empty()).then_some(text)
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
