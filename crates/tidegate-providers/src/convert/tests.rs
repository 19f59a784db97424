use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;
use tidegate_core::Scan;

use super::*;
use crate::Provider;
use crate::body::probe::{self, Expected};
use crate::dialect::probe_result::ProbeResult;
use crate::endpoint::Endpoint;
use crate::event::MAX_EVENT;
use crate::json::MAX_NODES;
use crate::stream::Scanner;

fn documents() -> [(&'static str, Value); 9] {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
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

/// Regression: 14 MB of small objects in a field that nobody reads took 5 GB of memory.
#[test]
fn an_answer_with_too_many_objects_is_not_converted() {
    let objects = |count: usize| vec![r#"{"":0}"#; count].join(",");
    let document = |count| {
        let choices = r#"[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]"#;
        format!(r#"{{"object":"chat.completion","choices":{choices},"x":[{}]}}"#, objects(count))
    };
    let events = |count| {
        let choices = r#"[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]"#;
        format!("data: {{\"choices\":{choices},\"x\":[{}]}}\n\ndata: [DONE]\n\n", objects(count))
    };
    for (count, is_converted) in [(10, true), (MAX_NODES, false)] {
        assert_eq!(document_to_events(document(count).as_bytes()).is_some(), is_converted, "{count}");
    }
    for (count, is_converted) in [(10, true), (MAX_EVENT_NODES, false)] {
        assert_eq!(events_to_document(events(count).as_bytes()).is_some(), is_converted, "{count}");
    }
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

const NUMBERS: [&str; 16] = [
    "0",
    "-7",
    "12345678901234567890123",
    "-9223372036854775809",
    "18446744073709551616",
    "1.0",
    "1.10",
    "0.1234567890123456789012",
    "1e400",
    "-1E-400",
    "1E5",
    "1e5",
    "-0",
    "-0.0",
    "9007199254740993.0",
    "100000000000000000000.5",
];

/// An id may have more digits than a number in memory.
#[test]
fn numbers_are_carried_as_they_are_written() {
    for number in NUMBERS {
        let input = format!(r#"{{"a":{number},"b":[{number},"{number}"],"c":"\"{number}\\"}}"#);
        let message = format!(
            r#"{{"type":"message","content":[{{"type":"tool_use","id":"t","name":"f","input":{input}}}],"stop_reason":"tool_use"}}"#
        );
        let part = format!(r#"{{"functionCall":{{"args":{input},"name":"f"}}}}"#);
        let gemini = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":"STOP"}}],"x":{number}}}"#
        );
        let cohere = format!(r#"{{"finish_reason":"COMPLETE","id":{number},"message":{{"content":[]}}}}"#);
        for (document, carried) in [(message, &input), (gemini, &input), (cohere, &number.to_owned())] {
            let events = document_to_events(document.as_bytes()).unwrap_or_else(|| panic!("{document}"));
            let text = String::from_utf8_lossy(&events).into_owned();
            let quoted = serde_json::to_string(carried).unwrap();
            assert!(text.contains(carried) || text.contains(quoted.trim_matches('"')), "{carried} {text}");
            let again = events_to_document(&events).unwrap_or_else(|| panic!("{text}"));
            let again = String::from_utf8_lossy(&again).into_owned();
            assert!(again.contains(carried), "{carried} {again}");
        }
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

/// Regression: the last of Azure's reports on its content filter took the id and the model away.
#[test]
fn a_chunk_without_an_id_leaves_that_of_the_answer() {
    let mut end = chunk(json!({}), Some("stop"));
    end["choices"][0]["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 2});
    let report = json!({"id": "", "object": "", "created": 0, "model": "", "choices": [
        {"index": 0, "finish_reason": null, "content_filter_results": {}}]});
    let mut first = chunk(json!({"content": "a"}), None);
    (first["created"], first["model"]) = (7.into(), "m".into());
    let document = document_of(&[report.clone(), first, end, report]);
    let fields = ["id", "created", "model"].map(|field| &document[field]);
    assert_eq!(fields, [&json!("c"), &json!(7), &json!("m")], "{document}");
    // The usage of a choice is that of the answer.
    assert_eq!(document["usage"]["completion_tokens"], 2, "{document}");
}

#[test]
fn an_event_of_any_length_is_whole_in_the_document() {
    let text = "é".repeat(MAX_EVENT);
    let pieces = [json!({"content": "a"}), json!({"content": text}), json!({"content": "z"})];
    let document = document_of(&pieces.map(|delta| chunk(delta, Some("stop"))));
    assert!(document["choices"][0]["message"]["content"] == format!("a{text}z"));
}

/// The document that these events are put together to.
fn document_of(events: &[Value]) -> Value {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let document = events_to_document(format!("{events}data: [DONE]\n\n").as_bytes());
    serde_json::from_slice(&document.unwrap_or_else(|| panic!("{events}"))).unwrap()
}

fn chunk(delta: Value, reason: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "choices": [
        {"index": 0, "delta": delta, "finish_reason": reason}]})
}

/// The names and arguments of the calls in the chunks with these lists of pieces, and the finish reason.
fn calls_of(chunks: &[Value], reason: Option<&str>) -> (Vec<(String, String)>, String) {
    let mut events: Vec<Value> =
        chunks.iter().map(|pieces| chunk(json!({"tool_calls": pieces}), None)).collect();
    events.push(chunk(json!({}), reason));
    let document = document_of(&events);
    let choice = &document["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().unwrap_or_else(|| panic!("{document}"));
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{document}")).to_owned();
    let call = |call: &Value| (text(&call["function"]["name"]), text(&call["function"]["arguments"]));
    assert!(calls.iter().all(|call| call["index"].is_null()), "{document}");
    (calls.iter().map(call).collect(), text(&choice["finish_reason"]))
}

#[test]
fn the_pieces_of_calls_are_put_together_however_a_server_marks_them() {
    const A: &str = r#"{"a":1}"#;
    const B: &str = r#"{"b":2}"#;
    let piece = |index: Value, id: Value, name: Value, arguments: Value| {
        json!({"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}})
    };
    let none = || Value::Null;
    for (what, chunks) in [
        (
            "the usual form",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), "".into())]),
                json!([piece(0.into(), none(), none(), "{\"a\":".into())]),
                json!([piece(0.into(), none(), none(), "1}".into())]),
                json!([piece(1.into(), "y".into(), "g".into(), B.into())]),
            ],
        ),
        (
            "interleaved",
            vec![
                json!([
                    piece(0.into(), "x".into(), "f".into(), "{\"a\"".into()),
                    piece(1.into(), "y".into(), "g".into(), "{\"b\"".into())
                ]),
                json!([
                    piece(1.into(), none(), none(), ":2}".into()),
                    piece(0.into(), none(), none(), ":1}".into())
                ]),
            ],
        ),
        (
            "id and name are repeated",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), "{\"a\":".into())]),
                json!([piece(0.into(), "x".into(), "f".into(), "1}".into())]),
                json!([piece(1.into(), "y".into(), "g".into(), "{\"b\":".into())]),
                json!([piece(1.into(), "y".into(), "g".into(), "2}".into())]),
            ],
        ),
        (
            "another id with every piece",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), "{\"a\":".into())]),
                json!([piece(0.into(), "x2".into(), none(), "1}".into())]),
                json!([piece(1.into(), "y".into(), "g".into(), B.into())]),
            ],
        ),
        (
            "one index for all",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), A.into())]),
                json!([piece(0.into(), "y".into(), "g".into(), "{\"b\":".into())]),
                json!([piece(0.into(), none(), none(), "2}".into())]),
            ],
        ),
        (
            "one id for all",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), A.into())]),
                json!([piece(1.into(), "x".into(), "g".into(), B.into())]),
            ],
        ),
        (
            "no index",
            vec![
                json!([piece(none(), "x".into(), "f".into(), A.into())]),
                json!([piece(none(), "y".into(), "g".into(), B.into())]),
            ],
        ),
        (
            "no index, in one chunk",
            vec![json!([
                piece(none(), "x".into(), "f".into(), A.into()),
                piece(none(), "y".into(), "g".into(), B.into())
            ])],
        ),
        (
            "neither index nor id",
            vec![
                json!([piece(none(), none(), "f".into(), "{\"a\"".into())]),
                json!([piece(none(), none(), none(), ":1}".into())]),
                json!([piece(none(), none(), "g".into(), B.into())]),
            ],
        ),
        (
            "neither index nor id, in one chunk",
            vec![json!([
                piece(none(), none(), "f".into(), A.into()),
                piece(none(), none(), "g".into(), B.into())
            ])],
        ),
        (
            "an empty id",
            vec![
                json!([piece(0.into(), "".into(), "f".into(), A.into())]),
                json!([piece(1.into(), "".into(), "g".into(), B.into())]),
            ],
        ),
        (
            "the index as text and as a decimal",
            vec![
                json!([
                    piece("0".into(), "x".into(), "f".into(), "{\"a\"".into()),
                    piece(1.0.into(), "y".into(), "g".into(), "{\"b\"".into())
                ]),
                json!([
                    piece(1.into(), none(), none(), ":2}".into()),
                    piece(0.into(), none(), none(), ":1}".into())
                ]),
            ],
        ),
        (
            "arguments as objects",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), json!({"a": 1}))]),
                json!([piece(1.into(), "y".into(), "g".into(), json!({"b": 2}))]),
            ],
        ),
        (
            "arguments as objects, sent again",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), json!({"a": 1}))]),
                json!([piece(0.into(), "x".into(), "f".into(), json!({"a": 1}))]),
                json!([piece(1.into(), "y".into(), "g".into(), json!({"b": 2}))]),
            ],
        ),
        (
            "empty arguments first",
            vec![
                json!([piece(0.into(), "x".into(), "f".into(), json!({}))]),
                json!([piece(0.into(), none(), none(), A.into())]),
                json!([piece(1.into(), "y".into(), "g".into(), "{}".into())]),
                json!([piece(1.into(), none(), none(), B.into())]),
            ],
        ),
        (
            "the name after the arguments",
            vec![
                json!([piece(0.into(), "x".into(), none(), "{\"a\":".into())]),
                json!([piece(0.into(), none(), "f".into(), "1}".into())]),
                json!([piece(1.into(), "y".into(), "g".into(), B.into())]),
            ],
        ),
    ] {
        let expected = vec![("f".to_owned(), A.to_owned()), ("g".to_owned(), B.to_owned())];
        for reason in [Some("tool_calls"), Some("stop"), None] {
            assert_eq!(calls_of(&chunks, reason), (expected.clone(), "tool_calls".into()), "{what}");
        }
    }
    // Two calls of one function.
    let twice = [json!([
        piece(none(), none(), "f".into(), "{}".into()),
        piece(none(), none(), "f".into(), "{}".into())
    ])];
    assert_eq!(calls_of(&twice, None).0.len(), 2);
}

