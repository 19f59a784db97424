use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tidegate::ErrorCode;

use crate::error_format::responses_code;

/// The part of a Responses stream that its last event depends on: the number of the last event, and the
/// response object.
#[derive(Debug, Default)]
pub(super) struct ResponsesProgress {
    /// The `sequence_number` of the next event.
    next_number: u64,
    /// The object of the first event, without its output.
    response: Map<String, Value>,
    /// Whether the last event is one that ends the response.
    has_ended: bool,
}

/// The largest response object that is kept, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// The fields of an event that are read.
#[derive(Deserialize)]
struct EventFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    sequence_number: Option<u64>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

/// The types of the event that ends a stream which has not failed. Some servers end it with the last one.
const COMPLETE: [&str; 3] = ["response.completed", "response.incomplete", "response.done"];

/// Whether an event ends a stream as if it had not failed.
pub(super) fn is_complete(event: &[u8]) -> bool {
    let names_end = |text: &[u8]| COMPLETE.iter().any(|kind| text.trim_ascii() == kind.as_bytes());
    event.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| match line.strip_prefix(b"data:") {
        Some(data) => serde_json::from_slice::<EventFields<'_>>(data)
            .is_ok_and(|event| event.kind.is_some_and(|kind| names_end(kind.as_bytes()))),
        None => line.strip_prefix(b"event:").is_some_and(names_end),
    })
}

impl ResponsesProgress {
    /// Reads whole lines of the stream.
    pub(super) fn observe(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| matches!(byte, b'\n' | b'\r')) {
            if let Some(data) = line.strip_prefix(b"data:") {
                self.observe_event(data);
            }
        }
    }

    fn observe_event(&mut self, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<EventFields<'_>>(data) else {
            // Part of an event that is too large to be buffered. It has a number nevertheless.
            self.next_number = self.next_number.saturating_add(1);
            return;
        };
        self.next_number = event.sequence_number.unwrap_or(self.next_number).saturating_add(1);
        self.has_ended =
            event.kind.is_some_and(|kind| kind == "response.failed" || COMPLETE.contains(&&*kind));
        let response = event.response.map(RawValue::get).filter(|text| text.len() <= MAX_RESPONSE);
        if let (true, Some(text)) = (self.response.is_empty(), response) {
            self.response = serde_json::from_str(text).unwrap_or_default();
            self.response.remove("output");
        }
    }

    /// The event that ends a stream that broke off.
    ///
    /// It has the fields of the documented event at its top level, and the same as an object `error`: the
    /// official clients raise an exception for an event with that object, and for no other.
    pub(super) fn error_event(&mut self, error: &Value, code: ErrorCode) -> String {
        let mut event = error.clone();
        event["type"] = "error".into();
        event["code"] = code.code().into();
        event["sequence_number"] = self.next_number.into();
        event["error"] = error.clone();
        self.next_number = self.next_number.saturating_add(1);
        self.has_ended = true;
        format!("event: error\ndata: {event}\n\n")
    }

    /// The event of a failed response. `None` if the response has ended already.
    pub(super) fn failed_event(&mut self, code: ErrorCode, message: &str) -> Option<String> {
        if std::mem::replace(&mut self.has_ended, true) {
            return None;
        }
        let mut response = std::mem::take(&mut self.response);
        response.insert("object".to_owned(), "response".into());
        response.insert("status".to_owned(), "failed".into());
        response.insert("error".to_owned(), json!({"code": responses_code(code), "message": message}));
        response.insert("output".to_owned(), json!([]));
        let event = json!({
            "type": "response.failed", "sequence_number": self.next_number, "response": response,
        });
        Some(format!("event: response.failed\ndata: {event}\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\
                           \"response\":{\"id\":\"resp_7\",\"model\":\"m\",\"status\":\"in_progress\",\"output\":[{}]}}\n\n";

    fn events(text: &str) -> Vec<Value> {
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    #[test]
    fn an_error_event_continues_the_numbers_and_ends_the_response() {
        let mut progress = ResponsesProgress::default();
        progress.observe(CREATED.as_bytes());
        progress.observe(b"data: {\"type\":\"response.output_text.delta\",\"sequence_number\":41,\"delta\":\"\\\"sequence_number\\\":9\"}\n\n");
        let error = json!({"type": "server_error", "code": null, "message": "why"});
        let text = progress.error_event(&error, ErrorCode::ServerError);
        assert_eq!(
            events(&text),
            [
                json!({"type": "error", "code": "E3001", "message": "why", "sequence_number": 42, "error": error})
            ]
        );
        assert_eq!(progress.failed_event(ErrorCode::ServerError, "why"), None);
    }

    #[test]
    fn a_failed_response_continues_the_numbers_and_has_the_id_of_the_response() {
        let mut progress = ResponsesProgress::default();
        progress.observe(CREATED.as_bytes());
        progress.observe(b"data: {\"type\":\"error\",\"sequence_number\":41,\"message\":\"busy\"}\n\n");
        let text = progress.failed_event(ErrorCode::ServerError, "why").unwrap();
        assert_eq!(
            events(&text),
            [json!({"type": "response.failed", "sequence_number": 42, "response": {
                "id": "resp_7", "model": "m", "object": "response", "status": "failed", "output": [],
                "error": {"code": "server_error", "message": "why"},
            }})]
        );
    }

    #[test]
    fn a_response_that_has_ended_is_not_ended_again() {
        for kind in COMPLETE.into_iter().chain(["response.failed"]) {
            let mut progress = ResponsesProgress::default();
            progress.observe(format!("data: {{\"type\":\"{kind}\",\"sequence_number\":3}}\n\n").as_bytes());
            assert_eq!(progress.failed_event(ErrorCode::ServerError, "why"), None, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn numbers_increase_after_any_bytes(lines in prop::collection::vec(any::<u8>(), 0..200), number in any::<u64>()) {
            let mut progress = ResponsesProgress::default();
            progress.observe(format!("data: {{\"sequence_number\":{number}}}\n").as_bytes());
            progress.observe(&[b"data:", &lines[..], b"\n"].concat());
            let text = progress.failed_event(ErrorCode::Timeout, "why").unwrap_or_default();
            for event in events(&text) {
                prop_assert!(event["sequence_number"].as_u64().unwrap() >= number);
            }
        }
    }
}
