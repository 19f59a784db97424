//! What a provider answers with a 400 though the other takes it: put right, or refused by its name.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::Translator;
use tidegate_providers::translate::{ChatToMessages, MessagesToChat};

use super::{SOMEBODY, body, hello, translate};

const OLD: &str = "anthropic/claude-3-5-sonnet-20241022";
const THINKS: &str = "anthropic/claude-sonnet-4-20250514";
const ONE_OF_BOTH: &str = "anthropic/claude-sonnet-4-5";
const ADAPTS: &str = "anthropic/claude-opus-4-6";
const NEWEST: &str = "anthropic/claude-opus-4-7";

/// The second over the first, field by field; null takes a field away.
fn with(mut all: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        }
    }
    all
}

fn asks(translator: &dyn Translator, asked: &Value) -> Result<Value, String> {
    match translate(translator, asked) {
        Ok(told) => Ok(body(Ok(told))),
        Err(refused) => Err(refused.to_string()),
    }
}

/// The shortest chat with these fields becomes the shortest request with those, or a sentence.
fn chat_becomes(cases: &[(&str, Value, Result<Value, &str>)]) {
    for (target, fields, expected) in cases {
        let said = asks(&ChatToMessages::new(target), &with(json!({"messages": hello()}), fields));
        let spoken = json!([{"role": "user", "content": [{"type": "text", "text": "Ebb?"}]}]);
        let base = json!({"max_tokens": 4096, "messages": spoken});
        let expected = expected.as_ref().map(|more| with(base, more)).map_err(|error| (*error).to_owned());
        assert_eq!(said, expected, "{target}: {fields}");
    }
}

/// The same the other way.
fn messages_become(cases: &[(&str, Value, Result<Value, &str>)]) {
    for (target, fields, expected) in cases {
        let asked = with(json!({"max_tokens": 9, "messages": hello()}), fields);
        let said = asks(&MessagesToChat::new(target), &asked);
        let limit = if target.starts_with("openai") { "max_completion_tokens" } else { "max_tokens" };
        let base = json!({limit: 9, "messages": hello()});
        let expected = expected.as_ref().map(|more| with(base, more)).map_err(|error| (*error).to_owned());
        assert_eq!(said, expected, "{target}: {fields}");
    }
}

#[test]
fn only_what_the_model_takes_of_temperature_and_top_p_is_sent() {
    let both = json!({"temperature": 0.2, "top_p": 0.5});
    let thinking = |fields: Value| with(json!({"reasoning_effort": "low"}), &fields);
    let thinks = json!({"max_tokens": 5120, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let adapts = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}});
    chat_becomes(&[
        (OLD, both.clone(), Ok(both.clone())),
        (SOMEBODY, both.clone(), Ok(both.clone())),
        (ONE_OF_BOTH, both.clone(), Ok(json!({"temperature": 0.2}))),
        (ONE_OF_BOTH, json!({"top_p": 0.5}), Ok(json!({"top_p": 0.5}))),
        (ADAPTS, both.clone(), Ok(json!({"temperature": 0.2}))),
        (NEWEST, both.clone(), Ok(json!({}))),
        (OLD, json!({"temperature": 1.3, "top_p": 1.5}), Ok(json!({"temperature": 1, "top_p": 1}))),
        (OLD, json!({"temperature": -1}), Ok(json!({"temperature": 0}))),
        (OLD, json!({"top_p": "x"}), Err("`top_p` is not in the form of its dialect")),
        (THINKS, thinking(both.clone()), Ok(thinks.clone())),
        (THINKS, thinking(json!({"top_p": 0.99, "temperature": 1})), Ok(thinks)),
        (ADAPTS, thinking(both.clone()), Ok(adapts)),
        // It does not think, so that it takes both.
        (OLD, thinking(both.clone()), Ok(both)),
    ]);
}

#[test]
fn a_stop_of_white_space_is_left_out() {
    chat_becomes(&[
        (SOMEBODY, json!({"stop": "\n"}), Ok(json!({}))),
        (SOMEBODY, json!({"stop": ""}), Ok(json!({}))),
        (SOMEBODY, json!({"stop": []}), Ok(json!({}))),
        (SOMEBODY, json!({"stop": ["\n\n", "END\n", " "]}), Ok(json!({"stop_sequences": ["END\n"]}))),
    ]);
}