#[test]
fn a_message_in_place_of_deltas_is_the_message() {
    let whole = |key: &str| json!({"choices": [{"index": 0, key: {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]});
    for events in [
        vec![whole("message")],
        vec![whole("delta"), whole("message")],
        vec![chunk(json!({"role": "assistant", "content": ""}), None), whole("delta")],
    ] {
        let document = document_of(&events);
        assert_eq!(document["choices"][0]["message"]["content"], "Hi", "{events:?}");
    }
    let text = |text: &str| json!({"object": "text_completion", "choices": [{"index": 0, "text": text}]});
    let document = document_of(&[text("H"), text("i")]);
    assert_eq!(
        (&document["object"], &document["choices"][0]["text"]),
        (&json!("text_completion"), &json!("Hi"))
    );
    let call = |call: Value| chunk(json!({"function_call": call}), None);
    let document = document_of(&[
        call(json!({"name": "f", "arguments": ""})),
        call(json!({"arguments": "{\"a\":"})),
        call(json!({"arguments": "1}"})),
    ]);
    let function = json!({"name": "f", "arguments": "{\"a\":1}"});
    assert_eq!(document["choices"][0]["message"]["function_call"], function);
}

#[test]
fn a_document_with_calls_becomes_events_that_a_strict_client_can_read() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    for reason in [Value::Null, "".into(), "stop".into(), "tool_calls".into()] {
        let document = json!({"choices": [{"message": message, "finish_reason": reason}]});
        let events = document_to_events(document.to_string().as_bytes()).unwrap();
        let again: Value = serde_json::from_slice(&events_to_document(&events).unwrap()).unwrap();
        let choice = &again["choices"][0];
        let function = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("tool_calls")));
        assert_eq!(function["arguments"], r#"{"a":1}"#);
        let events = String::from_utf8_lossy(&events).into_owned();
        assert!(events.contains(r#""arguments":"{\"a\":1}""#), "{events}");
    }
}

#[test]
fn a_response_without_output_is_put_together_from_its_deltas() {
    let event = |kind: &str, more: Value| {
        let mut event = json!({"type": kind});
        for (key, value) in more.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    };
    let delta = |at: u64, kind: &str, text: &str| {
        event(
            kind,
            json!({"output_index": at, "item_id": format!("i{at}"), "content_index": 0, "delta": text}),
        )
    };
    let added =
        |at: u64, item: Value| event("response.output_item.added", json!({"output_index": at, "item": item}));
    let last = event(
        "response.completed",
        json!({"response": {"object": "response", "status": "completed", "output": []}}),
    );
    let text = |text: &str| json!([{"type": "output_text", "text": text, "annotations": []}]);
    let message = json!({"type": "message", "id": "i0", "role": "assistant", "content": []});
    let call = json!({"type": "function_call", "id": "i1", "call_id": "c", "name": "f", "arguments": ""});
    let deltas = [delta(0, "response.output_text.delta", "H"), delta(0, "response.output_text.delta", "i")];

    let done = event("response.done", json!({"response": last["response"]}));
    let bare = event("response.done", json!({}));
    for end in [vec![last.clone()], vec![done.clone()], vec![last.clone(), done], vec![last.clone(), bare]] {
        let document = document_of(&[&deltas[..], &end].concat());
        assert_eq!(document["output"][0]["content"], text("Hi"), "{end:?}");
        assert_eq!(document["output"][0]["type"], "message", "{end:?}");
    }

    let document = document_of(&[
        added(0, message),
        deltas[0].clone(),
        added(1, call),
        delta(1, "response.function_call_arguments.delta", "{\"a\":"),
        deltas[1].clone(),
        delta(1, "response.function_call_arguments.delta", "1}"),
        last,
    ]);
    assert_eq!(document["output"][0]["content"], text("Hi"));
    assert_eq!(document["output"][1]["arguments"], "{\"a\":1}");
    assert_eq!(document["output"].as_array().unwrap().len(), 2);
}

/// Regression: the response was that of the last event, with nothing of the one before it.
#[test]
fn a_second_end_adds_only_what_the_first_has_not() {
    let output = json!([{"type": "message", "id": "i", "role": "assistant",
        "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}]);
    let response = json!({"id": "r", "object": "response", "model": "m", "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"}, "output": output, "usage": null});
    let usage = json!({"input_tokens": 7, "output_tokens": 5});
    let mut expected = response.clone();
    expected["usage"] = usage.clone();
    let mut without_output = response.clone();
    without_output["output"] = json!([]);
    for (first, second) in [
        (&response, json!({"usage": usage})),
        (&response, json!({"id": "other", "status": "completed", "output": [], "usage": usage})),
        (&without_output, json!({"output": output, "usage": usage})),
    ] {
        let document = document_of(&[
            json!({"type": "response.incomplete", "response": first}),
            json!({"type": "response.done", "response": second}),
        ]);
        assert_eq!(document, expected, "{second}");
    }
}

#[test]
fn blocks_with_one_index_are_different_blocks() {
    let block = |id: &str, name: &str| {
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "tool_use", "id": id, "name": name, "input": {}}})
    };
    let delta = |json: &str| {
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": json}})
    };
    let stop = json!({"type": "content_block_stop", "index": 0});
    let document = document_of(&[
        json!({"type": "message_start", "message": {"type": "message", "content": []}}),
        block("x", "f"),
        delta("{\"a\":1}"),
        stop.clone(),
        block("y", "g"),
        delta("{\"b\":2}"),
        stop,
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ]);
    let content = json!([
        {"type": "tool_use", "id": "x", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "y", "name": "g", "input": {"b": 2}},
    ]);
    assert_eq!(document["content"], content);
}

#[test]
fn deltas_without_a_type_or_a_start_are_blocks() {
    let delta =
        |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let document = document_of(&[
        json!({"type": "message_start", "message": {"type": "message", "content": []}}),
        delta(0, json!({"text": "H"})),
        delta(0, json!({"text": "i"})),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "compaction", "content": null}}),
        delta(1, json!({"type": "compaction_delta", "content": "brief"})),
    ]);
    let blocks = json!([{"type": "text", "text": "Hi"}, {"type": "compaction", "content": "brief"}]);
    assert_eq!(document["content"], blocks);
}

