//! Tool calls in unusual forms: each is translated whole, or the response is a failure.

use http::StatusCode;
use serde_json::{Value, json};
use tidegate_core::{Failure, ResponseTranslator};

use super::calls::{ID_A, blocks, chunk, expect, pieces};
use super::{for_chat, for_messages, json_events, stream, try_stream};

const WEATHER: &str = "{\"city\":\"Oslo\"}";
const ID_B: &str = "call_BBBBBBBBBBBBBBBBBBBBBBBB";

fn whole(mut answer: Box<dyn ResponseTranslator>, body: &Value) -> Result<Value, Failure> {
    answer
        .whole(StatusCode::OK, body.to_string().as_bytes())
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The failure of a chat stream with these chunks and this finish reason.
fn failure_of(chunks: &[String], reason: &str) -> Option<Failure> {
    let bytes = chunks.concat() + &chunk(&json!({}), Some(reason)) + "data: [DONE]\n\n";
    let (text, failure) = try_stream(for_messages(), bytes.as_bytes(), &[]);
    assert!(failure.is_none() || !text.contains("message_stop"), "{text}");
    failure
}

#[test]
fn a_known_id_is_followed_before_the_last_call() {
    let piece = |id: &str, name: &str, arguments: &str| {
        pieces(&[json!({"id": id, "function": {"name": name, "arguments": arguments}})])
    };
    let [a, b] = [piece(ID_A, "weather", "{\"city\":"), piece(ID_B, "clock", "{\"tz\":")];
    let [a_end, b_end] = [piece(ID_A, "", "\"Oslo\"}"), piece(ID_B, "", "\"UTC\"}")];
    let both = [("weather", WEATHER), ("clock", "{\"tz\":\"UTC\"}")];
    expect(&[a.clone(), b.clone(), a_end.clone(), b_end.clone()], &both);
    expect(&[a.clone(), b.clone(), b_end.clone(), a_end.clone()], &both);
    expect(&[a, b, a_end, piece("", "", " "), b_end], &both);
    // The last call is that of the last piece, not the one that began last.
    let chunks = [
        piece(ID_A, "weather", "{"),
        piece(ID_B, "clock", "{}"),
        piece(ID_A, "", "\"city\":"),
        piece("", "", "1}"),
    ];
    expect(&chunks, &[("weather", "{\"city\":1}"), ("clock", "{}")]);
}

#[test]
fn two_calls_without_ids_and_indexes_are_kept_apart_by_their_names() {
    let piece =
        |name: Value, arguments: &str| pieces(&[json!({"function": {"name": name, "arguments": arguments}})]);
    for second in ["clock", "weather"] {
        let chunks = [
            piece(json!("weather"), ""),
            piece(Value::Null, WEATHER),
            piece(json!(second), ""),
            piece(Value::Null, "{\"a\""),
            piece(Value::Null, ":1}"),
        ];
        expect(&chunks, &[("weather", WEATHER), (second, "{\"a\":1}")]);
    }
}

#[test]
fn named_calls_of_one_list_are_different_calls() {
    for arguments in [Value::Null, json!(""), json!({})] {
        let now = json!({"function": {"name": "now", "arguments": arguments}});
        for name in ["delta", "message"] {
            let chunk = json!({"choices": [{name: {"tool_calls": [now, now]}, "finish_reason": "stop"}]});
            let bytes = format!("data: {chunk}\n\ndata: [DONE]\n\n");
            assert_eq!(blocks(&stream(for_messages(), bytes.as_bytes(), &[])).len(), 2, "{chunk}");
        }
    }
}

#[test]
fn a_piece_with_an_index_may_follow_one_without() {
    let first = json!({"id": ID_A, "function": {"name": "weather", "arguments": "{\"city\":"}});
    let second = json!({"index": 0, "function": {"arguments": "\"Oslo\"}"}});
    expect(
        &[pieces(std::slice::from_ref(&first)), pieces(std::slice::from_ref(&second))],
        &[("weather", WEATHER)],
    );
    expect(&[pieces(&[first, second])], &[("weather", WEATHER)]);
}

#[test]
fn a_block_begins_when_the_name_is_known() {
    let piece = |name: &str, arguments: &str| {
        pieces(&[json!({"index": 0, "id": ID_A, "function": {"name": name, "arguments": arguments}})])
    };
    let named = [("weather", WEATHER)];
    expect(&[piece("", "{\"city\":"), piece("weather", "\"Oslo\"}")], &named);
    expect(&[piece("", WEATHER), piece("weather", "")], &named);
    expect(&[piece("", WEATHER), piece("wea", ""), piece("ther", "")], &named);
    expect(&[piece("", "{\"city\":"), piece("weather", "\"Oslo\""), piece("weather", "}")], &named);
    assert!(failure_of(&[piece("", WEATHER)], "tool_calls").is_some());
    assert!(failure_of(&[piece("", WEATHER)], "stop").is_some());
    // An id alone is no call.
    let alone = pieces(&[json!({"index": 1, "id": ID_B, "function": {"arguments": ""}})]);
    expect(&[piece("weather", WEATHER), alone.clone()], &named);
    assert!(failure_of(&[alone], "tool_calls").is_some());
}

#[test]
fn what_stands_for_no_arguments_is_an_empty_object() {
    let call =
        |arguments: Value| json!({"index": 0, "id": ID_A, "function": {"name": "f", "arguments": arguments}});
    for none in
        [json!(""), json!(" \n"), json!("null"), json!(null), json!({}), json!("{}"), json!("\"null\"")]
    {
        let body = json!({"choices": [{"message": {"tool_calls": [call(none.clone())]}}]});
        assert_eq!(whole(for_messages(), &body).unwrap()["content"][0]["input"], json!({}), "{none}");
        let bytes =
            pieces(&[call(none.clone())]) + &chunk(&json!({}), Some("tool_calls")) + "data: [DONE]\n\n";
        let streamed = blocks(&stream(for_messages(), bytes.as_bytes(), &[]));
        assert!(matches!(&*streamed[0].1, "" | "{}"), "{none}: {streamed:?}");
        // The arguments follow.
        if none != json!("\"null\"") {
            expect(&[pieces(&[call(none)]), pieces(&[call(json!(WEATHER))])], &[("f", WEATHER)]);
        }
    }
}

#[test]
fn repeated_and_encoded_arguments_are_delivered_once() {
    let call =
        |arguments: Value| json!({"index": 0, "id": ID_A, "function": {"name": "f", "arguments": arguments}});
    let object = json!({"city": "Oslo"});
    for chunks in [
        vec![call(object.clone()), call(object.clone())],
        vec![call(json!(WEATHER)), call(object)],
        vec![call(json!(json!(WEATHER).to_string()))],
    ] {
        let chunks: Vec<_> = chunks.into_iter().map(|call| pieces(&[call])).collect();
        expect(&chunks, &[("f", WEATHER)]);
    }
}

#[test]
fn arguments_that_are_not_an_object_are_a_failure() {
    let call =
        |arguments: &str| json!({"index": 0, "id": ID_A, "function": {"name": "f", "arguments": arguments}});
    for arguments in ["{\"city\":\"Os", "city=Oslo", "[1]", "7", "{}x", "\"Oslo\"", "{\"a\":1}{\"b\":2}"] {
        assert!(failure_of(&[pieces(&[call(arguments)])], "tool_calls").is_some(), "{arguments}");
        let body = json!({"choices": [{"message": {"tool_calls": [call(arguments)]}}]});
        assert!(whole(for_messages(), &body).is_err(), "{arguments}");
    }
    // The token limit explains arguments that are cut off.
    assert_eq!(failure_of(&[pieces(&[call("{\"city\":\"Os")])], "length"), None);
}

/// The caller could not parse its arguments.
#[test]
fn a_call_that_was_cut_off_is_dropped_from_a_response_that_is_not_streamed() {
    let whole_call = "{\"city\":\"Oslo\",\"days\":[1,{}]}";
    for cut in 1..=whole_call.len() {
        let arguments = &whole_call[..cut];
        let kept = usize::from(cut == whole_call.len());
        for (text, reason, expected) in
            [("a", "length", "max_tokens"), ("", "length", "max_tokens"), ("a", "content_filter", "refusal")]
        {
            let calls = [WEATHER, arguments]
                .map(|arguments| json!({"id": ID_A, "function": {"name": "f", "arguments": arguments}}));
            for calls in [&calls[..], &calls[1..]] {
                let message = json!({"content": text, "tool_calls": calls});
                let body = json!({"choices": [{"message": message, "finish_reason": reason}]});
                let message = whole(for_messages(), &body).unwrap();
                assert_eq!(message["stop_reason"], expected);
                let content = message["content"].as_array().unwrap();
                let texts = content.iter().filter(|block| block["text"] == "a").count();
                let inputs = content.iter().filter(|block| block["input"].is_object()).count();
                assert_eq!(
                    (texts, inputs, content.len()),
                    (text.len(), calls.len() - 1 + kept, texts + inputs),
                    "{body}"
                );
            }
        }
        let block = json!({"type": "tool_use", "id": "t", "name": "f", "input": arguments});
        let content = json!([{"type": "text", "text": "a"}, block]);
        let completion =
            whole(for_chat(), &json!({"content": content, "stop_reason": "max_tokens"})).unwrap();
        let choice = &completion["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!("a"), &json!("length"))
        );
        assert_eq!(choice["message"]["tool_calls"].as_array().map_or(0, Vec::len), kept, "{completion}");
    }
}

#[test]
fn numbers_in_arguments_stay_exact() {
    let input = r#"{"id":123456789012345678901234567890,"price":1.10}"#;
    let call = format!(r#"{{"index":0,"id":"t","function":{{"name":"f","arguments":{input}}}}}"#);
    let choice = |name: &str| format!(r#"{{"choices":[{{"{name}":{{"tool_calls":[{call}]}}}}]}}"#);
    let message = for_messages().whole(StatusCode::OK, choice("message").as_bytes()).unwrap();
    assert!(std::str::from_utf8(&message).unwrap().contains(input));
    let bytes = format!("data: {}\n\ndata: [DONE]\n\n", choice("delta"));
    assert_eq!(blocks(&stream(for_messages(), bytes.as_bytes(), &[])), [("f".to_owned(), input.to_owned())]);
    let block = format!(r#"{{"type":"tool_use","id":"t","name":"f","input":{input}}}"#);
    let body = format!(r#"{{"content":[{block}]}}"#);
    let completion = for_chat().whole(StatusCode::OK, body.as_bytes()).unwrap();
    let completion: Value = serde_json::from_slice(&completion).unwrap();
    assert_eq!(completion["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], input);
    let start = format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#);
    let empty = start.replace(input, "{}");
    let delta = format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"partial_json":{input}}}}}"#);
    for events in [vec![&start], vec![&empty, &delta]] {
        let bytes: String = events.into_iter().map(|event| format!("data: {event}\n\n")).collect();
        let bytes = bytes + "data: {\"type\":\"message_stop\"}\n\n";
        assert_eq!(only_call(&stream(for_chat(), bytes.as_bytes(), &[])), ["t", "f", input]);
    }
}

/// A call in `function_call`, as an object instead of a list, or with its fields beside `function`.
#[test]
fn a_call_in_an_older_or_flat_form_is_translated() {
    let function = json!({"name": "weather", "arguments": WEATHER});
    let flat = json!({"index": 0, "id": ID_A, "name": "weather", "arguments": WEATHER});
    let nested = json!({"index": 0, "id": ID_A, "function": function});
    let parameters = json!({"id": ID_A, "function": {"name": "weather", "parameters": {"city": "Oslo"}}});
    for message in [
        json!({"function_call": function}),
        json!({"function_call": function, "tool_calls": [nested]}),
        json!({"tool_calls": nested}),
        json!({"tool_calls": [flat]}),
        json!({"tool_calls": [parameters]}),
    ] {
        for name in ["message", "delta"] {
            for reason in ["tool_calls", "function_call", "stop"] {
                let choice = json!({"index": 0, name: message, "finish_reason": reason});
                let body = json!({"id": "c", "choices": [choice]});
                let message = whole(for_messages(), &body).unwrap();
                let block = &message["content"][0];
                assert_eq!((&block["name"], &block["input"]["city"]), (&"weather".into(), &"Oslo".into()));
                assert_eq!(message["stop_reason"], "tool_use");
                let text =
                    stream(for_messages(), format!("data: {body}\n\ndata: [DONE]\n\n").as_bytes(), &[]);
                assert_eq!(blocks(&text), [("weather".to_owned(), WEATHER.to_owned())], "{body}");
                assert!(text.contains(r#""stop_reason":"tool_use""#), "{text}");
            }
        }
    }
    let piece = |name: Value, arguments: &str| {
        chunk(&json!({"function_call": {"name": name, "arguments": arguments}}), None)
    };
    expect(
        &[piece(json!("weather"), ""), piece(Value::Null, "{\"city\":"), piece(Value::Null, "\"Oslo\"}")],
        &[("weather", WEATHER)],
    );
}

#[test]
fn a_finish_reason_of_calls_without_a_call_is_a_failure() {
    for reason in ["tool_calls", "function_call"] {
        for content in [Value::Null, json!("I look.")] {
            let message = json!({"content": content});
            assert!(failure_of(&[chunk(&message, None)], reason).is_some());
            let body = json!({"choices": [{"message": message, "finish_reason": reason}]});
            assert!(whole(for_messages(), &body).is_err());
        }
    }
    assert!(whole(for_chat(), &json!({"content": [], "stop_reason": "tool_use"})).is_err());
    let (text, failure) = messages_stream(&[], "tool_use");
    assert!(failure.is_some() && !text.contains("[DONE]"), "{text}");
}

fn start(block: &Value) -> Value {
    json!({"type": "content_block_start", "index": 0, "content_block": block})
}

fn delta(delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": delta})
}

/// Translates a stream of messages with these events.
fn messages_stream(events: &[Value], reason: &str) -> (String, Option<Failure>) {
    let end = json!({"type": "message_delta", "delta": {"stop_reason": reason}});
    let begin = json!({"type": "message_start", "message": {"id": "msg_1"}});
    let events = [&[begin], events, &[end, json!({"type": "message_stop"})]].concat();
    let bytes: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    try_stream(for_chat(), bytes.as_bytes(), &[])
}

/// The id, name and arguments of the only call of a chat stream.
fn only_call(text: &str) -> [String; 3] {
    let mut call = [const { String::new() }; 3];
    for event in json_events(text) {
        let delta = &event["choices"][0]["delta"]["tool_calls"][0];
        let fields = [&delta["id"], &delta["function"]["name"], &delta["function"]["arguments"]];
        for (field, value) in call.iter_mut().zip(fields) {
            *field += value.as_str().unwrap_or_default();
        }
    }
    call
}

#[test]
fn a_call_of_messages_is_translated_from_all_forms() {
    let block =
        |id: Value, input: Value| json!({"type": "tool_use", "id": id, "name": "weather", "input": input});
    let object = json!({"city": "Oslo"});
    let json = |value: Value| delta(&json!({"type": "input_json_delta", "partial_json": value}));
    let stop = json!({"type": "content_block_stop", "index": 0});
    let untyped = json!({"id": "t", "name": "weather", "input": object});
    let arguments = json!({"type": "tool_use", "id": "t", "name": "weather", "arguments": object});
    let empty = block(json!("t"), json!({}));
    for (events, id) in [
        (vec![start(&block(json!("t"), object.clone()))], "t"),
        (vec![start(&block(json!("t"), json!(WEATHER)))], "t"),
        (vec![start(&untyped)], "t"),
        (vec![start(&arguments)], "t"),
        (vec![start(&block(json!("t"), object.clone())), json(json!(WEATHER))], "t"),
        (
            vec![
                start(&block(json!("t"), object.clone())),
                json(json!("{\"city\"")),
                json(json!(":\"Oslo\"}")),
            ],
            "t",
        ),
        (vec![start(&block(json!("t"), object.clone())), json(json!("{}"))], "t"),
        (vec![start(&empty), json(json!("{}")), json(json!(WEATHER))], "t"),
        (vec![start(&empty), json(object.clone())], "t"),
        (vec![start(&empty), delta(&json!({"partial_json": WEATHER}))], "t"),
        (vec![start(&empty), json(json!(json!(WEATHER).to_string()))], "t"),
        (vec![start(&block(json!(7), json!({}))), json(json!(WEATHER))], "7"),
        (vec![start(&block(json!(""), json!({}))), json(json!(WEATHER))], "msg_1_call_0"),
        (vec![start(&block(Value::Null, json!({}))), json(json!(WEATHER))], "msg_1_call_0"),
    ] {
        for reason in ["tool_use", "end_turn"] {
            for events in [events.clone(), [&events[..], std::slice::from_ref(&stop)].concat()] {
                let (text, failure) = messages_stream(&events, reason);
                assert_eq!(failure, None, "{events:?}");
                assert_eq!(only_call(&text), [id, "weather", WEATHER], "{events:?}");
                assert!(text.contains(r#""finish_reason":"tool_calls""#), "{text}");
            }
        }
    }
    for (block, id) in [
        (block(json!("t"), object.clone()), "t"),
        (block(json!("t"), json!(WEATHER)), "t"),
        (block(json!(7), object.clone()), "7"),
        (block(Value::Null, object), "msg_1_call_0"),
        (untyped, "t"),
        (arguments, "t"),
    ] {
        for reason in ["tool_use", "end_turn"] {
            let body = json!({"id": "msg_1", "content": [block], "stop_reason": reason});
            let choice = whole(for_chat(), &body).unwrap()["choices"][0].clone();
            let call = &choice["message"]["tool_calls"][0];
            assert_eq!((&call["id"], &call["function"]["name"]), (&id.into(), &"weather".into()), "{block}");
            assert_eq!(call["function"]["arguments"], WEATHER, "{block}");
            assert_eq!(choice["finish_reason"], "tool_calls");
        }
    }
}

#[test]
fn what_is_not_a_whole_call_of_messages_is_a_failure() {
    let block = json!({"type": "tool_use", "id": "t", "name": "weather", "input": {}});
    let json = |text: &str| delta(&json!({"type": "input_json_delta", "partial_json": text}));
    let stop = json!({"type": "content_block_stop", "index": 0});
    let nameless = json!({"type": "tool_use", "id": "t", "name": "", "input": {}});
    for events in [
        // Before its start, after its stop, without a start.
        vec![json("{\"city\":"), start(&block), json("\"Oslo\"}")],
        vec![start(&block), json("{\"city\":"), stop.clone(), json("\"Oslo\"}")],
        vec![json(WEATHER)],
        vec![start(&nameless), json(WEATHER)],
        vec![start(&json!({"type": "tool_use", "id": "t", "input": {}}))],
        vec![start(&json!({"type": "made_up", "id": "t", "name": "weather", "input": {}}))],
        vec![start(&block), delta(&json!({"type": "input_json_delta", "partial_json": [1]}))],
        vec![start(&block), delta(&json!({"type": "made_up", "content": "x"}))],
        vec![start(&block), json("{\"city\":\"Os"), stop],
        vec![start(&block), json("city=Oslo")],
    ] {
        let (text, failure) = messages_stream(&events, "tool_use");
        assert!(failure.is_some() && !text.contains("[DONE]"), "{events:?}");
    }
    let bytes: String = [start(&block), json("{\"city\":\"Os"), json!({"type": "message_stop"})]
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    assert!(try_stream(for_chat(), bytes.as_bytes(), &[]).1.is_some(), "there is no stop reason");
    let whole_call = bytes.replace("Os", "Oslo\\\"}");
    let text = stream(for_chat(), whole_call.as_bytes(), &[]);
    assert!(text.contains(r#""finish_reason":"tool_calls""#), "{text}");
    let (_, failure) = messages_stream(&[start(&block), json("{\"city\":\"Os")], "max_tokens");
    assert_eq!(failure, None);
    for block in [
        nameless,
        json!({"type": "tool_use", "id": "t", "input": {}}),
        json!({"type": "tool_use", "id": "t", "name": "f", "input": [1]}),
        json!({"type": "tool_use", "id": "t", "name": "f", "input": "city=Oslo"}),
        json!({"type": "made_up", "id": "t", "name": "f", "input": {}}),
    ] {
        assert!(
            whole(for_chat(), &json!({"content": [block], "stop_reason": "tool_use"})).is_err(),
            "{block}"
        );
    }
}

#[test]
fn the_ids_of_a_response_of_messages_are_unique() {
    let block = |id: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let blocks: Vec<_> = [json!("t"), json!("t"), Value::Null, json!("")].into_iter().map(block).collect();
    let body = json!({"id": "msg_1", "content": blocks, "stop_reason": "tool_use"});
    let message = whole(for_chat(), &body).unwrap()["choices"][0]["message"].clone();
    let ids: Vec<_> =
        message["tool_calls"].as_array().unwrap().iter().map(|call| call["id"].clone()).collect();
    assert_eq!(ids, ["t", "msg_1_t_1", "msg_1_call_2", "msg_1_call_3"]);
    let (text, _) = messages_stream(&blocks.iter().map(start).collect::<Vec<_>>(), "tool_use");
    let ids: Vec<_> = json_events(&text)
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0]["id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(ids, ["t", "msg_1_t_1", "msg_1_call_2", "msg_1_call_3"]);
}