#[test]
fn no_more_tokens_are_asked_for_than_the_model_has() {
    let effort = |limit: Value| json!({"reasoning_effort": "high", "max_tokens": limit});
    let thinks = |limit: u64, budget: u64| {
        Ok(json!({"max_tokens": limit, "thinking": {"type": "enabled", "budget_tokens": budget}}))
    };
    chat_becomes(&[
        (OLD, json!({"max_tokens": 16_384}), Ok(json!({"max_tokens": 8192}))),
        (OLD, json!({"max_completion_tokens": 7, "max_tokens": 9}), Ok(json!({"max_tokens": 7}))),
        (SOMEBODY, json!({"max_tokens": 1_000_000}), Ok(json!({"max_tokens": 1_000_000}))),
        (SOMEBODY, json!({"max_tokens": 0}), Err("`max_tokens` is less than 1")),
        (SOMEBODY, json!({"max_completion_tokens": 0}), Err("`max_completion_tokens` is less than 1")),
        // A budget is 1024 at least, and less than the limit; half of it is left for words.
        (THINKS, effort(json!(2048)), thinks(2048, 1024)),
        (THINKS, effort(json!(2047)), Ok(json!({"max_tokens": 2047}))),
        (THINKS, effort(json!(1)), Ok(json!({"max_tokens": 1}))),
        (THINKS, effort(json!(1_000_000)), thinks(64_000, 16_384)),
        (THINKS, effort(Value::Null), thinks(20_480, 16_384)),
    ]);
    let none = asks(&ChatToMessages::new(SOMEBODY).default_max_tokens(0), &json!({"messages": hello()}));
    assert_eq!(none.unwrap()["max_tokens"], 1);
    let patient = ChatToMessages::new(THINKS).default_max_tokens(u64::MAX);
    let said = asks(&patient, &with(json!({"messages": hello()}), &effort(Value::Null))).unwrap();
    assert_eq!((&said["max_tokens"], &said["thinking"]["budget_tokens"]), (&json!(64_000), &json!(16_384)));
}

#[test]
fn nobody_thinks_before_a_tool_that_must_be_called() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let told = json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]);
    let ask = |choice: Value| json!({"tools": tools, "tool_choice": choice, "reasoning_effort": "low"});
    let one = json!({"type": "function", "function": {"name": "f"}});
    let becomes = |choice: Value, more: Value| Ok(with(json!({"tools": told, "tool_choice": choice}), &more));
    let thinks = json!({"max_tokens": 5120, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let effort = json!({"output_config": {"effort": "low"}});
    chat_becomes(&[
        (THINKS, ask(json!("required")), becomes(json!({"type": "any"}), json!({}))),
        (THINKS, ask(one.clone()), becomes(json!({"type": "tool", "name": "f"}), json!({}))),
        (THINKS, ask(json!("auto")), becomes(json!({"type": "auto"}), thinks.clone())),
        (THINKS, ask(json!("none")), becomes(json!({"type": "none"}), thinks)),
        (ADAPTS, ask(one), becomes(json!({"type": "tool", "name": "f"}), effort)),
    ]);
}

#[test]
fn a_schema_is_asked_for_where_the_model_keeps_to_one() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}, "strict": true}}]);
    let config = json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}});
    chat_becomes(&[
        (ONE_OF_BOTH, json!({"response_format": format}), Ok(config)),
        (
            OLD,
            json!({"response_format": format}),
            Err("`response_format` has no counterpart in the dialect of the target"),
        ),
        (OLD, json!({"tools": tools}), Ok(json!({"tools": [{"name": "f", "input_schema": {}}]}))),
        (
            NEWEST,
            json!({"tools": tools}),
            Ok(json!({"tools": [{"name": "f", "input_schema": {}, "strict": true}]})),
        ),
    ]);
}

#[test]
fn of_more_strict_tools_than_are_taken_none_is_strict() {
    let tool = |at: usize| json!({"type": "function", "function": {"name": format!("f{at}"), "parameters": {}, "strict": true}});
    for (count, strict) in [(20, 20), (21, 0)] {
        let mut tools: Vec<_> = (0..count).map(tool).collect();
        tools.push(json!({"type": "function", "function": {"name": "loose"}}));
        let told = asks(&ChatToMessages::new(NEWEST), &json!({"messages": hello(), "tools": tools})).unwrap();
        let told = told["tools"].as_array().unwrap();
        let are_strict = told.iter().filter(|tool| tool["strict"] == true).count();
        assert_eq!((told.len(), are_strict), (count + 1, strict));
    }
}

