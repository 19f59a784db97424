//! Tool calls in the forms in which hosts of OpenAI's dialect send them.

use http::StatusCode;
use serde_json::{Value, json};

use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::hostile::assert_well_formed;
use super::{for_chat, for_messages, json_events, stream};

pub(super) const ID_A: &str = "call_AAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) fn chunk(delta: &Value, reason: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
    format!("data: {}\n\n", json!({"id": "c", "model": "m", "choices": [choice]}))
}

pub(super) fn pieces(calls: &[Value]) -> String {
    chunk(&json!({"tool_calls": calls}), None)
}

/// The blocks of a stream: the type or the name of the tool, and the joined content.
pub(super) fn blocks(text: &str) -> Vec<(String, String)> {
    assert_well_formed(text);
    let mut blocks = Vec::new();
    for event in json_events(text) {
        let block = &event["content_block"];
        if let Some(name) = block["name"].as_str().or(block["type"].as_str()) {
            blocks.push((name.to_owned(), String::new()));
        }
        let delta = &event["delta"];
        let content = ["partial_json", "text", "thinking"].into_iter().find_map(|name| delta[name].as_str());
        if let Some(content) = content {
            blocks.last_mut().unwrap().1 += content;
        }
    }
    blocks
}

fn translated(chunks: &[String]) -> Vec<(String, String)> {
    let bytes = chunks.concat() + &chunk(&json!({}), Some("tool_calls")) + "data: [DONE]\n\n";
    blocks(&stream(for_messages(), bytes.as_bytes(), &[]))
}

pub(super) fn expect(chunks: &[String], expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, content)| ((*name).into(), (*content).into())).collect();
    assert_eq!(translated(chunks), expected, "{chunks:?}");
}

#[test]
fn a_call_begins_when_its_name_is_complete() {
    let id = pieces(&[json!({"index": 0, "id": ID_A, "function": {"name": "", "arguments": ""}})]);
    let name = |name: &str| pieces(&[json!({"index": 0, "function": {"name": name}})]);
    let arguments = pieces(&[json!({"index": 0, "function": {"arguments": "{\"city\":\"Rome\"}"}})]);
    let named = [("weather", "{\"city\":\"Rome\"}")];
    expect(&[id.clone(), name("wea"), name("ther"), arguments.clone()], &named);
    expect(&[id.clone(), name("weather"), name("weather"), arguments.clone()], &named);
    expect(&[name("weather"), id.clone(), arguments], &named);
    expect(&[id, name("now")], &[("now", "")]);
}

#[test]
fn pieces_that_repeat_the_id_or_the_name_are_of_one_call() {
    let piece = |id: &str, name: &str, arguments: &str| {
        pieces(&[json!({"index": 0, "id": id, "function": {"name": name, "arguments": arguments}})])
    };
    let whole = [("weather", "{\"city\":\"Bonn\"}")];
    for (id, name) in [(ID_A, ""), (ID_A, "weather"), ("", "weather"), ("another", "")] {
        expect(&[piece(ID_A, "weather", "{\"ci"), piece(id, name, "ty\":\"Bonn\"}")], &whole);
    }
}

#[test]
fn calls_without_an_index_or_with_the_same_one_are_kept_apart() {
    let call = |index: Value, id: &str, name: &str| json!({"index": index, "id": id, "function": {"name": name, "arguments": "{}"}});
    for index in [Value::Null, json!(0)] {
        for ids in [["a", "b"], ["", ""]] {
            let [first, second] = [call(index.clone(), ids[0], "f"), call(index.clone(), ids[1], "g")];
            let both = [("f", "{}"), ("g", "{}")];
            expect(&[pieces(&[first.clone(), second.clone()])], &both);
            expect(&[pieces(&[first]), pieces(&[second])], &both);
        }
    }
}