#[test]
fn no_value_replaces_content_that_was_received() {
    let block = |text: &str| json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}});
    let start = json!({"type": "message_start", "message": {"type": "message"}});
    let document = document_of(&[start, block(""), block("a"), block("b")]);
    assert_eq!(document["content"], json!(["a", "b"].map(|text| json!({"type": "text", "text": text}))));

    let reasoning = |reasoning: Value| chunk(json!({"reasoning": reasoning}), None);
    let document = document_of(&[json!("a"), json!([]), json!("b"), json!("")].map(reasoning));
    assert_eq!(document["choices"][0]["message"]["reasoning"], "ab");
    let text =
        |text: Value| json!({"type": "content-delta", "delta": {"message": {"content": {"text": text}}}});
    let arguments =
        json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"});
    let completed = json!({"type": "response.completed", "response": {"object": "response", "output": []}});
    for events in [
        [json!("a"), json!(["b"])].map(reasoning),
        [json!(["a"]), json!("b")].map(reasoning),
        [json!("a"), json!({"b": 1})].map(text),
        [arguments, completed],
    ] {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        assert!(events_to_document(body.as_bytes()).is_none(), "{body}");
    }
}

#[test]
fn pieces_of_audio_are_put_together() {
    let audio = |audio: Value| chunk(json!({"audio": audio}), None);
    let document = document_of(&[
        audio(json!({"id": "a", "data": "AA", "transcript": "H"})),
        audio(json!({"id": "a", "data": "BB", "transcript": "i"})),
        audio(json!({"expires_at": 7})),
    ]);
    let audio = json!({"id": "a", "data": "AABB", "transcript": "Hi", "expires_at": 7});
    assert_eq!(document["choices"][0]["message"]["audio"], audio);
}

