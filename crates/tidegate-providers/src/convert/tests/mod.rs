mod any_form;
mod calls;
mod cost;

use proptest::prelude::*;
use serde_json::json;
use tidegate_core::Scan;

use super::*;
use crate::Provider;
use crate::body::probe::{self, Expected};
use crate::dialect::probe_result::ProbeResult;
use crate::endpoint::Endpoint;
use crate::event::MAX_EVENT;
use crate::stream::Scanner;

fn documents() -> [(&'static str, Value); 10] {
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
            "refusal",
            json!({"id": "r2", "object": "response", "status": "completed", "error": null, "output": [
                {"type": "message", "id": "i1", "role": "assistant", "status": "completed",
                    "content": [{"type": "refusal", "refusal": "no"}]},
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

    let refusals = [delta(0, "response.refusal.delta", "n"), delta(0, "response.refusal.delta", "o")];
    for before in [vec![], vec![added(0, message.clone())]] {
        let document = document_of(&[before, refusals.to_vec(), vec![last.clone()]].concat());
        assert_eq!(document["output"][0]["content"], json!([{"type": "refusal", "refusal": "no"}]));
    }

    let document = document_of(&[
        added(0, message),
        deltas[0].clone(),
        added(1, call),
        delta(1, "response.function_call_arguments.delta", "{\"a\":"),
        deltas[1].clone(),
        delta(1, "response.function_call_arguments.delta", "1}"),
        last.clone(),
    ]);
    assert_eq!(document["output"][0]["content"], text("Hi"));
    assert_eq!(document["output"][1]["arguments"], "{\"a\":1}");
    assert_eq!(document["output"].as_array().unwrap().len(), 2);

    // Regression: the input of these calls was empty.
    for (kind, events, key) in [
        ("custom_tool_call", "response.custom_tool_call_input", "input"),
        ("mcp_call", "response.mcp_call_arguments", "arguments"),
    ] {
        let call = json!({"type": kind, "id": "i0", "name": "f", key: ""});
        let piece = |text: &str| delta(0, &format!("{events}.delta"), text);
        let document = document_of(&[added(0, call), piece("a"), piece("b"), last.clone()]);
        assert_eq!(document["output"][0][key], "ab");
        let orphan = [piece("a"), last.clone()].map(|event| format!("data: {event}\n\n")).concat();
        assert_eq!(events_to_document(orphan.as_bytes()), None);
    }
}

/// Regression: the ping was a field of the answer, and the mark made it unreadable.
#[test]
fn pings_and_byte_order_marks_are_no_part_of_an_answer() {
    let answer = [chunk(json!({"content": "hi"}), None), chunk(json!({}), Some("stop"))];
    let pings = ["ping", "keepalive"].map(|kind| json!({"type": kind}));
    assert_eq!(document_of(&[&pings[..], &answer].concat()), document_of(&answer));

    let document = document_of(&answer).to_string();
    let marked = document_to_events(format!("\u{feff}{document}").as_bytes());
    assert!(marked.is_some() && marked == document_to_events(document.as_bytes()));
}

/// Regression: half a terminator made the answer before it unreadable.
#[test]
fn a_truncated_event_at_the_end_is_ignored() {
    let answer = [chunk(json!({"content": "hi"}), None), chunk(json!({}), Some("stop"))];
    let events = answer.each_ref().map(|event| format!("data: {event}\n\n")).concat();
    let whole = events_to_document(events.as_bytes());
    for rest in ["data: [DO", "data: {\"choices\"", "dat"] {
        assert_eq!(events_to_document(format!("{events}{rest}").as_bytes()), whole, "{rest}");
    }
    // The last event is complete, and only its empty line is missing.
    assert_eq!(events_to_document(events.trim_end().as_bytes()), whole);
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

/// Regression: the tokens of the start became null, which a client cannot read as a number.
#[test]
fn a_null_in_the_end_of_a_message_replaces_nothing() {
    let start = json!({"type": "message", "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}});
    let document = document_of(&[
        json!({"type": "message_start", "message": start}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": null, "stop_details": null},
            "usage": {"input_tokens": null, "output_tokens": 9, "server_tool_use": null}}),
        json!({"type": "message_stop"}),
    ]);
    let usage = json!({"input_tokens": 7, "output_tokens": 9, "server_tool_use": null});
    assert_eq!((&document["stop_reason"], &document["usage"]), (&json!("end_turn"), &usage));
    assert!(document.as_object().unwrap().contains_key("stop_details"));
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