/// Regression: a call ran with an empty input.
#[test]
fn arguments_that_are_an_object_are_kept() {
    let call =
        |arguments: Value| json!({"index": 0, "id": ID_A, "function": {"name": "f", "arguments": arguments}});
    let whole = |arguments: Value| {
        let body = json!({"choices": [{"message": {"tool_calls": [call(arguments)]}}]}).to_string();
        let message = for_messages().whole(StatusCode::OK, body.as_bytes())?;
        Ok::<Value, tidegate_core::Failure>(
            serde_json::from_slice::<Value>(&message).unwrap()["content"][0]["input"].clone(),
        )
    };
    for (arguments, input) in [
        (json!({"city": "Oslo"}), json!({"city": "Oslo"})),
        (json!("{\"city\":\"Oslo\"}"), json!({"city": "Oslo"})),
        (json!({}), json!({})),
        (json!(""), json!({})),
        (Value::Null, json!({})),
    ] {
        assert_eq!(whole(arguments.clone()).unwrap(), input);
        let blocks = translated(&[pieces(&[call(arguments)])]);
        let streamed = if blocks[0].1.is_empty() { "{}" } else { &*blocks[0].1 };
        assert_eq!(serde_json::from_str::<Value>(streamed).unwrap(), input);
    }
    for other in [json!([1]), json!(7), json!(true)] {
        assert_eq!(whole(other.clone()).unwrap_err().code.code(), "E3001", "{other}");
        let mut out = bytes::BytesMut::new();
        let failure = for_messages().events(pieces(&[call(other)]).as_bytes(), &mut out).unwrap_err();
        assert_eq!(failure.provider_code.as_deref(), Some("unreadable_answer"));
    }
}

#[test]
fn an_input_that_is_a_string_is_not_encoded_twice() {
    let block = |input: Value| json!({"type": "tool_use", "id": "t", "name": "f", "input": input});
    for input in [json!({"a": 1}), json!("{\"a\":1}")] {
        let body = json!({"content": [block(input.clone())]}).to_string();
        let whole = for_chat().whole(StatusCode::OK, body.as_bytes()).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let call = &whole["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(call["function"]["arguments"], "{\"a\":1}");
        let start = json!({"type": "content_block_start", "index": 0, "content_block": block(input)});
        let stop = json!({"type": "content_block_stop", "index": 0});
        let text = stream(for_chat(), format!("data: {start}\n\ndata: {stop}\n\n").as_bytes(), &[]);
        assert!(text.contains(r#""arguments":"{\"a\":1}""#), "{text}");
    }
}

/// A host sends a file in the arguments of one call, in one event.
#[test]
fn an_event_may_be_as_large_as_the_cap() {
    let arguments = json!({"content": "x".repeat(600_000)}).to_string();
    let call = json!({"index": 0, "id": ID_A, "function": {"name": "write", "arguments": arguments}});
    expect(&[pieces(&[call])], &[("write", &arguments)]);
    let delta = json!({"type": "text_delta", "text": "x".repeat(600_000)});
    let event = json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let text = stream(for_chat(), format!("data: {event}\n\n").as_bytes(), &[]);
    assert_eq!(json_events(&text)[0]["choices"][0]["delta"]["content"].as_str().unwrap().len(), 600_000);
}

/// The content that waits for an earlier call is bounded.
#[test]
fn more_than_the_cap_does_not_wait() {
    let mut answer = for_messages();
    answer.set_event_cap(64 * 1024);
    let mut out = bytes::BytesMut::new();
    let piece = |index: u64, arguments: &str| {
        pieces(&[json!({"index": index, "id": index, "function": {"name": "f", "arguments": arguments}})])
    };
    answer.events(piece(0, "{\"").as_bytes(), &mut out).unwrap();
    answer.events(piece(1, "{\"").as_bytes(), &mut out).unwrap();
    let piece = piece(1, &"x".repeat(1024));
    let failure = (0..65).find_map(|_| answer.events(piece.as_bytes(), &mut out).err()).unwrap();
    assert_eq!(failure.provider_code.as_deref(), Some("too_many_bytes"));
}

/// Arguments that are a string of an object are held until they are whole.
#[test]
fn more_than_the_cap_is_not_held_for_a_chat() {
    let delta =
        |json: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"partial_json": json}});
    let start = |input: &str| {
        let block = json!({"type": "tool_use", "id": "t", "name": "f", "input": {"a": input}});
        json!({"type": "content_block_start", "index": 0, "content_block": block})
    };
    for (first, next) in [(start(""), delta("\"")), (start("x"), start(&"x".repeat(1024)))] {
        let next = if next["delta"].is_null() { next } else { delta(&"x".repeat(1024)) };
        let mut answer = for_chat();
        answer.set_event_cap(64 * 1024);
        let mut out = bytes::BytesMut::new();
        let quote = delta("\"");
        let events = [vec![first], vec![quote], vec![next; 65]].concat();
        let failure = events.iter().enumerate().find_map(|(at, event)| {
            let mut event = event.clone();
            if !event["content_block"].is_null() {
                event["index"] = at.into();
            }
            answer.events(format!("data: {event}\n\n").as_bytes(), &mut out).err()
        });
        assert_eq!(failure.unwrap().provider_code.as_deref(), Some("too_many_bytes"));
    }
}