#[test]
fn texts_and_lists_of_parts_in_turn_are_one_list() {
    let part = |text: &str| json!([{"type": "text", "text": text}]);
    let deltas = [json!(""), part("a"), json!("b"), Value::Null, part("c")];
    let chunks: Vec<_> = deltas.iter().map(|content| chunk(json!({"content": content}), None)).collect();
    let parts = ["a", "b", "c"].map(|text| json!({"type": "text", "text": text}));
    assert_eq!(document_of(&chunks)["choices"][0]["message"]["content"], json!(parts));
    let chunks = [json!("a"), part("b")].map(|content| chunk(json!({"content": content}), None));
    assert_eq!(document_of(&chunks)["choices"][0]["message"]["content"], json!(parts[..2]));
}

#[test]
fn a_content_that_is_a_text_is_one_block_and_one_of_any_other_form_is_not_converted() {
    let of_all = |content: &Value| {
        [
            json!({"type": "message", "content": content, "stop_reason": "end_turn"}),
            json!({"finish_reason": "COMPLETE", "message": {"content": content}}),
            json!({"object": "response", "status": "completed", "output": [
                {"type": "message", "content": content}]}),
        ]
    };
    for (content, texts) in [
        (json!("plain"), 2),
        (json!([{"type": "text", "text": "plain"}]), 2),
        (json!(""), 0),
        (Value::Null, 0),
    ] {
        for document in of_all(&content) {
            let events = document_to_events(document.to_string().as_bytes()).unwrap();
            let events_text = String::from_utf8_lossy(&events).into_owned();
            let deltas = events_text.lines().filter(|line| line.contains("delta") && line.contains("plain"));
            assert_eq!(deltas.count() > 0, texts > 0, "{events_text}");
            let again = String::from_utf8(events_to_document(&events).unwrap().to_vec()).unwrap();
            assert_eq!(again.contains(r#""text":"plain""#), texts > 0, "{again}");
        }
    }
    for content in [json!(7), json!(["plain"]), json!([["plain"]]), json!([null]), json!({"text": "plain"})] {
        for document in of_all(&content) {
            assert!(document_to_events(document.to_string().as_bytes()).is_none(), "{document}");
        }
    }
}

#[test]
fn what_is_not_an_object_where_one_belongs_is_not_converted() {
    let call = |call: Value| chunk(json!({"tool_calls": [call]}), None);
    let cohere =
        |kind: &str, message: Value| json!({"type": kind, "index": 0, "delta": {"message": message}});
    let part = |content: Value| json!({"candidates": [{"content": content}]});
    let completed = |output: Value| json!({"type": "response.completed", "response": {"object": "response", "output": output}});
    let start =
        |usage: Value| json!({"type": "message_start", "message": {"type": "message", "usage": usage}});
    for events in [
        vec![json!({"choices": ["s"]})],
        vec![call("x".into())],
        vec![call(json!({"function": "f"}))],
        vec![chunk(json!({"function_call": "f"}), None)],
        vec![start("none".into()), json!({"type": "message_delta", "usage": {"output_tokens": 1}})],
        vec![start(json!({})), json!({"type": "message_delta", "delta": "x"})],
        vec![start(json!({})), json!({"type": "content_block_start", "index": 0, "content_block": "x"})],
        vec![completed(json!(["oops"]))],
        vec![json!({"type": "response.output_item.done", "item": "oops"}), completed(json!([]))],
        vec![part("x".into())],
        vec![part(json!({"parts": "x"}))],
        vec![part(json!({"parts": ["x"]}))],
        vec![cohere("content-start", json!({"content": "x"}))],
        vec![
            cohere("tool-call-start", json!({"tool_calls": {"function": "f"}})),
            cohere("tool-call-delta", json!({"tool_calls": {"function": {"arguments": "{}"}}})),
        ],
    ] {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        assert!(events_to_document(body.as_bytes()).is_none(), "{body}");
    }
    for document in [
        json!({"object": "response", "status": "completed", "output": [{"type": "message"}, "oops"]}),
        json!({"finish_reason": "COMPLETE", "message": {"tool_calls": ["oops"]}}),
        json!({"finish_reason": "COMPLETE", "message": {"tool_calls": [{"function": "f"}]}}),
        json!({"choices": [{"message": {"tool_calls": ["oops"]}}]}),
        json!({"choices": [{"message": {"content": "x"}}, "oops"]}),
    ] {
        assert!(document_to_events(document.to_string().as_bytes()).is_none(), "{document}");
    }
}

/// Any JSON, in the words of the dialects.
fn any_json() -> impl Strategy<Value = Value> {
    let words = "arguments choices completed content delta function index message name output text tool_calls type usage";
    let word = move || select(words.split(' ').collect::<Vec<_>>());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2.0..3.0).prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, move |value| {
        let array = prop::collection::vec(value.clone(), 0..3).prop_map(Value::from);
        let object = prop::collection::vec((word(), value), 0..3)
            .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        prop_oneof![array, object]
    })
}

