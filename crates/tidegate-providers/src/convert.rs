//! Converts a complete answer between its two forms: one JSON document, and a stream of events.

use bytes::Bytes;
use serde_json::Value;

use crate::dialect::{DialectGuess, all_rules};
use crate::event::{DONE, Event};
use crate::stream::sse::SseFramer;

/// The most events that are put together.
const MAX_EVENTS: usize = 256 * 1024;

/// Puts the events of a complete stream together. `None` if no dialect can, or if an event is unreadable.
pub(crate) fn events_to_document(events: &[u8]) -> Option<Bytes> {
    let (mut dialect, mut parsed, mut is_readable) = (None, Vec::new(), true);
    let mut each = |event: Event<'_>| {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == DONE {
            return;
        }
        if dialect.is_none()
            && let DialectGuess::Known(known) = DialectGuess::of(event)
        {
            dialect = Some(known);
        }
        match serde_json::from_slice(data) {
            Ok(value) if parsed.len() < MAX_EVENTS => parsed.push(value),
            _ => is_readable = false,
        }
    };
    let mut framer = SseFramer::new();
    framer.push(events, &mut each);
    framer.finish(&mut each);
    let document = (dialect?.rules().document)(&parsed).filter(|_| is_readable)?;
    serde_json::to_vec(&document).ok().map(Bytes::from)
}

/// Splits a complete answer into the events of a stream. `None` if it is an answer in no known dialect.
pub(crate) fn document_to_events(document: &[u8]) -> Option<Bytes> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let events = all_rules().find_map(|rules| (rules.events)(&document))?;
    let mut out = Vec::new();
    for (name, data) in events {
        if !name.is_empty() {
            out.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        out.extend_from_slice(b"data: ");
        match data {
            // `[DONE]`, the only event that is not an object.
            Value::String(text) => out.extend_from_slice(text.as_bytes()),
            data => serde_json::to_writer(&mut out, &data).ok()?,
        }
        out.extend_from_slice(b"\n\n");
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_core::Scan;

    use super::*;
    use crate::Provider;
    use crate::body::probe::{self, Expected};
    use crate::dialect::probe_result::ProbeResult;
    use crate::endpoint::Endpoint;
    use crate::stream::Scanner;

    fn documents() -> [(&'static str, Value); 9] {
        let call =
            json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
        let chat = |message: Value, reason: &str| {
            let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason});
            json!({"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice],
                "usage": usage})
        };
        let message = |content: Value, reason: &str| {
            json!({"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": content,
                "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 2}})
        };
        [
            ("chat", chat(json!({"role": "assistant", "content": "née \"x\" 🌍"}), "stop")),
            (
                "calls",
                chat(json!({"role": "assistant", "content": null, "tool_calls": [call, call]}), "tool_calls"),
            ),
            (
                "reasoning",
                chat(json!({"role": "assistant", "reasoning_content": "hm", "content": "a"}), "length"),
            ),
            ("message", message(json!([{"type": "text", "text": "a"}]), "end_turn")),
            (
                "blocks",
                message(
                    json!([
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                        {"type": "tool_use", "id": "u", "name": "g", "input": {}},
                    ]),
                    "tool_use",
                ),
            ),
            ("empty message", message(json!([]), "end_turn")),
            (
                "response",
                json!({"id": "r1", "object": "response", "status": "completed", "error": null, "output": [
                    {"type": "message", "id": "i1", "role": "assistant", "status": "completed",
                        "content": [{"type": "output_text", "text": "a", "annotations": []}]},
                    {"type": "function_call", "id": "i2", "call_id": "c", "name": "f", "arguments": "{}"},
                ], "usage": {"input_tokens": 3, "output_tokens": 2}}),
            ),
            (
                "gemini",
                json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "a"}]},
                    "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3}}),
            ),
            (
                "cohere",
                json!({"id": "k1", "finish_reason": "COMPLETE", "message": {"role": "assistant",
                    "content": [{"type": "text", "text": "a"}]},
                    "usage": {"tokens": {"input_tokens": 3, "output_tokens": 2}}}),
            ),
        ]
    }

    #[test]
    fn a_document_becomes_a_complete_stream_and_the_same_document_again() {
        for (name, document) in documents() {
            let bytes = document.to_string();
            assert!(
                matches!(
                    probe::read(bytes.as_bytes(), Expected::Answer(Endpoint::Unknown)),
                    ProbeResult::Success
                ),
                "{name}"
            );
            let events = document_to_events(bytes.as_bytes()).unwrap_or_else(|| panic!("{name}"));
            let mut scanner = Scanner::sse(Provider::Other).for_answer();
            scanner.push(&events);
            scanner.finish();
            let state = scanner.state();
            assert!(state.has_finished && state.failure.is_none(), "{name}: {state:?}");
            let again: Value = serde_json::from_slice(&events_to_document(&events).unwrap()).unwrap();
            assert_eq!(again, document, "{name}: {}", String::from_utf8_lossy(&events));
        }
    }

    #[test]
    fn the_streams_of_every_dialect_become_documents_that_show_an_answer() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams/");
        for name in [
            "openai_plain",
            "openai_responses_plain",
            "anthropic_plain",
            "gemini_plain",
            "cohere_plain",
            "deepseek_anthropic_plain",
            "azure_plain",
        ] {
            let events = std::fs::read(format!("{folder}{name}.sse")).unwrap();
            let document = events_to_document(&events).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(
                probe::read(&document, Expected::Answer(Endpoint::Unknown)),
                ProbeResult::Success,
                "{name}"
            );
            let document = String::from_utf8_lossy(&document).into_owned();
            assert!(document.contains("tide") || document.contains("Ebb"), "{name}: {document}");
        }
    }

    #[test]
    fn what_is_no_answer_is_not_converted() {
        for body in ["", "{}", "[]", "{\"choices\":", "{\"error\":{}}", "{\"choices\":[]}", "<html>"] {
            assert!(document_to_events(body.as_bytes()).is_none(), "{body}");
        }
        for body in ["", "data: [DONE]\n\n", "data: busy\n\n", "data: {\"a\":1}\n\n", "{}"] {
            assert!(events_to_document(body.as_bytes()).is_none(), "{body}");
        }
        let with_a_sentence =
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: busy\n\ndata: [DONE]\n\n";
        assert!(events_to_document(with_a_sentence.as_bytes()).is_none());
    }
}
