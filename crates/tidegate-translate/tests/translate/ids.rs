//! Ids of tool calls, from a chat response to a messages caller and back.

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_translate::MessagesToChat;

use super::{body, for_messages, json_events, stream, translate};

/// A globally unique id in OpenAI's format.
const LONG: &str = "call_abcdefghijklmnopqrstuvwx";

/// A response or a chunk with this choice and the fields of `about`.
fn with(choice: Value, about: &Value) -> Value {
    let mut all = about.clone();
    all["choices"] = json!([choice]);
    all
}

/// One call for each of these ids; a null id is left out of its call.
fn calls(ids: &[Value]) -> Vec<Value> {
    let calls = ids.iter().enumerate().map(|(index, id)| {
        let mut call = json!({"index": index, "id": id, "function": {"name": "f", "arguments": "{}"}});
        if id.is_null() {
            call.as_object_mut().unwrap().remove("id");
        }
        call
    });
    calls.collect()
}

fn tool_ids<'a>(blocks: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let calls = blocks.filter(|block| block["type"] == "tool_use");
    calls.map(|block| block["id"].as_str().unwrap().to_owned()).collect()
}

fn ids_of_json(about: &Value, ids: &[Value]) -> Vec<String> {
    let message = json!({"tool_calls": calls(ids)});
    let answer = with(json!({"message": message, "finish_reason": "tool_calls"}), about).to_string();
    let whole = for_messages().whole(StatusCode::OK, answer.as_bytes()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    tool_ids(whole["content"].as_array().unwrap().iter())
}

fn ids_of_stream(about: &Value, ids: &[Value]) -> Vec<String> {
    let chunks = calls(ids).into_iter().map(|call| {
        format!("data: {}\n\n", with(json!({"index": 0, "delta": {"tool_calls": [call]}}), about))
    });
    let bytes = chunks.collect::<String>() + "data: [DONE]\n\n";
    let text = stream(for_messages(), bytes.as_bytes(), &[]);
    tool_ids(json_events(&text).iter().map(|event| &event["content_block"]))
}

/// The ids, which must be the same in a JSON response and in a stream.
fn ids_of_both(about: &Value, ids: &[Value]) -> Vec<String> {
    let issued = ids_of_json(about, ids);
    assert_eq!(ids_of_stream(about, ids), issued, "{about} {ids:?}");
    issued
}

/// Hosts of open models start with `call_0` in every response, and a messages caller identifies calls by
/// their ids over a whole conversation.
#[test]
fn an_id_that_may_repeat_across_responses_is_prefixed_with_the_response_id() {
    let ids = [json!(LONG), json!("call_0"), json!("functions.f:0"), Value::Null, json!(""), json!(LONG)];
    let issued_ids = |about: Value| ids_of_both(&about, &ids);
    let again = format!("a_b_{LONG}_5");
    assert_eq!(
        issued_ids(json!({"id": "a.b", "created": 7})),
        [LONG, "a_b_call_0_1", "a_b_functions_f_0_2", "a_b_call_3", "a_b_call_4", &again]
    );
    let of_time = issued_ids(json!({"id": "", "created": 1_793_880_000}));
    assert_eq!((&*of_time[1], &*of_time[3]), ("1793880000_call_0_1", "1793880000_call_3"));
    let of_nothing = issued_ids(json!({"id": null}));
    assert_eq!((&*of_nothing[1], &*of_nothing[3]), ("call_0_1", "call_3"));
}

/// Both responses contain a call `call_0`.
#[test]
fn two_responses_never_have_the_same_call_id() {
    let issued_ids = |answer: &str| ids_of_both(&json!({"id": answer}), &[json!("call_0")]);
    let common = "chatcmpl-".repeat(9);
    assert_ne!(issued_ids("chatcmpl-1"), issued_ids("chatcmpl-2"));
    assert_ne!(
        issued_ids(&format!("{common}1")),
        issued_ids(&format!("{common}2")),
        "the difference is at the end of the id"
    );
}

#[test]
fn deltas_of_a_call_are_matched_by_the_id_of_the_target() {
    let piece = |json: &str| {
        let call = json!({"id": "call_0", "function": {"name": "f", "arguments": json}});
        format!(
            "data: {}\n\n",
            with(json!({"index": 0, "delta": {"tool_calls": [call]}}), &json!({"id": "a"}))
        )
    };
    let text = stream(for_messages(), (piece("{\"x\"") + &piece(":1}")).as_bytes(), &[]);
    assert_eq!(
        tool_ids(json_events(&text).iter().map(|event| &event["content_block"])),
        ["a_call_0_0"],
        "{text}"
    );
}

fn id() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        2 => "[a-z_é.:0-2]{0,4}".prop_map(Value::from),
        1 => ".{0,90}".prop_map(Value::from),
        1 => "[a-zA-Z0-9_-]{18,66}".prop_map(Value::from),
        // Ids that collide with generated ones.
        2 => "answer_of_the_tide_1_call(_[0-4]){1,2}".prop_map(Value::from),
        1 => Just(json!(LONG)),
    ]
}

fn about() -> impl Strategy<Value = Value> {
    let id = prop_oneof![
        Just(json!("answer_of_the_tide_1")),
        ".{0,90}".prop_map(Value::from),
        Just(Value::Null),
        Just(json!(7))
    ];
    (id, prop::option::of(any::<u64>())).prop_map(|(id, created)| json!({"id": id, "created": created}))
}

proptest! {
    #[test]
    fn issued_ids_are_valid_and_unique_for_any_ids_of_the_target(
        about in about(), ids in prop::collection::vec(id(), 1..12),
    ) {
        let issued = ids_of_both(&about, &ids);
        let is_fit = |id: &String| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        prop_assert!(issued.iter().all(is_fit), "{:?}", issued);
        let distinct: std::collections::BTreeSet<_> = issued.iter().collect();
        prop_assert_eq!((distinct.len(), issued.len()), (ids.len(), ids.len()), "{:?}", issued);
    }

    #[test]
    fn calls_and_results_still_match_when_they_are_sent_back(
        about in about(), ids in prop::collection::vec(id(), 1..12),
    ) {
        let issued = ids_of_json(&about, &ids);
        let blocks = |block: fn(&String) -> Value| issued.iter().map(block).collect::<Vec<_>>();
        let calls = blocks(|id| json!({"type": "tool_use", "id": id, "name": "f", "input": {}}));
        let results = blocks(|id| json!({"type": "tool_result", "tool_use_id": id, "content": id}));
        let request = json!({"max_tokens": 9, "tools": [{"name": "f", "input_schema": {"type": "object"}}], "messages": [
            {"role": "user", "content": "Ebb?"},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": results},
        ]});
        for target in ["openai/gpt-4o", "mistral/mistral-large-latest", super::UNKNOWN_TARGET] {
            let chat = body(translate(&MessagesToChat::new(target), &request));
            let messages = chat["messages"].as_array().unwrap();
            let called: Vec<_> =
                messages[1]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
            let answered: Vec<_> = messages[2..].iter().map(|message| &message["tool_call_id"]).collect();
            prop_assert_eq!(&called, &answered);
            let results: Vec<_> = messages[2..].iter().map(|message| message["content"].as_str().unwrap()).collect();
            prop_assert_eq!(results, issued.iter().map(|id| &**id).collect::<Vec<_>>());
            let distinct: std::collections::BTreeSet<_> = called.iter().map(|id| id.to_string()).collect();
            prop_assert_eq!(distinct.len(), ids.len());
        }
    }
}