/// The pointers to all values within `value`.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let within: Vec<_> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    let within = within.into_iter().flat_map(|(key, value)| pointers(value, &format!("{at}/{key}")));
    std::iter::once(at.to_owned()).chain(within).collect()
}

/// Replaces values at arbitrary places.
fn replace(mut document: Value, edits: &[(Index, Value)]) -> Value {
    for (at, value) in edits {
        let pointers = pointers(&document, "");
        *document.pointer_mut(at.get::<String>(&pointers)).unwrap() = value.clone();
    }
    document
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_json_panics(
        document in select(documents().to_vec()),
        edits in prop::collection::vec((any::<Index>(), any_json()), 1..4),
        order in prop::option::of(prop::collection::vec(any::<Index>(), 1..16)),
    ) {
        let document = document.1;
        let events = document_to_events(document.to_string().as_bytes()).unwrap();
        let mut parsed = Vec::new();
        SseFramer::new().push(&events, |event| parsed.extend(serde_json::from_slice::<Value>(event.data)));
        if let Some(order) = order {
            parsed = order.iter().map(|at| at.get(&parsed).clone()).collect();
        }
        let (document, events) = (replace(document, &edits), replace(parsed.into(), &edits));
        for rules in all_rules() {
            let _ = (rules.events)(&document);
            let _ = (rules.document)(events.as_array().map_or(&[], Vec::as_slice));
        }
    }
}

