//! Values that one provider accepts and the other answers with a 400: corrected, dropped, or rejected by
//! name.

mod for_chat;
mod for_messages;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::Translator;
use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::{UNKNOWN_TARGET, body, hello, translate};

const OLD: &str = "anthropic/claude-3-5-sonnet-20241022";
const THINKS: &str = "anthropic/claude-sonnet-4-20250514";
const ONE_OF_BOTH: &str = "anthropic/claude-sonnet-4-5";
const ADAPTS: &str = "anthropic/claude-opus-4-6";
const NEWEST: &str = "anthropic/claude-opus-4-7";

/// Sets the fields of `more` on `all`; null removes a field.
fn with(mut all: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        }
    }
    all
}

fn translate_to_json(translator: &dyn Translator, request: &Value) -> Result<Value, String> {
    match translate(translator, request) {
        Ok(translated) => Ok(body(Ok(translated))),
        Err(refused) => Err(refused.to_string()),
    }
}

fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

fn calls(ids: &[&str]) -> Value {
    let calls: Vec<_> = ids.iter().map(|id| call(id)).collect();
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

fn result(id: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": "7"})
}

fn turn(role: &str, blocks: &[Value]) -> Value {
    json!({"role": role, "content": blocks})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn tool_use(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

fn tool_result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "7"})
}

/// Conversations in which results follow their calls.
pub(super) fn messages_in_turns() -> impl Strategy<Value = Vec<Value>> {
    let id = || prop::sample::select(vec!["a", "", "call_0", "call_1", "x|y", "functions.f:0"]);
    let text = || prop::sample::select(vec!["hm", " ", "so?"]);
    let message = prop_oneof![
        text().prop_map(|text| vec![message("user", text)]),
        text().prop_map(|text| vec![message("assistant", text)]),
        text().prop_map(|text| vec![message("system", text)]),
        prop::collection::vec(id(), 1..4).prop_map(|ids| {
            let results = ids.iter().rev().map(|id| result(id));
            std::iter::once(calls(&ids)).chain(results).collect()
        }),
    ];
    prop::collection::vec(message, 0..8).prop_map(|messages| messages.concat())
}

proptest! {
    /// The rules of Anthropic for the order of turns, calls and results.
    #[test]
    fn the_turns_of_any_conversation_are_in_order(conversation in messages_in_turns(), target in prop::sample::select(vec![UNKNOWN_TARGET, OLD, NEWEST])) {
        let Ok(translated) = translate_to_json(&ChatToMessages::new(target), &json!({"messages": conversation})) else { return Ok(()) };
        let turns = translated["messages"].as_array().unwrap();
        let mut open: Vec<&str> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (at, turn) in turns.iter().enumerate() {
            prop_assert_eq!(&turn["role"], if at % 2 == 0 { "user" } else { "assistant" });
            let blocks = turn["content"].as_array().unwrap();
            prop_assert!(!blocks.is_empty());
            let results: Vec<_> = blocks.iter().filter_map(|block| block["tool_use_id"].as_str()).collect();
            prop_assert!(blocks.iter().take(results.len()).all(|block| block["type"] == "tool_result"));
            let (mut called, mut answered) = (std::mem::take(&mut open), results);
            called.sort_unstable();
            answered.sort_unstable();
            prop_assert_eq!(called, answered);
            for block in blocks {
                if let Some(text) = block["text"].as_str() {
                    prop_assert!(!text.trim().is_empty());
                }
                if let Some(id) = block["id"].as_str() {
                    prop_assert!(seen.insert(id) && !id.is_empty());
                    prop_assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
                    open.push(id);
                }
            }
        }
        prop_assert!(open.is_empty() && !turns.is_empty());
        prop_assert!(seen.is_empty() || translated["tools"].is_array());
    }
}
