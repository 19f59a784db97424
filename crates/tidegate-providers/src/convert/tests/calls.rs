//! Calls of functions, put together from their pieces.

use super::*;

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

/// Regression: a name without arguments at the end, and the rest of a name, each began a call without arguments.
#[test]
fn a_repeated_name_and_the_rest_of_a_name_begin_no_call() {
    const A: &str = r#"{"a":1}"#;
    let first = |name: &str, arguments: &str| {
        json!([{"index": 0, "id": "x", "type": "function",
            "function": {"name": name, "arguments": arguments}}])
    };
    let next = |name: Option<&str>, arguments: Option<&str>| json!([{"index": 0, "function": {"name": name, "arguments": arguments}}]);
    for (chunks, expected) in [
        (vec![first("f", ""), next(Some("f"), Some(A)), next(Some("f"), Some(""))], vec![("f", A)]),
        (vec![first("f", A), next(Some("f"), None), next(Some("f"), Some(""))], vec![("f", A)]),
        (vec![first("get_", ""), next(Some("weather"), None), next(None, Some(A))], vec![("get_weather", A)]),
        (
            vec![
                first("get_", ""),
                next(Some("weather"), Some("{\"a\"")),
                next(Some("weather"), Some(":1}")),
            ],
            vec![("get_weather", A)],
        ),
        // The name of a second call of the function, before its arguments.
        (
            vec![
                first("f", A),
                next(Some("f"), Some("")),
                next(None, Some("{\"b\"")),
                next(None, Some(":2}")),
            ],
            vec![("f", A), ("f", r#"{"b":2}"#)],
        ),
        (vec![first("f", A), next(Some("g"), Some("")), next(None, Some(A))], vec![("f", A), ("g", A)]),
    ] {
        let expected = expected.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        assert_eq!(calls_of(&chunks, None), (expected, "tool_calls".into()), "{chunks:?}");
    }
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