/// Names of up to 128 characters are valid for Anthropic, and of up to 64 for OpenAI.
#[test]
fn tool_names_that_the_target_rejects_are_shortened_and_restored_in_the_response() {
    let long = format!("mcp__{}", "tide_table_".repeat(9));
    let tool_use = json!({"type": "tool_use", "id": "t", "name": long, "input": {}});
    let request = json!({
        "max_tokens": 9,
        "tools": [{"name": long, "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": long},
        "messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": [tool_use]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "six"}]},
        ],
    });
    let translation =
        |request: &Value| super::translate(&MessagesToChat::new("openai/gpt-4o"), request).unwrap();
    let chat = super::body(Ok(translation(&request)));
    let name = chat["tools"][0]["function"]["name"].as_str().unwrap();
    assert!(name.len() <= 64 && name.starts_with("mcp__tide_table_"), "{name}");
    assert_eq!(chat["tool_choice"]["function"]["name"], name);
    assert_eq!(chat["messages"][1]["tool_calls"][0]["function"]["name"], name);
    assert_eq!(super::body(Ok(translation(&request))), chat, "the same name in each request");

    let call = json!({"index": 0, "id": ID_A, "function": {"name": name, "arguments": "{}"}});
    let whole = json!({"choices": [{"message": {"tool_calls": [call]}}]}).to_string();
    let message = translation(&request).response.whole(StatusCode::OK, whole.as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&message).unwrap()["content"][0]["name"], *long);
    let bytes = pieces(&[call]) + "data: [DONE]\n\n";
    assert_eq!(
        blocks(&stream(translation(&request).response, bytes.as_bytes(), &[])),
        [(long, "{}".to_owned())]
    );
}

#[test]
fn tool_names_of_a_chat_are_restored_too() {
    let function = json!({"name": "tide.at", "parameters": {"type": "object"}});
    let request = json!({"messages": super::hello(), "tools": [{"type": "function", "function": function}]});
    let translation = || super::translate(&ChatToMessages::new("anthropic/claude"), &request).unwrap();
    let messages = super::body(Ok(translation()));
    let name = messages["tools"][0]["name"].as_str().unwrap();
    assert!(name.starts_with("tide_at_"), "{name}");
    let block = json!({"type": "tool_use", "id": "t", "name": name, "input": {}});
    let whole =
        translation().response.whole(StatusCode::OK, json!({"content": [block]}).to_string().as_bytes());
    let whole: Value = serde_json::from_slice(&whole.unwrap()).unwrap();
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "tide.at");
    let start = json!({"type": "content_block_start", "index": 0, "content_block": block});
    let text = stream(translation().response, format!("data: {start}\n\n").as_bytes(), &[]);
    assert!(text.contains(r#""name":"tide.at""#), "{text}");
}
