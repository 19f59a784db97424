//! Requests of chat clients for models of Anthropic.

use super::*;

/// The shortest chat request with the given fields is translated into the expected fields, or fails with the
/// message.
fn chat_becomes(cases: &[(&str, Value, Result<Value, &str>)]) {
    for (target, fields, expected) in cases {
        let actual =
            translate_to_json(&ChatToMessages::new(target), &with(json!({"messages": hello()}), fields));
        let conversation = json!([{"role": "user", "content": [{"type": "text", "text": "Ebb?"}]}]);
        let base = json!({"max_tokens": 4096, "messages": conversation});
        let expected = expected.as_ref().map(|more| with(base, more)).map_err(|error| (*error).to_owned());
        assert_eq!(actual, expected, "{target}: {fields}");
    }
}

#[test]
fn only_the_sampling_parameters_that_the_model_accepts_are_sent() {
    let both = json!({"temperature": 0.2, "top_p": 0.5});
    let thinking = |fields: Value| with(json!({"reasoning_effort": "low"}), &fields);
    let thinks = json!({"max_tokens": 5120, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let adapts = json!({"max_tokens": 5120, "thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}});
    let top_k = json!({"top_k": 5});
    chat_becomes(&[
        (OLD, top_k.clone(), Ok(top_k.clone())),
        (ONE_OF_BOTH, top_k.clone(), Ok(top_k.clone())),
        (NEWEST, top_k.clone(), Ok(json!({}))),
        (THINKS, thinking(top_k), Ok(thinks.clone())),
        // Servers of open models accept these, for none.
        (OLD, json!({"top_k": -1}), Ok(json!({}))),
        (OLD, json!({"top_k": 0}), Ok(json!({}))),
        (OLD, json!({"top_k": 40.0}), Ok(json!({}))),
        (OLD, json!({"top_k": "x"}), Err("`top_k` is not in the form of its dialect")),
        (OLD, both.clone(), Ok(both.clone())),
        (UNKNOWN_TARGET, both.clone(), Ok(both.clone())),
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
        // This model does not think, so it accepts both.
        (OLD, thinking(both.clone()), Ok(both)),
    ]);
}

#[test]
fn a_stop_sequence_of_only_white_space_is_dropped() {
    chat_becomes(&[
        (UNKNOWN_TARGET, json!({"stop": "\n"}), Ok(json!({}))),
        (UNKNOWN_TARGET, json!({"stop": ""}), Ok(json!({}))),
        (UNKNOWN_TARGET, json!({"stop": []}), Ok(json!({}))),
        (UNKNOWN_TARGET, json!({"stop": ["\n\n", "END\n", " "]}), Ok(json!({"stop_sequences": ["END\n"]}))),
    ]);
}

#[test]
fn the_token_limit_is_capped_at_the_maximum_of_the_model() {
    let effort = |limit: Value| json!({"reasoning_effort": "high", "max_tokens": limit});
    let thinks = |limit: u64, budget: u64| {
        Ok(json!({"max_tokens": limit, "thinking": {"type": "enabled", "budget_tokens": budget}}))
    };
    chat_becomes(&[
        (OLD, json!({"max_tokens": 16_384}), Ok(json!({"max_tokens": 8192}))),
        (OLD, json!({"max_completion_tokens": 7, "max_tokens": 9}), Ok(json!({"max_tokens": 7}))),
        (UNKNOWN_TARGET, json!({"max_tokens": 1_000_000}), Ok(json!({"max_tokens": 1_000_000}))),
        (UNKNOWN_TARGET, json!({"max_tokens": 0}), Err("`max_tokens` is less than 1")),
        (UNKNOWN_TARGET, json!({"max_completion_tokens": 0}), Err("`max_completion_tokens` is less than 1")),
        // A budget is at least 1024 and below the limit. Half of the limit is left for text.
        (THINKS, effort(json!(2048)), thinks(2048, 1024)),
        (THINKS, effort(json!(2047)), Ok(json!({"max_tokens": 2047}))),
        (THINKS, effort(json!(1)), Ok(json!({"max_tokens": 1}))),
        (THINKS, effort(json!(1_000_000)), thinks(64_000, 16_384)),
        (THINKS, effort(Value::Null), thinks(20_480, 16_384)),
    ]);
    let none = translate_to_json(
        &ChatToMessages::new(UNKNOWN_TARGET).default_max_tokens(0),
        &json!({"messages": hello()}),
    );
    assert_eq!(none.unwrap()["max_tokens"], 1);
    let large_default = ChatToMessages::new(THINKS).default_max_tokens(u64::MAX);
    let actual =
        translate_to_json(&large_default, &with(json!({"messages": hello()}), &effort(Value::Null))).unwrap();
    assert_eq!(
        (&actual["max_tokens"], &actual["thinking"]["budget_tokens"]),
        (&json!(64_000), &json!(16_384))
    );
}

/// Regression: efforts above "high" became "high", which is the default of most models.
#[test]
fn an_effort_above_high_is_sent_to_models_that_accept_it() {
    let adapts = |effort: &str| {
        let limit = if effort == "high" { 20_480 } else { 36_864 };
        let adaptive = json!({"type": "adaptive", "display": "summarized"});
        json!({"max_tokens": limit, "thinking": adaptive, "output_config": {"effort": effort}})
    };
    let budget = json!({"max_tokens": 20_480, "thinking": {"type": "enabled", "budget_tokens": 16_384}});
    for (target, xhigh, max) in [
        (OLD, json!({}), json!({})),
        (THINKS, budget.clone(), budget),
        (ADAPTS, adapts("high"), adapts("max")),
        ("openrouter/anthropic/claude-sonnet-4.6", adapts("high"), adapts("max")),
        (NEWEST, adapts("xhigh"), adapts("max")),
        ("anthropic/claude-sonnet-5", adapts("xhigh"), adapts("max")),
        ("anthropic/claude-haiku-5-5", adapts("xhigh"), adapts("max")),
        ("anthropic/claude-opus-6-1", adapts("xhigh"), adapts("max")),
        // A name without a version may be that of an older model.
        ("litellm/claude-sonnet", adapts("high"), adapts("high")),
    ] {
        chat_becomes(&[
            (target, json!({"reasoning_effort": "xhigh"}), Ok(xhigh)),
            (target, json!({"reasoning_effort": "max"}), Ok(max)),
        ]);
    }
    // With a required call thinking is off, as it can be up to "high".
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for effort in ["high", "xhigh", "max"] {
        let forced = json!({"tools": tools, "tool_choice": "required", "reasoning_effort": effort});
        let becomes = json!({
            "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "any"},
            "thinking": {"type": "disabled"},
            "output_config": {"effort": "high"},
        });
        chat_becomes(&[("anthropic/claude-opus-5", forced, Ok(becomes))]);
    }
}

/// Regression: the models that think by default ignored the effort "none", and thinking took all of the tokens of a
/// request without a limit: the response had no text.
#[test]
fn thinking_that_is_on_by_default_is_turned_off_or_has_room() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let thinks = |limit: u64, effort: Value| {
        let effort = Some(effort).filter(|effort| !effort.is_null()).map(|effort| json!({"effort": effort}));
        Ok(with(
            json!({"max_tokens": limit, "thinking": adaptive}),
            &json!({"output_config": effort.unwrap_or_default()}),
        ))
    };
    let off = |kind: &str| Ok(json!({"thinking": {"type": kind}}));
    let limited = |limit: u64| json!({"max_tokens": limit});
    let none = json!({"reasoning_effort": "none"});
    for (target, off) in [
        ("anthropic/claude-sonnet-5", off("disabled")),
        ("anthropic/claude-opus-5", off("disabled")),
        ("anthropic/claude-haiku-5-5", off("disabled")),
        ("anthropic/claude-sonnet-5-5", off("between_tools")),
        ("anthropic/claude-opus-5-5", thinks(5120, json!("low"))),
        ("anthropic/claude-fable-5-1", thinks(5120, json!("low"))),
    ] {
        let effort = |effort: &str| json!({"reasoning_effort": effort});
        let small = off.as_ref().map(|off| with(off.clone(), &limited(2047))).map_err(|error| *error);
        chat_becomes(&[
            (target, none.clone(), off),
            (target, json!({}), thinks(20_480, Value::Null)),
            (target, effort("low"), thinks(5120, json!("low"))),
            (target, effort("medium"), thinks(8192, json!("medium"))),
            (target, effort("high"), thinks(20_480, json!("high"))),
            // As for a budget, the limit of a caller is kept.
            (target, limited(2047), small),
            (target, limited(2048), thinks(2048, Value::Null)),
            (target, with(effort("high"), &limited(50)), thinks(50, json!("high"))),
        ]);
    }
    chat_becomes(&[
        (NEWEST, none, Ok(json!({}))),
        // A name without a version may be that of an older model.
        ("litellm/claude-sonnet", json!({}), Ok(json!({}))),
        ("litellm/claude-haiku", limited(50), Ok(limited(50))),
        (NEWEST, limited(50), Ok(limited(50))),
        (NEWEST, json!({"reasoning_effort": "high"}), thinks(20_480, json!("high"))),
    ]);
}

#[test]
fn thinking_is_off_or_has_room_if_a_tool_call_is_required() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let translated = json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]);
    let ask = |choice: Value| json!({"tools": tools, "tool_choice": choice, "reasoning_effort": "low"});
    let one = json!({"type": "function", "function": {"name": "f"}});
    let becomes =
        |choice: Value, more: Value| Ok(with(json!({"tools": translated, "tool_choice": choice}), &more));
    let thinks = json!({"max_tokens": 5120, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let effort = json!({"output_config": {"effort": "low"}});
    chat_becomes(&[
        (THINKS, ask(json!("required")), becomes(json!({"type": "any"}), json!({}))),
        (THINKS, ask(one.clone()), becomes(json!({"type": "tool", "name": "f"}), json!({}))),
        (THINKS, ask(json!("auto")), becomes(json!({"type": "auto"}), thinks.clone())),
        (THINKS, ask(json!("none")), becomes(json!({"type": "none"}), thinks)),
        (ADAPTS, ask(one.clone()), becomes(json!({"type": "tool", "name": "f"}), effort.clone())),
        ("anthropic/claude", ask(one.clone()), becomes(json!({"type": "tool", "name": "f"}), effort.clone())),
    ]);
    // A model that thinks by default stops only if the request turns thinking off.
    let off = json!({"thinking": {"type": "disabled"}});
    let unasked = json!({"tools": tools, "tool_choice": "required"});
    for target in ["anthropic/claude-opus-5", "anthropic/claude-sonnet-5", "anthropic/claude-haiku-5-5"] {
        let with_effort = with(off.clone(), &effort);
        chat_becomes(&[
            (target, ask(one.clone()), becomes(json!({"type": "tool", "name": "f"}), with_effort)),
            (target, unasked.clone(), becomes(json!({"type": "any"}), off.clone())),
        ]);
    }
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let room = |limit: u64| json!({"max_tokens": limit, "thinking": adaptive});
    let low = with(room(5120), &effort);
    chat_becomes(&[
        ("anthropic/claude-fable-5", ask(one), becomes(json!({"type": "tool", "name": "f"}), low)),
        ("anthropic/claude-fable-5", unasked, becomes(json!({"type": "any"}), room(20_480))),
    ]);
}

/// Regression: newer models answered it with a 400, which ends a chain, although another target takes it.
#[test]
fn a_required_call_is_left_to_targets_that_accept_it() {
    const REJECTED: &str = "`tool_choice` requires a call, which the target rejects";
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (target, accepts_any, accepts_named) in [
        ("anthropic/claude-opus-5-5", false, false),
        ("anthropic/claude-sonnet-5-5", false, false),
        ("anthropic/claude-fable-5-1", false, false),
        ("anthropic/claude-mythos-5-1", false, false),
        ("bedrock/us.anthropic.claude-opus-5-5-v1:0", false, false),
        ("openrouter/anthropic/claude-opus-5.5", false, false),
        ("anthropic/claude-haiku-5-5", true, true),
        ("litellm/claude-sonnet", true, true),
        ("ollama/qwen3-claude-distill", true, true),
        ("anthropic/claude-fable-5", true, true),
        ("anthropic/claude-sonnet-5", true, true),
        (NEWEST, true, true),
        ("moonshot/kimi-k2.7-code", false, false),
        ("moonshot/kimi-k3", true, false),
        ("moonshot/kimi-k2.6", true, true),
        ("openai/gpt-5", true, true),
        (UNKNOWN_TARGET, true, true),
    ] {
        for (chosen, messages_choice, is_accepted) in [
            (json!("required"), json!({"type": "any"}), accepts_any),
            (
                json!({"type": "function", "function": {"name": "f"}}),
                json!({"type": "tool", "name": "f"}),
                accepts_named,
            ),
            (json!("auto"), json!({"type": "auto"}), true),
            (json!("none"), json!({"type": "none"}), true),
        ] {
            let expected = if is_accepted { None } else { Some(REJECTED) };
            let chat = json!({"messages": hello(), "tools": tools, "tool_choice": chosen});
            let refused = translate_to_json(&ChatToMessages::new(target), &chat).err();
            assert_eq!(refused.as_deref(), expected, "{target}: {chosen}");
            let mut messages = json!({"messages": hello(), "max_tokens": 9, "tools": [{"name": "f"}]});
            messages["tool_choice"] = messages_choice;
            let refused = translate_to_json(&MessagesToChat::new(target), &messages).err();
            assert_eq!(refused.as_deref(), expected, "{target}: {chosen}");
        }
        // Without tools, there is no choice to make.
        let chat = json!({"messages": hello(), "tool_choice": "required"});
        assert!(translate_to_json(&ChatToMessages::new(target), &chat).is_ok(), "{target}");
    }
}

#[test]
fn a_schema_is_sent_only_to_models_that_support_it() {
    let (open, closed) = (
        json!({"type": "object", "properties": {}}),
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
    );
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": open}});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": open, "strict": true}}]);
    let config = json!({"output_config": {"format": {"type": "json_schema", "schema": closed}}});
    chat_becomes(&[
        (ONE_OF_BOTH, json!({"response_format": format}), Ok(config)),
        (
            OLD,
            json!({"response_format": format}),
            Err("`response_format` has no counterpart in the dialect of the target"),
        ),
        (OLD, json!({"tools": tools}), Ok(json!({"tools": [{"name": "f", "input_schema": open}]}))),
        (
            NEWEST,
            json!({"tools": tools}),
            Ok(json!({"tools": [{"name": "f", "input_schema": closed, "strict": true}]})),
        ),
    ]);
}