#[test]
fn a_call_that_was_cut_off_is_dropped_and_the_text_before_it_is_kept() {
    let whole_call = r#"{"a":"x","b":[1,{}]}"#;
    for cut in 1..=whole_call.len() {
        let events = |reason: &str, first: usize| {
            let blocks = [
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "before"}}),
                json!({"type": "content_block_start", "index": 1,
                    "content_block": {"type": "tool_use", "id": "c", "name": "f", "input": {}}}),
                json!({"type": "content_block_delta", "index": 1,
                    "delta": {"type": "input_json_delta", "partial_json": &whole_call[..cut]}}),
            ];
            let start = json!({"type": "message_start", "message": {"type": "message"}});
            let end = json!({"type": "message_delta", "delta": {"stop_reason": reason}});
            [&[start], &blocks[first..], &[end]].concat()
        };
        let is_whole = cut == whole_call.len();
        for reason in ["max_tokens", "model_context_window_exceeded", "refusal"] {
            for first in [0, 1] {
                let document = document_of(&events(reason, first));
                let content = document["content"].as_array().unwrap();
                assert_eq!(content.iter().filter(|block| block["text"] == "before").count(), 1 - first);
                assert_eq!(content.len(), 1 - first + usize::from(is_whole), "{document}");
                assert_eq!(document["stop_reason"], reason);
            }
        }
        let body: String = events("tool_use", 0).iter().map(|event| format!("data: {event}\n\n")).collect();
        assert_eq!(events_to_document(body.as_bytes()).is_some(), is_whole);
    }
}

