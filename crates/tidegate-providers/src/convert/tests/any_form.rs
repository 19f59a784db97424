//! Values of any form where others belong.

use proptest::sample::{Index, select};

use super::*;

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