#[test]
fn above_the_limit_of_strict_tools_none_is_strict() {
    let parameters = json!({"type": "object", "properties": {}});
    let tool = |at: usize| json!({"type": "function", "function": {"name": format!("f{at}"), "parameters": parameters, "strict": true}});
    for (count, strict) in [(20, 20), (21, 0)] {
        let mut tools: Vec<_> = (0..count).map(tool).collect();
        tools.push(json!({"type": "function", "function": {"name": "loose"}}));
        let translated =
            translate_to_json(&ChatToMessages::new(NEWEST), &json!({"messages": hello(), "tools": tools}))
                .unwrap();
        let translated = translated["tools"].as_array().unwrap();
        let are_strict = translated.iter().filter(|tool| tool["strict"] == true).count();
        assert_eq!((translated.len(), are_strict), (count + 1, strict));
    }
}

/// Regression: strict mode of OpenAI makes each optional field one of several types, and Anthropic answered more than
/// 16 of them with a 400.
#[test]
fn above_the_limits_of_enforced_schemas_no_tool_is_strict_and_a_format_is_rejected() {
    const REJECTED: &str = "`response_format.json_schema.schema` has more optional properties or unions than the target can enforce";
    let schema = |count: usize, kind: &Value, are_required: bool| {
        let names: Vec<_> = (0..count).map(|at| format!("p{at}")).collect();
        let properties: serde_json::Map<_, _> =
            names.iter().map(|name| (name.clone(), kind.clone())).collect();
        let required = if are_required { names } else { Vec::new() };
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    let tool = |name: &str, schema: &Value| json!({"type": "function", "function": {"name": name, "parameters": schema, "strict": true}});
    let format =
        |schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let ask = |fields: Value| {
        let request = with(json!({"messages": hello()}), &fields);
        translate_to_json(&ChatToMessages::new(ONE_OF_BOTH), &request)
            .map(|sent| (sent["tools"][0]["strict"] == true, sent["output_config"]["format"].is_object()))
    };
    let (string, list) = (json!({"type": "string"}), json!({"type": ["string", "null"]}));
    let any = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
    for (limit, kind, are_required) in [(24, &string, false), (16, &list, true), (16, &any, true)] {
        let schema = |count: usize| schema(count, kind, are_required);
        let strict = |counts: &[usize]| {
            let tools = counts.iter().enumerate().map(|(at, count)| tool(&format!("f{at}"), &schema(*count)));
            json!({"tools": tools.collect::<Vec<_>>()})
        };
        let formatted = |count: usize| json!({"response_format": format(&schema(count))});
        assert_eq!(ask(strict(&[limit])), Ok((true, false)), "{kind}");
        assert_eq!(ask(strict(&[limit + 1])), Ok((false, false)), "{kind}");
        assert_eq!(ask(strict(&[limit / 2, limit / 2])), Ok((true, false)), "{kind}");
        assert_eq!(ask(strict(&[limit / 2, limit / 2 + 1])), Ok((false, false)), "{kind}");
        assert_eq!(ask(formatted(limit)), Ok((false, true)), "{kind}");
        assert_eq!(ask(formatted(limit + 1)), Err(REJECTED.to_owned()), "{kind}");
        assert_eq!(ask(with(strict(&[1]), &formatted(limit - 1))), Ok((true, true)), "{kind}");
        assert_eq!(ask(with(strict(&[1]), &formatted(limit))), Ok((false, true)), "{kind}");
    }
}

#[test]
fn a_user_id_is_sent_unless_it_is_an_email_address_or_a_phone_number() {
    let translated = |user: &str| Ok(json!({"metadata": {"user_id": user}}));
    chat_becomes(&[
        (UNKNOWN_TARGET, json!({"user": "u1"}), translated("u1")),
        (UNKNOWN_TARGET, json!({"user": "u1", "safety_identifier": "s1"}), translated("s1")),
        (UNKNOWN_TARGET, json!({"user": "ann@example.org"}), Ok(json!({}))),
        (UNKNOWN_TARGET, json!({"user": "+49 (30) 123-456"}), Ok(json!({}))),
        (UNKNOWN_TARGET, json!({"user": "é".repeat(256)}), translated(&"é".repeat(256))),
        (UNKNOWN_TARGET, json!({"user": "u".repeat(257)}), Ok(json!({}))),
        (UNKNOWN_TARGET, json!({"user": ""}), Ok(json!({}))),
    ]);
}

#[test]
fn turns_are_translated_to_valid_ones_or_rejected_with_a_message() {
    const NOTHING: &str = "`messages` ends with nothing to answer";
    const OPEN: &str = "`messages[].tool_calls` has a call that is not answered next";
    const ORPHAN: &str = "`messages[].tool_call_id` answers no call of the turn before";
    const PREFILL: &str = "`messages` has to end with the user for the target";
    let (hi, hello) = (message("user", "hi"), turn("user", &[text("hi")]));
    for (target, conversation, expected) in [
        (UNKNOWN_TARGET, json!([]), Err(NOTHING)),
        (UNKNOWN_TARGET, json!([message("system", "Be kind.")]), Err(NOTHING)),
        (UNKNOWN_TARGET, json!([message("user", " \n\t")]), Err(NOTHING)),
        (UNKNOWN_TARGET, json!([turn("user", &[text(" "), text("")])]), Err(NOTHING)),
        (UNKNOWN_TARGET, json!([hi, message("assistant", "yes"), message("user", " ")]), Err(NOTHING)),
        (UNKNOWN_TARGET, json!([hi, message("user", " ")]), Ok(json!([hello]))),
        (UNKNOWN_TARGET, json!([hi, message("assistant", " ")]), Ok(json!([hello]))),
        // Turns alternate between the roles.
        (
            UNKNOWN_TARGET,
            json!([hi, message("user", "so?")]),
            Ok(json!([turn("user", &[text("hi"), text("so?")])])),
        ),
        (
            UNKNOWN_TARGET,
            json!([hi, message("assistant", "a"), message("system", "s"), message("assistant", "b"), hi]),
            Ok(json!([hello, turn("assistant", &[text("a"), text("b")]), hello])),
        ),
        (
            UNKNOWN_TARGET,
            json!([message("assistant", "Hello!"), hi]),
            Ok(json!([
                turn("user", &[text("(The assistant speaks first.)")]),
                turn("assistant", &[text("Hello!")]),
                hello,
            ])),
        ),
        // A prefill.
        (
            OLD,
            json!([hi, message("assistant", "So: \n")]),
            Ok(json!([hello, turn("assistant", &[text("So:")])])),
        ),
        (ADAPTS, json!([hi, message("assistant", "So:")]), Err(PREFILL)),
        (NEWEST, json!([hi, message("assistant", "So:")]), Err(PREFILL)),
        // The result of each call comes first in the next turn.
        (
            UNKNOWN_TARGET,
            json!([hi, calls(&["a", "b"]), result("a"), message("user", "wait"), result("b")]),
            Ok(json!([
                hello,
                turn("assistant", &[tool_use("a"), tool_use("b")]),
                turn("user", &[tool_result("a"), tool_result("b"), text("wait")]),
            ])),
        ),
        (UNKNOWN_TARGET, json!([hi, calls(&["a"])]), Err(OPEN)),
        (UNKNOWN_TARGET, json!([hi, calls(&["a", "b"]), result("a")]), Err(OPEN)),
        (UNKNOWN_TARGET, json!([hi, calls(&["a"]), hi, message("assistant", "x"), result("a")]), Err(OPEN)),
        (UNKNOWN_TARGET, json!([hi, result("a")]), Err(ORPHAN)),
        (UNKNOWN_TARGET, json!([hi, calls(&["a"]), result("a"), result("a")]), Err(ORPHAN)),
        (UNKNOWN_TARGET, json!([hi, calls(&["a"]), result("b")]), Err(ORPHAN)),
    ] {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let request = json!({"messages": conversation, "tools": tools});
        let translated = translate_to_json(&ChatToMessages::new(target), &request)
            .map(|translated| translated["messages"].clone());
        assert_eq!(translated, expected.map_err(str::to_owned), "{target}: {conversation}");
    }
}

/// Regression: a system message at the end of a conversation was moved to its start, and the model continued
/// its own last message.
#[test]
fn system_messages_after_the_last_assistant_message_become_a_user_message() {
    let conversation = json!([
        message("system", "Be kind."),
        message("user", "hi"),
        message("assistant", "Hello!"),
        message("system", "Sum up."),
        message("developer", "In English."),
    ]);
    let (hi, hello) = (turn("user", &[text("hi")]), turn("assistant", &[text("Hello!")]));
    for target in [UNKNOWN_TARGET, OLD, NEWEST] {
        let translated =
            translate_to_json(&ChatToMessages::new(target), &json!({"messages": conversation})).unwrap();
        assert_eq!(translated["system"], json!([text("Be kind.")]), "{target}");
        assert_eq!(
            translated["messages"],
            json!([hi, hello, turn("user", &[text("Sum up."), text("In English.")])])
        );
    }
    let open = json!([message("user", "hi"), calls(&["a"]), message("system", "Go on.")]);
    assert!(translate_to_json(&ChatToMessages::new(UNKNOWN_TARGET), &json!({"messages": open})).is_err());
}

#[test]
fn thinking_is_off_with_a_prefill() {
    let request =
        json!({"messages": [message("user", "hi"), message("assistant", "So")], "reasoning_effort": "high"});
    let translated = translate_to_json(&ChatToMessages::new(THINKS), &request).unwrap();
    assert_eq!((translated.get("thinking"), &translated["max_tokens"]), (None, &json!(4096)));
}

/// Hosts of open models use ids such as `functions.f:0`, and some start with `call_0` in every response.
#[test]
fn calls_get_ids_that_the_target_accepts_and_results_get_the_same() {
    let conversation = json!([
        message("user", "hi"),
        calls(&["functions.f:0", "call_1", ""]),
        result("call_1"),
        result(""),
        result("functions.f:0"),
        calls(&["call_1", "call_1"]),
        result("call_1"),
        result("call_1"),
    ]);
    let translated =
        translate_to_json(&ChatToMessages::new(UNKNOWN_TARGET), &json!({"messages": conversation})).unwrap();
    let used = |ids: [&str; 3]| turn("assistant", &ids.map(tool_use));
    assert_eq!(translated["messages"][1], used(["call_0", "call_1", "call_2"]));
    assert_eq!(translated["messages"][2], turn("user", &["call_1", "call_2", "call_0"].map(tool_result)));
    assert_eq!(translated["messages"][3], turn("assistant", &["call_3", "call_4"].map(tool_use)));
    assert_eq!(translated["messages"][4], turn("user", &["call_3", "call_4"].map(tool_result)));
}

#[test]
fn called_tools_are_declared_with_tool_choice_none() {
    let conversation = json!([message("user", "hi"), calls(&["a", "b"]), result("a"), result("b")]);
    for fields in
        [json!({}), json!({"tools": []}), json!({"tool_choice": "auto", "parallel_tool_calls": false})]
    {
        let request = with(json!({"messages": conversation}), &fields);
        let translated = translate_to_json(&ChatToMessages::new(UNKNOWN_TARGET), &request).unwrap();
        assert_eq!(translated["tools"], json!([{"name": "f", "input_schema": {"type": "object"}}]));
        assert_eq!(translated["tool_choice"], json!({"type": "none"}));
    }
}

#[test]
fn only_accepted_image_types_are_sent() {
    let ask = |url: &str| {
        let part = json!({"type": "image_url", "image_url": {"url": url}});
        let translated = translate_to_json(
            &ChatToMessages::new(UNKNOWN_TARGET),
            &json!({"messages": [turn("user", &[part])]}),
        );
        translated.map(|translated| translated["messages"][0]["content"][0]["source"]["media_type"].clone())
    };
    assert_eq!(ask("data:image/jpg;base64,AA"), Ok(json!("image/jpeg")));
    assert_eq!(ask("data:image/webp;charset=x;base64,AA"), Ok(json!("image/webp")));
    // Regression: Anthropic answered another type than that of the bytes with a 400.
    for (data, found) in [
        ("/9j/4AAQSkZJRg", "image/jpeg"),
        ("iVBORw0KGgoAAAANSUhEUg", "image/png"),
        ("R0lGODlhAQAB", "image/gif"),
        ("UklGRiQAAABXRUJQVlA4", "image/webp"),
        ("UklGRiQAAABXQVZFZm10", "image/png"),
        ("UklGRé", "image/png"),
        ("", "image/png"),
    ] {
        assert_eq!(ask(&format!("data:image/png;base64,{data}")), Ok(json!(found)), "{data}");
    }
    assert_eq!(ask("data:application/octet-stream;base64,/9j/4AAQ"), Ok(json!("image/jpeg")));
    let refused = "`messages[].content[].image_url.url` has no counterpart in the dialect of the target";
    assert_eq!(ask("data:image/bmp;base64,AA"), Err(refused.to_owned()));
    for url in ["https://a/b.png", "HTTPS://a"] {
        assert_eq!(ask(url), Ok(Value::Null), "{url}");
    }
    // Regression: Anthropic answered these with a 400.
    let refused = "`messages[].content[].image_url.url` has to be an https URL for the target";
    for url in ["http://a/b.png", "ftp://a", "gs://a/b", "file:///a", "b.png", "", "https:/a", "é"] {
        assert_eq!(ask(url), Err(refused.to_owned()), "{url}");
    }
}