/// Bodies with as many events, in which each event belongs to an item of its own, or all belong to the
/// first.
fn bodies(count: usize, has_own: bool) -> Vec<String> {
    let at = |event: usize| if has_own { event } else { 0 };
    let call = |event: usize| {
        let piece = if has_own || event == 0 { "{\"a\":\"".to_owned() } else { "x".repeat(98) + "}" };
        chunk(
            json!({"tool_calls": [{"index": at(event), "function": {"name": "f", "arguments": piece}}]}),
            None,
        )
    };
    let (text, block) = ("response.output_text.delta", json!({"type": "text"}));
    let dialects: [(&dyn Fn(usize) -> Value, Value); 9] = [
        (&call, json!({})),
        (&|event| json!({"choices": [{"index": at(event), "delta": {"content": "a"}}]}), json!({})),
        (
            &|event| {
                chunk(
                    json!({"content": if event % 2 == 0 { json!("a") } else { json!([{"text": "a"}]) }}),
                    None,
                )
            },
            json!({}),
        ),
        (
            &|event| json!({"candidates": [{"index": at(event), "content": {"parts": [{"text": "a"}]}}]}),
            json!({}),
        ),
        (
            &|event| json!({"type": "content_block_start", "index": at(event), "content_block": block}),
            json!({"type": "message_start", "message": {}}),
        ),
        (
            &|event| json!({"type": "content_block_delta", "index": at(event), "delta": {"text": "a"}}),
            json!({"type": "message_start", "message": {}}),
        ),
        (
            &|event| json!({"type": "content-delta", "index": at(event), "delta": {"message": {"content": {"text": "a"}}}}),
            json!({"type": "message-end"}),
        ),
        (
            &|event| json!({"type": text, "output_index": at(event), "delta": "a"}),
            json!({"type": "response.completed", "response": {"output": []}}),
        ),
        (
            &|event| json!({"type": text, "output_index": 0, "content_index": at(event), "delta": "a"}),
            json!({"type": "response.completed", "response": {"output": []}}),
        ),
    ];
    let body = |(event, last): (&dyn Fn(usize) -> Value, Value)| {
        let events = (0..count).map(event).chain([last]);
        events.map(|event| format!("data: {event}\n\n")).collect()
    };
    dialects.into_iter().map(body).collect()
}

/// Every event is compared with all items.
#[test]
fn an_answer_with_too_many_items_is_not_converted() {
    let [some, many] = [1024, 1026].map(|count| bodies(count, true));
    for (at, (some, many)) in some.iter().zip(many).enumerate() {
        assert!(events_to_document(some.as_bytes()).is_some(), "{some:.200}");
        // One list of parts has no limit, since nothing is compared with it.
        assert_eq!(events_to_document(many.as_bytes()).is_some(), at == 2, "{many:.200}");
    }
}

/// The least time of the processor to put the events together, in a few runs. Other work on the machine does
/// not count, and slows a run down only a little.
fn cpu_time(body: &str) -> Duration {
    #[cfg(unix)]
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(now).unwrap()
    };
    #[cfg(not(unix))]
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let once = |_| {
        let start = now();
        assert!(events_to_document(body.as_bytes()).is_some(), "{body:.200}");
        now() - start
    };
    (0..3).map(once).min().unwrap_or_default()
}