#[test]
fn who_asks_is_told_where_it_is_nobody_that_one_could_call() {
    let told = |user: &str| Ok(json!({"metadata": {"user_id": user}}));
    chat_becomes(&[
        (SOMEBODY, json!({"user": "u1"}), told("u1")),
        (SOMEBODY, json!({"user": "u1", "safety_identifier": "s1"}), told("s1")),
        (SOMEBODY, json!({"user": "ann@example.org"}), Ok(json!({}))),
        (SOMEBODY, json!({"user": "+49 (30) 123-456"}), Ok(json!({}))),
        (SOMEBODY, json!({"user": "é".repeat(256)}), told(&"é".repeat(256))),
        (SOMEBODY, json!({"user": "u".repeat(257)}), Ok(json!({}))),
        (SOMEBODY, json!({"user": ""}), Ok(json!({}))),
    ]);
}

fn said(role: &str, text: &str) -> Value {
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

#[test]
fn turns_are_such_as_the_target_takes_or_refused_in_a_sentence() {
    const NOTHING: &str = "`messages` ends with nothing to answer";
    const OPEN: &str = "`messages[].tool_calls` has a call that is not answered next";
    const ORPHAN: &str = "`messages[].tool_call_id` answers no call of the turn before";
    const PREFILL: &str = "`messages` has to end with the user for the target";
    let (hi, hello) = (said("user", "hi"), turn("user", &[text("hi")]));
    for (target, spoken, expected) in [
        (SOMEBODY, json!([]), Err(NOTHING)),
        (SOMEBODY, json!([said("system", "Be kind.")]), Err(NOTHING)),
        (SOMEBODY, json!([said("user", " \n\t")]), Err(NOTHING)),
        (SOMEBODY, json!([turn("user", &[text(" "), text("")])]), Err(NOTHING)),
        (SOMEBODY, json!([hi, said("assistant", "yes"), said("user", " ")]), Err(NOTHING)),
        (SOMEBODY, json!([hi, said("user", " ")]), Ok(json!([hello]))),
        (SOMEBODY, json!([hi, said("assistant", " ")]), Ok(json!([hello]))),
        // Turns alternate.
        (SOMEBODY, json!([hi, said("user", "so?")]), Ok(json!([turn("user", &[text("hi"), text("so?")])]))),
        (
            SOMEBODY,
            json!([hi, said("assistant", "a"), said("system", "s"), said("assistant", "b"), hi]),
            Ok(json!([hello, turn("assistant", &[text("a"), text("b")]), hello])),
        ),
        (
            SOMEBODY,
            json!([said("assistant", "Hello!"), hi]),
            Ok(json!([
                turn("user", &[text("(The assistant speaks first.)")]),
                turn("assistant", &[text("Hello!")]),
                hello,
            ])),
        ),
        // The beginning of the answer.
        (
            OLD,
            json!([hi, said("assistant", "So: \n")]),
            Ok(json!([hello, turn("assistant", &[text("So:")])])),
        ),
        (ADAPTS, json!([hi, said("assistant", "So:")]), Err(PREFILL)),
        (NEWEST, json!([hi, said("assistant", "So:")]), Err(PREFILL)),
        // Each call has its answer in the turn after it, before all else.
        (
            SOMEBODY,
            json!([hi, calls(&["a", "b"]), result("a"), said("user", "wait"), result("b")]),
            Ok(json!([
                hello,
                turn("assistant", &[tool_use("a"), tool_use("b")]),
                turn("user", &[tool_result("a"), tool_result("b"), text("wait")]),
            ])),
        ),
        (SOMEBODY, json!([hi, calls(&["a"])]), Err(OPEN)),
        (SOMEBODY, json!([hi, calls(&["a", "b"]), result("a")]), Err(OPEN)),
        (SOMEBODY, json!([hi, calls(&["a"]), hi, said("assistant", "x"), result("a")]), Err(OPEN)),
        (SOMEBODY, json!([hi, result("a")]), Err(ORPHAN)),
        (SOMEBODY, json!([hi, calls(&["a"]), result("a"), result("a")]), Err(ORPHAN)),
        (SOMEBODY, json!([hi, calls(&["a"]), result("b")]), Err(ORPHAN)),
    ] {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let asked = json!({"messages": spoken, "tools": tools});
        let told = asks(&ChatToMessages::new(target), &asked).map(|told| told["messages"].clone());
        assert_eq!(told, expected.map_err(str::to_owned), "{target}: {spoken}");
    }
}

/// An order at the end of a conversation went to its beginning, and the assistant was to go on with its last answer.
#[test]
fn what_the_system_says_last_is_what_has_to_be_answered() {
    let spoken = json!([
        said("system", "Be kind."),
        said("user", "hi"),
        said("assistant", "Hello!"),
        said("system", "Sum up."),
        said("developer", "In English."),
    ]);
    let (hi, hello) = (turn("user", &[text("hi")]), turn("assistant", &[text("Hello!")]));
    for target in [SOMEBODY, OLD, NEWEST] {
        let told = asks(&ChatToMessages::new(target), &json!({"messages": spoken})).unwrap();
        assert_eq!(told["system"], json!([text("Be kind.")]), "{target}");
        assert_eq!(
            told["messages"],
            json!([hi, hello, turn("user", &[text("Sum up."), text("In English.")])])
        );
    }
    let open = json!([said("user", "hi"), calls(&["a"]), said("system", "Go on.")]);
    assert!(asks(&ChatToMessages::new(SOMEBODY), &json!({"messages": open})).is_err());
}

#[test]
fn the_beginning_of_an_answer_is_not_thought_over() {
    let asked =
        json!({"messages": [said("user", "hi"), said("assistant", "So")], "reasoning_effort": "high"});
    let told = asks(&ChatToMessages::new(THINKS), &asked).unwrap();
    assert_eq!((told.get("thinking"), &told["max_tokens"]), (None, &json!(4096)));
}

/// Hosts of open models name calls `functions.f:0`, and some begin anew with `call_0` in every answer.
#[test]
fn calls_get_names_that_the_target_takes_and_results_go_with_them() {
    let spoken = json!([
        said("user", "hi"),
        calls(&["functions.f:0", "call_1", ""]),
        result("call_1"),
        result(""),
        result("functions.f:0"),
        calls(&["call_1", "call_1"]),
        result("call_1"),
        result("call_1"),
    ]);
    let told = asks(&ChatToMessages::new(SOMEBODY), &json!({"messages": spoken})).unwrap();
    let used = |ids: [&str; 3]| turn("assistant", &ids.map(tool_use));
    assert_eq!(told["messages"][1], used(["call_0", "call_1", "call_2"]));
    assert_eq!(told["messages"][2], turn("user", &["call_1", "call_2", "call_0"].map(tool_result)));
    assert_eq!(told["messages"][3], turn("assistant", &["call_3", "call_4"].map(tool_use)));
    assert_eq!(told["messages"][4], turn("user", &["call_3", "call_4"].map(tool_result)));
}

#[test]
fn tools_that_were_called_are_declared_and_not_called_again() {
    let spoken = json!([said("user", "hi"), calls(&["a", "b"]), result("a"), result("b")]);
    for fields in
        [json!({}), json!({"tools": []}), json!({"tool_choice": "auto", "parallel_tool_calls": false})]
    {
        let asked = with(json!({"messages": spoken}), &fields);
        let told = asks(&ChatToMessages::new(SOMEBODY), &asked).unwrap();
        assert_eq!(told["tools"], json!([{"name": "f", "input_schema": {"type": "object"}}]));
        assert_eq!(told["tool_choice"], json!({"type": "none"}));
    }
}

#[test]
fn pictures_are_of_a_kind_that_is_taken() {
    let ask = |url: &str| {
        let part = json!({"type": "image_url", "image_url": {"url": url}});
        let told = asks(&ChatToMessages::new(SOMEBODY), &json!({"messages": [turn("user", &[part])]}));
        told.map(|told| told["messages"][0]["content"][0]["source"]["media_type"].clone())
    };
    assert_eq!(ask("data:image/jpg;base64,AA"), Ok(json!("image/jpeg")));
    assert_eq!(ask("data:image/webp;charset=x;base64,AA"), Ok(json!("image/webp")));
    let refused = "`messages[].content[].image_url.url` has no counterpart in the dialect of the target";
    assert_eq!(ask("data:image/bmp;base64,AA"), Err(refused.to_owned()));
}

#[test]
fn messages_are_asked_of_a_chat_as_its_model_takes_them() {
    let long = "u".repeat(65);
    let stops =
        |count: usize| json!({"stop_sequences": (0..count).map(|at| format!("s{at}")).collect::<Vec<_>>()});
    let stop = |count: usize| Ok(json!({"stop": stops(count)["stop_sequences"]}));
    const TOO_MANY: &str = "`stop_sequences` are more than the target takes";
    messages_become(&[
        ("openai/gpt-4o", json!({"max_tokens": 64_000}), Ok(json!({"max_completion_tokens": 16_384}))),
        ("deepseek/deepseek-chat", json!({"max_tokens": 64_000}), Ok(json!({"max_tokens": 64_000}))),
        (
            "openai/gpt-4o",
            json!({"temperature": 0.2, "top_p": 0.5}),
            Ok(json!({"temperature": 0.2, "top_p": 0.5})),
        ),
        ("openai/gpt-5", json!({"temperature": 0.2, "top_p": 0.5}), Ok(json!({}))),
        ("openai/gpt-5-chat-latest", json!({"temperature": 0.2}), Ok(json!({"temperature": 0.2}))),
        ("openai/gpt-4o", stops(4), stop(4)),
        ("openai/gpt-4o", stops(5), Err(TOO_MANY)),
        ("openai/gpt-4o", stops(0), Ok(json!({}))),
        ("deepseek/deepseek-chat", stops(16), stop(16)),
        ("deepseek/deepseek-chat", stops(17), Err(TOO_MANY)),
        ("openai/o3", stops(1), Err("`stop_sequences` has no counterpart in the dialect of the target")),
        ("openai/gpt-4o", json!({"metadata": {"user_id": "u1"}}), Ok(json!({"user": "u1"}))),
        ("openai/gpt-4o", json!({"metadata": {"user_id": long}}), Ok(json!({}))),
        ("mistral/mistral-large", json!({"metadata": {"user_id": "u1"}}), Ok(json!({}))),
        (
            "openai/gpt-4o",
            json!({"top_k": 5}),
            Err("`top_k` has no counterpart in the dialect of the target"),
        ),
        ("openai/gpt-4o", json!({"messages": []}), Err("`messages` ends with nothing to answer")),
        (
            "openai/gpt-4o",
            json!({"messages": [turn("assistant", &[json!({"type": "thinking", "thinking": "hm", "signature": "x"})])]}),
            Err("`messages` ends with nothing to answer"),
        ),
        (
            "openai/gpt-4o",
            json!({"messages": hello(), "system": [text("a"), text(""), text("b")]}),
            Ok(json!({"messages": [said("system", "a"), said("system", "b"), said("user", "Ebb?")]})),
        ),
    ]);
}

/// The caller puts the answer after the beginning, and had the beginning twice.
#[test]
fn the_beginning_of_an_answer_is_told_to_who_may_go_on_with_it() {
    let begun = json!({"messages": [said("user", "JSON, please."), said("assistant", "{")]});
    const REFUSED: &str = "`messages` has to end with the user for the target";
    messages_become(&[
        ("openai/gpt-4o", begun.clone(), Err(REFUSED)),
        ("deepseek/deepseek-chat", begun.clone(), Ok(begun)),
    ]);
}

/// A schema under its first name was forgotten, and what the system said in the middle was refused if it came in blocks.
#[test]
fn older_and_newer_words_of_messages_are_understood() {
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    let schema = json!({"name": "answer", "schema": {"type": "object"}, "strict": true});
    let asked = json!({"response_format": {"type": "json_schema", "json_schema": schema}});
    let orders = turn("system", &[text("Be brief."), text("In English.")]);
    let (brief, english) = (said("system", "Be brief."), said("system", "In English."));
    let (hi, yes) = (said("user", "hi"), said("assistant", "yes"));
    messages_become(&[
        ("openai/gpt-4o", json!({"output_format": format}), Ok(asked.clone())),
        ("openai/gpt-4o", json!({"output_config": {"format": format}}), Ok(asked)),
        (
            "openai/gpt-4o",
            json!({"messages": [hi, orders, yes, hi]}),
            Ok(json!({"messages": [hi, brief, english, yes, hi]})),
        ),
        (
            "openai/gpt-4o",
            json!({"messages": [hi, turn("system", &[json!({"type": "image"})])]}),
            Err("`messages[].content[].type` has no counterpart in the dialect of the target"),
        ),
    ]);
}

/// Whoever brought tools and wanted thoughts was refused by the newest models.
#[test]
fn beside_tools_an_effort_is_told_to_models_that_take_both() {
    let tools = json!([{"name": "f", "input_schema": {}}]);
    let told = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let thinks = json!({"thinking": {"type": "enabled", "budget_tokens": 5000}});
    let both = with(thinks.clone(), &json!({"tools": tools}));
    let becomes = |effort: Value| Ok(with(json!({"tools": told}), &json!({"reasoning_effort": effort})));
    messages_become(&[
        ("openai/gpt-5", both.clone(), becomes(json!("medium"))),
        ("openai/gpt-5.1", both.clone(), becomes(json!("medium"))),
        ("openai/o3", both.clone(), becomes(json!("medium"))),
        ("openai/gpt-5.4-mini", both.clone(), becomes(Value::Null)),
        ("openai/gpt-5.6-terra", both, becomes(json!("none"))),
        ("openai/gpt-5.6-terra", json!({"tools": tools}), becomes(json!("none"))),
        ("openai/gpt-5.4", thinks.clone(), Ok(json!({"reasoning_effort": "medium"}))),
        ("openai/gpt-5.6", thinks, Ok(json!({"reasoning_effort": "medium"}))),
        ("openai/gpt-5.6", json!({}), Ok(json!({}))),
        ("openai/gpt-4o", json!({"tools": tools}), Ok(json!({"tools": told}))),
    ]);
}

/// What Claude Code sends whenever it thinks was refused, and with it all that it asked.
#[test]
fn what_need_not_be_told_again_is_told_and_what_has_to_be_summed_up_is_refused() {
    let manage = |edits: Value| json!({"context_management": {"edits": edits}});
    let thoughts = json!({"type": "clear_thinking_20251015", "keep": "all"});
    let results = json!({"type": "clear_tool_uses_20250919"});
    const REFUSED: &str = "`context_management` has no counterpart in the dialect of the target";
    messages_become(&[
        ("openai/gpt-4o", manage(json!([thoughts])), Ok(json!({}))),
        ("openai/gpt-4o", manage(json!([thoughts, results])), Ok(json!({}))),
        ("openai/gpt-4o", json!({"context_management": {}}), Ok(json!({}))),
        ("openai/gpt-4o", manage(json!([thoughts, {"type": "compact_20260112"}])), Err(REFUSED)),
        ("openai/gpt-4o", manage(json!([7])), Err(REFUSED)),
    ]);
}

#[test]
fn calls_of_messages_are_named_as_a_chat_takes_them() {
    let long = "toolu_".repeat(7);
    let failed = json!({"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true});
    let asked = json!({"max_tokens": 9, "messages": [
        said("user", "hi"),
        turn("assistant", &[tool_use(&long), tool_use("toolu_2")]),
        turn("user", &[tool_result(&long), failed]),
    ]});
    for (target, ids) in
        [("openai/gpt-4o", ["call_0", "toolu_2"]), ("mistral/mistral-large", ["000000000", "000000001"])]
    {
        let told = asks(&MessagesToChat::new(target), &asked).unwrap();
        let called = told["messages"][1]["tool_calls"].as_array().unwrap();
        assert_eq!([&called[0]["id"], &called[1]["id"]], ids, "{target}");
        assert_eq!(told["messages"][2], result(ids[0]));
        let failed = json!({"role": "tool", "tool_call_id": ids[1], "content": "error"});
        assert_eq!(told["messages"][3], failed, "what failed without a word is told as much");
    }
}

/// Whatever was said, as long as it is in turns.
pub(super) fn spoken() -> impl Strategy<Value = Vec<Value>> {
    let id = || prop::sample::select(vec!["a", "", "call_0", "call_1", "x|y", "functions.f:0"]);
    let text = || prop::sample::select(vec!["hm", " ", "so?"]);
    let message = prop_oneof![
        text().prop_map(|text| vec![said("user", text)]),
        text().prop_map(|text| vec![said("assistant", text)]),
        text().prop_map(|text| vec![said("system", text)]),
        prop::collection::vec(id(), 1..4).prop_map(|ids| {
            let results = ids.iter().rev().map(|id| result(id));
            std::iter::once(calls(&ids)).chain(results).collect()
        }),
    ];
    prop::collection::vec(message, 0..8).prop_map(|messages| messages.concat())
}

proptest! {
    /// All that Anthropic says of the order of turns, calls and results.
    #[test]
    fn whatever_was_said_the_turns_are_in_order(spoken in spoken(), target in prop::sample::select(vec![SOMEBODY, OLD, NEWEST])) {
        let Ok(told) = asks(&ChatToMessages::new(target), &json!({"messages": spoken})) else { return Ok(()) };
        let turns = told["messages"].as_array().unwrap();
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
        prop_assert!(seen.is_empty() || told["tools"].is_array());
    }
}
