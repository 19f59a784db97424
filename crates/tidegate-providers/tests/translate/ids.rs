//! Ids of calls, from the answer of a chat to a caller of messages and back.

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_providers::translate::MessagesToChat;

use super::{body, for_messages, stream, told, translate};

/// An id that is nobody else's, as OpenAI makes them.
const LONG: &str = "call_abcdefghijklmnopqrstuvwx";

/// The fields that a chat has beside its choices: all chunks of it, or the one answer.
fn with(choice: Value, about: &Value) -> Value {
    let mut all = about.clone();
    all["choices"] = json!([choice]);
    all
}

/// One call by each of these ids; of a call that has none, nothing is said.
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

fn told_plain(about: &Value, ids: &[Value]) -> Vec<String> {
    let message = json!({"tool_calls": calls(ids)});
    let answer = with(json!({"message": message, "finish_reason": "tool_calls"}), about).to_string();
    let whole = for_messages().whole(StatusCode::OK, answer.as_bytes()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    tool_ids(whole["content"].as_array().unwrap().iter())
}

fn told_in_stream(about: &Value, ids: &[Value]) -> Vec<String> {
    let chunks = calls(ids).into_iter().map(|call| {
        format!("data: {}\n\n", with(json!({"index": 0, "delta": {"tool_calls": [call]}}), about))
    });
    let text = stream(for_messages(), chunks.collect::<String>().as_bytes(), &[]);
    tool_ids(told(&text).iter().map(|event| &event["content_block"]))
}

/// The same whole and in a stream.
fn told_both(about: &Value, ids: &[Value]) -> Vec<String> {
    let told = told_plain(about, ids);
    assert_eq!(told_in_stream(about, ids), told, "{about} {ids:?}");
    told
}

/// Hosts of open models begin with `call_0` in every answer, and a caller of messages keeps calls by their ids over a
/// whole conversation.
#[test]
fn an_id_that_another_answer_may_have_is_told_with_that_of_the_answer() {
    let ids = [json!(LONG), json!("call_0"), json!("functions.f:0"), Value::Null, json!(""), json!(LONG)];
    let told = |about: Value| told_both(&about, &ids);
    let again = format!("a_b_{LONG}_5");
    assert_eq!(
        told(json!({"id": "a.b", "created": 7})),
        [LONG, "a_b_call_0_1", "a_b_functions_f_0_2", "a_b_call_3", "a_b_call_4", &again]
    );
    let of_time = told(json!({"id": "", "created": 1_793_880_000}));
    assert_eq!((&*of_time[1], &*of_time[3]), ("1793880000_call_0_1", "1793880000_call_3"));
    let of_nothing = told(json!({"id": null}));
    assert_eq!((&*of_nothing[1], &*of_nothing[3]), ("call_0_1", "call_3"));
}

/// What the first answer calls `call_0` the second does, too.
#[test]
fn two_answers_never_call_their_calls_alike() {
    let told = |answer: &str| told_both(&json!({"id": answer}), &[json!("call_0")]);
    let common = "chatcmpl-".repeat(9);
    assert_ne!(told("chatcmpl-1"), told("chatcmpl-2"));
    assert_ne!(told(&format!("{common}1")), told(&format!("{common}2")), "what differs is at the end");
}

#[test]
fn pieces_of_a_call_go_by_the_id_that_the_target_gave_it() {
    let piece = |json: &str| {
        let call = json!({"id": "call_0", "function": {"name": "f", "arguments": json}});
        format!(
            "data: {}\n\n",
            with(json!({"index": 0, "delta": {"tool_calls": [call]}}), &json!({"id": "a"}))
        )
    };
    let text = stream(for_messages(), (piece("{\"x\"") + &piece(":1}")).as_bytes(), &[]);
    assert_eq!(tool_ids(told(&text).iter().map(|event| &event["content_block"])), ["a_call_0_0"], "{text}");
}

fn id() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        2 => "[a-z_é.:0-2]{0,4}".prop_map(Value::from),
        1 => ".{0,90}".prop_map(Value::from),
        1 => "[a-zA-Z0-9_-]{18,66}".prop_map(Value::from),
        // What an id is made into, said before it is and after.
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
    fn whatever_calls_are_called_their_ids_fit_and_each_is_told_once(
        about in about(), ids in prop::collection::vec(id(), 0..12),
    ) {
        let told = told_both(&about, &ids);
        let is_fit = |id: &String| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        prop_assert!(told.iter().all(is_fit), "{:?}", told);
        let distinct: std::collections::BTreeSet<_> = told.iter().collect();
        prop_assert_eq!((distinct.len(), told.len()), (ids.len(), ids.len()), "{:?}", told);
    }

    #[test]
    fn calls_and_results_are_a_pair_when_they_come_back(
        about in about(), ids in prop::collection::vec(id(), 1..12),
    ) {
        let told = told_plain(&about, &ids);
        let said = |block: fn(&String) -> Value| told.iter().map(block).collect::<Vec<_>>();
        let calls = said(|id| json!({"type": "tool_use", "id": id, "name": "f", "input": {}}));
        let results = said(|id| json!({"type": "tool_result", "tool_use_id": id, "content": id}));
        let asked = json!({"max_tokens": 9, "tools": [{"name": "f", "input_schema": {"type": "object"}}], "messages": [
            {"role": "user", "content": "Ebb?"},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": results},
        ]});
        for target in ["openai/gpt-4o", "mistral/mistral-large-latest", super::SOMEBODY] {
            let chat = body(translate(&MessagesToChat::new(target), &asked));
            let messages = chat["messages"].as_array().unwrap();
            let called: Vec<_> =
                messages[1]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
            let answered: Vec<_> = messages[2..].iter().map(|message| &message["tool_call_id"]).collect();
            prop_assert_eq!(&called, &answered);
            let results: Vec<_> = messages[2..].iter().map(|message| message["content"].as_str().unwrap()).collect();
            prop_assert_eq!(results, told.iter().map(|id| &**id).collect::<Vec<_>>());
            let distinct: std::collections::BTreeSet<_> = called.iter().map(|id| id.to_string()).collect();
            prop_assert_eq!(distinct.len(), ids.len());
        }
    }
}