#[test]
fn the_time_to_put_events_together_grows_with_their_number() {
    let [small, large] = [400, 4000].map(|count| bodies(count, false));
    for (small, large) in small.iter().zip(large) {
        // Ten times the size takes about ten times as long, not a hundred times.
        assert!(cpu_time(&large) < 25 * cpu_time(small), "{small:.200}");
    }
}

/// A body with this many items and `count` events that continue the first one.
fn continued(items: usize, count: usize, event: impl Fn(usize) -> Value, last: Value) -> String {
    let at = |number: usize| if number < items { number } else { 0 };
    let events = (0..count).map(|number| event(at(number))).chain([last]);
    events.map(|event| format!("data: {event}\n\n")).collect()
}

#[test]
fn the_time_to_put_an_event_to_its_item_is_the_same_for_any_number_of_items() {
    let call = |call: Value| chunk(json!({"tool_calls": [call]}), None);
    let completed = || json!({"type": "response.completed", "response": {"output": []}});
    let text = "response.output_text.delta";
    let dialects: [(&dyn Fn(usize) -> Value, Value); 6] = [
        (&|at| call(json!({"index": at, "function": {"arguments": "x"}})), json!({})),
        (&|at| call(json!({"id": at.to_string(), "function": {"name": "f", "arguments": "x"}})), json!({})),
        (&|at| call(json!({"id": "a", "index": at, "function": {"arguments": "x"}})), json!({})),
        (&|at| json!({"type": text, "output_index": at, "delta": "a"}), completed()),
        (&|at| json!({"type": text, "item_id": at.to_string(), "delta": "a"}), completed()),
        (&|at| json!({"type": text, "output_index": 0, "content_index": at, "delta": "a"}), completed()),
    ];
    for (event, last) in dialects {
        let [few, many] = [1, 1000].map(|items| continued(items, 4000, event, last.clone()));
        let (few_time, many_time) = (cpu_time(&few), cpu_time(&many));
        assert!(many_time < 8 * few_time, "{few_time:?} {many_time:?} {many:.200}");
    }
}

/// The document with that many items, and with another field.
fn with_items(count: usize, key: &str, value: &str) -> [Value; 2] {
    let choice = json!({"message": {"content": "a"}, "finish_reason": "stop"});
    let part = json!({"type": "output_text", "text": "a"});
    let message = json!({"type": "message", key: value, "content": vec![part; count]});
    [
        json!({"object": "chat.completion", key: value, "choices": vec![choice; count]}),
        json!({"object": "response", "status": "completed", "output": [message]}),
    ]
}

#[test]
fn the_events_of_a_document_are_as_long_as_it_whatever_its_fields() {
    for key in ["prompt_filter_results", "service_tier", "x"] {
        for document in with_items(500, key, &"x".repeat(100_000)) {
            let body = document.to_string();
            let events = document_to_events(body.as_bytes()).unwrap();
            assert!(events.len() < 10 * body.len(), "{key}: {} of {}", events.len(), body.len());
        }
    }
    // What identifies an answer is in all of its events.
    for (length, is_short) in [(100, true), (100_000, false)] {
        for document in with_items(500, "id", &"x".repeat(length)) {
            let events = all_rules().find_map(|rules| (rules.events)(&document));
            assert_eq!(events.is_some(), is_short);
        }
    }
    let text = "x".repeat(MAX_CONVERTED);
    let document = json!({"choices": [{"message": {"content": text}}]}).to_string();
    assert!(document_to_events(document.as_bytes()).is_none());
}

#[test]
fn the_last_item_of_an_incomplete_response_is_incomplete() {
    let call =
        |at: u64| json!({"type": "function_call", "id": format!("i{at}"), "call_id": "c", "name": "f"});
    let added = |at: u64| json!({"type": "response.output_item.added", "output_index": at, "item": call(at)});
    for status in ["completed", "incomplete"] {
        let response = json!({"object": "response", "status": status, "output": []});
        let last = json!({"type": format!("response.{status}"), "response": response});
        let document = document_of(&[added(0), added(1), last]);
        let statuses = [0, 1].map(|at| document["output"][at]["status"].clone());
        assert_eq!(statuses, ["completed", status]);
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
