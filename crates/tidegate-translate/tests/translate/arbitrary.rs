//! Valid requests, responses and streams with arbitrary JSON at arbitrary places: nothing panics, and what is
//! translated is valid.

use http::StatusCode;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tidegate_core::{StreamContinuator, Translator};
use tidegate_translate::{ChatToMessages, MessagesToChat, StreamContinuation};

use super::hostile::assert_well_formed;
use super::validator::accepted_by;
use super::{body, for_chat, for_messages, translate, try_stream};

/// Requests for a chat and for messages.
fn requests() -> Vec<Value> {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
        "additionalProperties": false});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let image = json!({"type": "base64", "media_type": "image/png", "data": "AA"});
    vec![
        json!({
            "model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 1, "stop": ["x"], "stream": true,
            "stream_options": {"include_usage": true}, "user": "u", "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": true,
                "parameters": schema}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
                {"role": "assistant", "content": "b", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "7"},
            ],
        }),
        json!({
            "model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 1, "stop_sequences": ["x"], "stream": true,
            "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 1024},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
            "tools": [{"name": "f", "description": "d", "strict": true, "input_schema": schema}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": image}]},
                {"role": "assistant", "content": [{"type": "text", "text": "b"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "7"}]},
            ],
        }),
    ]
}

/// Whole responses, and errors.
fn responses() -> Vec<Value> {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    vec![
        json!({"id": "r", "model": "m", "created": 7, "choices": [{"index": 0, "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": "a", "reasoning_content": "hm", "tool_calls": [call]}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}}),
        json!({"id": "r", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}],
            "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 1}}),
        json!({"type": "error", "error": {"type": "api_error", "code": "c", "message": "m", "param": "p"}}),
    ]
}

/// The events of streams.
fn streams() -> Vec<Value> {
    let chunk = |delta: Value, reason: Value| json!({"id": "r", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let piece = |arguments: &str| json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}]});
    let delta =
        |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let block = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    vec![
        json!([
            chunk(json!({"role": "assistant", "reasoning": "hm"}), Value::Null),
            chunk(json!({"content": "a"}), Value::Null),
            chunk(piece("{\"a\":"), Value::Null),
            chunk(piece("1}"), Value::Null),
            chunk(json!({}), "tool_calls".into()),
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        ]),
        json!([
            {"type": "message_start", "message": {"id": "r", "model": "m", "usage": {"input_tokens": 3}}},
            block(0, json!({"type": "text", "text": ""})),
            delta(0, json!({"type": "text_delta", "text": "a"})),
            stop(0),
            block(1, json!({"type": "tool_use", "id": "c", "name": "f", "input": {}})),
            delta(1, json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})),
            stop(1),
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]),
    ]
}

/// Any JSON, in the words of the dialects.
fn any_json() -> impl Strategy<Value = Value> {
    let words =
        "a arguments content delta function index input message name role text tool_calls tool_use type user";
    let word = move || select(words.split(' ').collect::<Vec<_>>());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2.0..3.0).prop_map(Value::from),
        word().prop_map(Value::from),
        select(vec!["", " ", "\n", "{", "{}", "\"", "\u{10ffff}", "data:,"]).prop_map(Value::from),
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

/// One of the documents, with other values at some of the places for which `is_place` is true.
fn edited(documents: Vec<Value>, is_place: fn(&str) -> bool) -> impl Strategy<Value = Value> {
    let edits = prop::collection::vec((any::<Index>(), any_json()), 0..4);
    (select(documents), edits).prop_map(move |(mut document, edits)| {
        for (at, value) in edits {
            let pointers: Vec<_> =
                pointers(&document, "").into_iter().filter(|pointer| is_place(pointer)).collect();
            *document.pointer_mut(at.get::<String>(&pointers)).unwrap() = value;
        }
        document
    })
}

fn is_in_schema(at: &str) -> bool {
    ["/parameters", "schema"].iter().any(|name| at.contains(name))
}

/// Translators in both directions, for targets that accept different requests.
fn translators() -> Vec<(&'static str, Box<dyn Translator>)> {
    let mut translators: Vec<(_, Box<dyn Translator>)> = Vec::new();
    for target in ["anthropic/claude-opus-4-1", "anthropic/claude-3-5-haiku", "unknown/m"] {
        translators.push((target, Box::new(ChatToMessages::new(target))));
    }
    for target in [
        "openai/gpt-5.2",
        "openai/o3",
        "mistral/m",
        "deepseek/m",
        "gemini/gemini-3-pro",
        "xai/grok-4",
        "moonshot/kimi-k2.6",
        "moonshot/kimi-k3",
        "unknown/m",
    ] {
        translators.push((target, Box::new(MessagesToChat::new(target))));
    }
    translators
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_request_is_rejected_or_satisfies_the_rules_of_the_target(
        request in edited(requests(), |at| !is_in_schema(at)),
    ) {
        for (target, translator) in translators() {
            if let Ok(sent) = translate(&*translator, &request) {
                prop_assert_eq!(accepted_by(target, &body(Ok(sent))), Ok(()), "{}", request);
            }
        }
    }

    /// What a schema may contain is left to the target.
    #[test]
    fn any_schema_is_rejected_or_becomes_json(request in edited(requests(), is_in_schema)) {
        for (_, translator) in translators() {
            let translation = translator.request(&mut http::Request::new(()).into_parts().0, request.to_string().as_bytes());
            prop_assert!(translation.is_err() || serde_json::from_slice::<Value>(&translation.unwrap().body).is_ok());
        }
    }

    #[test]
    fn any_response_is_a_failure_or_becomes_json(response in edited(responses(), |_| true)) {
        for status in [StatusCode::OK, StatusCode::BAD_REQUEST] {
            for mut translator in [for_chat(), for_messages()] {
                let body = translator.whole(status, response.to_string().as_bytes());
                prop_assert!(body.is_err() || serde_json::from_slice::<Value>(&body.unwrap()).is_ok());
            }
        }
    }

    #[test]
    fn any_stream_is_a_failure_or_well_formed(
        stream in edited(streams(), |_| true),
        order in prop::option::of(prop::collection::vec(any::<Index>(), 1..16)),
    ) {
        let mut events = stream.as_array().cloned().unwrap_or_default();
        if let Some(order) = order.filter(|_| !events.is_empty()) {
            events = order.iter().map(|at| at.get(&events).clone()).collect();
        }
        let bytes: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        for translator in [for_chat(), for_messages()] {
            assert_well_formed(&try_stream(translator, bytes.as_bytes(), &[]).0);
        }
        let head = http::Response::builder().header("content-type", "text/event-stream").body(()).unwrap().into_parts().0;
        let mut splicer = StreamContinuation.splicer(&head).unwrap();
        let bytes = bytes::Bytes::from(bytes);
        prop_assert!(splicer.push(&bytes).is_ok());
        let request = json!({"messages": [{"role": "user", "content": "x"}]}).to_string();
        let _ = splicer.continuation_request("openai/gpt", request.as_bytes());
        splicer.switch_to("openai/gpt");
        let _ = splicer.push(&bytes);
    }
}
