//! Requests of messages clients for chat models.

use super::*;
use crate::validator::accepted_by;

/// The shortest request of messages with the given fields is translated into the expected fields, or fails with
/// the message.
fn messages_become(cases: &[(&str, Value, Result<Value, &str>)]) {
    for (target, fields, expected) in cases {
        let request = with(json!({"max_tokens": 9, "messages": hello()}), fields);
        let actual = translate_to_json(&MessagesToChat::new(target), &request);
        if let Ok(sent) = &actual {
            assert_eq!(accepted_by(target, sent), Ok(()), "{fields}");
        }
        let limit = if target.starts_with("openai") { "max_completion_tokens" } else { "max_tokens" };
        let base = json!({limit: 9, "messages": hello()});
        let expected = expected.as_ref().map(|more| with(base, more)).map_err(|error| (*error).to_owned());
        assert_eq!(actual, expected, "{target}: {fields}");
    }
}

#[test]
fn messages_fields_are_adjusted_to_the_model_of_the_chat() {
    let long = "u".repeat(65);
    let stops =
        |count: usize| json!({"stop_sequences": (0..count).map(|at| format!("s{at}")).collect::<Vec<_>>()});
    let stop = |count: usize| Ok(json!({"stop": stops(count)["stop_sequences"]}));
    const TOO_MANY: &str = "`stop_sequences` are more than the target takes";
    messages_become(&[
        ("openai/gpt-4o", json!({"max_tokens": 64_000}), Ok(json!({"max_completion_tokens": 16_384}))),
        // Regression: it was sent, and answered with a 400.
        (UNKNOWN_TARGET, json!({"max_tokens": 0}), Err("`max_tokens` is less than 1")),
        ("deepseek/deepseek-chat", json!({"max_tokens": 64_000}), Ok(json!({"max_tokens": 64_000}))),
        (
            "openai/gpt-4o",
            json!({"temperature": 0.2, "top_p": 0.5}),
            Ok(json!({"temperature": 0.2, "top_p": 0.5})),
        ),
        ("openai/gpt-5", json!({"temperature": 0.2, "top_p": 0.5}), Ok(json!({}))),
        ("openai/gpt-5-chat-latest", json!({"temperature": 0.2}), Ok(json!({"temperature": 0.2}))),
        // Regression: the later models of ChatGPT reason, and answered it with a 400.
        ("openai/gpt-5.2-chat-latest", json!({"temperature": 0.2, "top_p": 0.5}), Ok(json!({}))),
        ("openai/chat-latest", json!({"temperature": 0.2}), Ok(json!({}))),
        ("openai/gpt-6-chat", json!({"output_config": {"effort": "low"}}), Ok(json!({}))),
        ("openai/gpt-4o", stops(4), stop(4)),
        ("openai/gpt-4o", stops(5), Err(TOO_MANY)),
        ("openai/gpt-4o", stops(0), Ok(json!({}))),
        ("deepseek/deepseek-chat", stops(16), stop(16)),
        ("deepseek/deepseek-chat", stops(17), Err(TOO_MANY)),
        // Regression: these were rejected, although the response can be searched for them.
        ("openai/o3", stops(4), Ok(json!({}))),
        ("openai/o3", stops(5), Err(TOO_MANY)),
        ("openai/gpt-4o", json!({"metadata": {"user_id": "u1"}}), Ok(json!({"user": "u1"}))),
        ("openai/gpt-4o", json!({"metadata": {"user_id": long}}), Ok(json!({}))),
        ("mistral/mistral-large", json!({"metadata": {"user_id": "u1"}}), Ok(json!({}))),
        ("openai/gpt-4o", json!({"top_k": 5}), Ok(json!({}))),
        ("openai/gpt-4o", json!({"messages": []}), Err("`messages` ends with nothing to answer")),
        (
            "openai/gpt-4o",
            json!({"messages": [turn("assistant", &[json!({"type": "thinking", "thinking": "hm", "signature": "x"})])]}),
            Err("`messages` ends with nothing to answer"),
        ),
        (
            "openai/gpt-4o",
            json!({"messages": hello(), "system": [text("a"), text(""), text("b")]}),
            Ok(json!({"messages": [message("system", "a\n\nb"), message("user", "Ebb?")]})),
        ),
        // Regression: a line that is new in each request was before all else, and no cache had the prompt.
        (
            "openai/gpt-4o",
            json!({"system": [text("x-anthropic-billing-header: cc_entrypoint=cli; cch=71fea;"), text("a")]}),
            Ok(json!({"messages": [message("system", "a"), message("user", "Ebb?")]})),
        ),
        (
            "openai/gpt-4o",
            json!({"system": "x-anthropic-billing-header: cch=71fea;\na\nb"}),
            Ok(json!({"messages": [message("system", "a\nb"), message("user", "Ebb?")]})),
        ),
        ("openai/gpt-4o", json!({"system": "x-anthropic-billing-header: cch=71fea;"}), Ok(json!({}))),
    ]);
}

/// Regression: OpenAI's reasoning models at an unknown host were sent the older name, and answered with a 400.
#[test]
fn the_limit_has_the_name_that_the_model_accepts() {
    for (target, is_newer) in [
        ("openai/gpt-4o", true),
        ("azure/my-deployment", true),
        ("copilot/gpt-5.4", true),
        ("copilot/gpt-6-sol", true),
        ("my-proxy/openai/o3", true),
        ("openrouter/openai/gpt-5", true),
        ("copilot/gpt-4o", false),
        ("groq/openai/gpt-oss-120b", false),
        ("mistral/mistral-large", false),
        (UNKNOWN_TARGET, false),
    ] {
        let request = json!({"max_tokens": 9, "messages": hello()});
        let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        let limits = (&chat["max_completion_tokens"], &chat["max_tokens"]);
        let (limit, none) = (json!(9), Value::Null);
        assert_eq!(limits, if is_newer { (&limit, &none) } else { (&none, &limit) }, "{target}");
    }
}

/// Regression: these were answered with a 400, which ends a chain, although another target takes them.
#[test]
fn what_the_target_rejects_is_left_to_other_targets() {
    let tool =
        |at: usize| json!({"name": format!("f{at}"), "input_schema": {"type": "object", "properties": {}}});
    let tools = |count: usize| json!({"tools": (0..count).map(tool).collect::<Vec<_>>()});
    let format = json!({"type": "json_schema", "schema": {"type": "object", "properties": {}}});
    let (format, former) = (json!({"output_config": {"format": format}}), json!({"output_format": format}));
    const MANY_TOOLS: &str = "`tools` are more than the target takes";
    const NO_FORMAT: &str = "`output_config.format` has no counterpart in the dialect of the target";
    for (target, fields, expected) in [
        ("openai/gpt-4o", tools(129), Some(MANY_TOOLS)),
        ("azure/gpt-4o", tools(129), Some(MANY_TOOLS)),
        ("openai/gpt-4o", tools(128), None),
        ("groq/llama-3.3-70b-versatile", tools(129), Some(MANY_TOOLS)),
        ("groq/llama-3.3-70b-versatile", tools(128), None),
        ("xai/grok-4.5", tools(351), Some(MANY_TOOLS)),
        ("xai/grok-4.5", tools(350), None),
        (UNKNOWN_TARGET, tools(400), None),
        ("deepseek/deepseek-v4-flash", format.clone(), Some(NO_FORMAT)),
        ("deepseek/deepseek-chat", former, Some(NO_FORMAT)),
        ("deepseek/deepseek-chat", json!({"output_config": {"effort": "low"}}), None),
        ("openai/gpt-4o", format.clone(), None),
        (UNKNOWN_TARGET, format, None),
    ] {
        let request = with(json!({"max_tokens": 9, "messages": hello()}), &fields);
        let refused = translate_to_json(&MessagesToChat::new(target), &request).err();
        assert_eq!(refused.as_deref(), expected, "{target}: {fields}");
    }
}

#[test]
fn stop_sequences_are_sent_only_to_models_that_accept_them() {
    for (target, is_sent) in [
        ("openai/gpt-5", false),
        ("copilot/gpt-5.4", false),
        ("xai/grok-4", false),
        ("xai/grok-4.1-fast-reasoning", false),
        ("xai/grok-3-mini", false),
        ("xai/grok-code-fast-1", false),
        ("xai/grok-build-0.1", false),
        ("xai/grok-5", false),
        ("xai/grok-4-fast-non-reasoning", true),
        ("xai/grok-3", true),
        ("openrouter/x-ai/grok-4", true),
        (UNKNOWN_TARGET, true),
    ] {
        let request = json!({"max_tokens": 9, "messages": hello(), "stop_sequences": ["x"]});
        let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        assert_eq!(chat.get("stop"), is_sent.then_some(&json!(["x"])), "{target}");
    }
}

/// Regression: o3 and its like answered the field with a 400. They call one tool at a time.
#[test]
fn single_calls_are_requested_only_from_models_that_accept_the_field() {
    for (target, expected) in [
        ("openai/o1", Value::Null),
        ("openai/o3-mini", Value::Null),
        ("azure/o4-mini", Value::Null),
        ("openrouter/openai/o3", Value::Null),
        ("openai/gpt-4o", json!(false)),
        ("openai/gpt-5", json!(false)),
        ("x/olmo", json!(false)),
    ] {
        let request = json!({"max_tokens": 9, "messages": hello(), "tools": [{"name": "f"}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}});
        let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        assert_eq!(chat["parallel_tool_calls"], expected, "{target}");
    }
}

/// Regression: DeepSeek answered lists of texts with a 400, so that long conversations had no fallback there.
#[test]
fn the_texts_of_a_message_become_one() {
    let call = tool_use("a");
    let result = |content: Value| json!({"type": "tool_result", "tool_use_id": "a", "content": content});
    let conversation = |content: Value| {
        json!({"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}], "messages": [
            turn("user", &[text("a"), text("b")]),
            turn("assistant", &[text("c"), text(""), text("d"), call.clone()]),
            turn("user", &[result(content)]),
        ]})
    };
    let becomes = |content: &str, more: &Value| {
        let function = json!({"name": "f", "parameters": {"type": "object", "properties": {}}});
        let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let chat = json!({"tools": [{"type": "function", "function": function}], "messages": [
            message("user", "a\n\nb"),
            {"role": "assistant", "content": "cd", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": content},
        ]});
        Ok(with(chat, more))
    };
    let no_thinking = json!({"thinking": {"type": "disabled"}});
    for (target, more) in [("deepseek/deepseek-chat", no_thinking), (UNKNOWN_TARGET, json!({}))] {
        messages_become(&[
            (target, conversation(json!([text("e"), text("f")])), becomes("e\n\nf", &more)),
            (target, conversation(json!([])), becomes("", &more)),
        ]);
    }
}

/// Regression: the flash models take images, and every request with one was rejected.
#[test]
fn an_image_is_left_to_targets_that_take_images() {
    const REJECTED: &str = "`messages[].content` has an image or a file, which the target rejects";
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://a"}});
    let file = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}});
    for (target, takes_image, takes_file) in [
        ("deepseek/deepseek-flash", true, false),
        ("deepseek/deepseek-v4-flash", true, false),
        ("deepseek/deepseek-v4-pro", false, false),
        ("deepseek/deepseek-chat", false, false),
        ("deepseek/deepseek-reasoner", false, false),
        ("openrouter/deepseek/deepseek-chat", true, true),
        (UNKNOWN_TARGET, true, true),
    ] {
        for (block, part, is_taken) in [
            (&image, json!({"type": "image_url", "image_url": {"url": "https://a"}}), takes_image),
            (
                &file,
                json!({"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA"}}),
                takes_file,
            ),
        ] {
            let becomes = json!({"messages": [turn("user", &[text("a"), part])]});
            messages_become(&[(
                target,
                json!({"messages": [turn("user", &[text("a"), block.clone()])]}),
                if is_taken { Ok(becomes) } else { Err(REJECTED) },
            )]);
        }
    }
}

/// Chat templates of open models reject a system message after others.
#[test]
fn later_system_messages_become_user_messages_unless_the_target_accepts_them() {
    let (hi, yes) = (message("user", "hi"), message("assistant", "yes"));
    let request = json!({
        "system": [text("a"), text("b")],
        "messages": [message("system", "c"), hi, yes, turn("system", &[text("d")]), hi],
    });
    let becomes = |role: &str| {
        Ok(json!({"messages": [message("system", "a\n\nb\n\nc"), hi, yes, message(role, "d"), hi]}))
    };
    messages_become(&[
        ("openai/gpt-4o", request.clone(), becomes("system")),
        ("deepseek/deepseek-chat", request.clone(), becomes("user")),
        (UNKNOWN_TARGET, request, becomes("user")),
    ]);
}

/// DeepSeek requires the reasoning of a turn with tool calls. Thinking without a signature was translated
/// from a chat; signed thinking is of another provider.
#[test]
fn unsigned_thinking_is_sent_back_to_targets_that_want_it() {
    let thinking = |signature: Value| json!({"type": "thinking", "thinking": "hm", "signature": signature});
    for (target, signature, reasoning) in [
        ("deepseek/deepseek-chat", json!(""), json!("hm")),
        ("deepseek/deepseek-chat", Value::Null, json!("hm")),
        ("deepseek/deepseek-chat", json!("c2ln"), Value::Null),
        ("moonshot/kimi-k2.6", json!(""), json!("hm")),
        ("moonshot/kimi-k2.6", json!("c2ln"), Value::Null),
        // Regression: the second request of a tool loop was answered with a 400.
        ("mimo/mimo-v2.5-pro", json!(""), json!("hm")),
        ("mimo/xiaomi/mimo-v2-flash", json!("c2ln"), Value::Null),
        ("openrouter/xiaomi/mimo-v2.5", json!(""), Value::Null),
        ("moonshot/kimi-k3", json!(""), json!("hm")),
        // Regression: the second request of a tool loop was answered with a 400.
        ("moonshot/kimi-k3", json!("c2ln"), json!(" ")),
        ("moonshot/kimi-k2.7-code", json!("c2ln"), json!(" ")),
        ("moonshot/kimi-k2-0905-preview", json!("c2ln"), Value::Null),
        ("groq/moonshotai/kimi-k3", json!("c2ln"), Value::Null),
        ("groq/moonshotai/kimi-k2-instruct", json!(""), Value::Null),
        ("openai/gpt-4o", json!(""), Value::Null),
        (UNKNOWN_TARGET, json!(""), Value::Null),
    ] {
        let conversation = json!([
            message("user", "hi"),
            turn("assistant", &[thinking(signature.clone()), tool_use("a")]),
            turn("user", &[tool_result("a")]),
        ]);
        let request = json!({"max_tokens": 9, "messages": conversation});
        let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        assert_eq!(chat["messages"][1]["reasoning_content"], reasoning, "{target} {signature}");
    }
}

/// Regression: the second request of a tool loop was answered with a 400 ("must be passed back"), since the
/// reasoning had been omitted from the response or was of another provider; so was a required tool call.
#[test]
fn thinking_is_disabled_where_reasoning_is_missing_or_a_tool_call_is_required() {
    let thinking = |signature: &str| json!({"type": "thinking", "thinking": "hm", "signature": signature});
    let after = |blocks: &[Value]| json!({"messages": [message("user", "hi"), turn("assistant", blocks), turn("user", &[tool_result("a")])]});
    let answered = |mut blocks: Vec<Value>| {
        let mut all = after(&[thinking(""), tool_use("a")]);
        blocks.push(text("done"));
        all["messages"].as_array_mut().unwrap().extend([turn("assistant", &blocks), message("user", "so?")]);
        all
    };
    let chosen =
        |choice: &str| json!({"tools": [{"name": "f"}], "tool_choice": {"type": choice, "name": "f"}});
    let talk =
        json!({"messages": [message("user", "hi"), message("assistant", "ho"), message("user", "so?")]});
    // Of a turn without calls, no reasoning has to be sent back.
    let mut then_calls = talk.clone();
    let later = [turn("assistant", &[thinking(""), tool_use("a")]), turn("user", &[tool_result("a")])];
    then_calls["messages"].as_array_mut().unwrap().extend(later);
    let deepseek = &["deepseek/deepseek-v4-flash", "deepseek/deepseek-reasoner"][..];
    let kimi = &["moonshot/kimi-k2.6", "ollama/kimi-k2.5:cloud", "mimo/mimo-v2.5-pro"][..];
    // The last one takes calls without their reasoning, and a required call.
    let others = &["openai/gpt-4o", "groq/moonshotai/kimi-k2.5", "zai/glm-4.6"][..];
    let always = &["moonshot/kimi-k3", "moonshot/kimi-k2.7-code"][..];
    let is_rejected = |target: &str, fields: &Value| match fields["tool_choice"]["type"].as_str() {
        Some("any") => target == always[1],
        Some("tool") => always.contains(&target),
        _ => false,
    };
    let unknown = &["my/kimi-k2-0905-preview", UNKNOWN_TARGET][..];
    for (fields, is_of_deepseek, is_of_kimi) in [
        (after(&[tool_use("a")]), true, true),
        (after(&[text("I call."), tool_use("a")]), true, true),
        (after(&[thinking("c2ln"), tool_use("a")]), true, true),
        // Kimi and MiMo require the reasoning of calls only.
        (answered(vec![]), true, false),
        (chosen("any"), true, true),
        (chosen("tool"), true, true),
        (after(&[thinking(""), tool_use("a")]), false, false),
        (answered(vec![thinking("")]), false, false),
        (chosen("auto"), false, false),
        (chosen("none"), false, false),
        (talk.clone(), false, false),
        (then_calls, false, false),
        (json!({}), false, false),
    ] {
        for (targets, expected) in [
            (deepseek, is_of_deepseek),
            (kimi, is_of_kimi),
            (others, false),
            (always, false),
            (unknown, false),
        ] {
            for target in targets.iter().filter(|target| !is_rejected(target, &fields)) {
                let request = with(json!({"max_tokens": 9, "messages": hello()}), &fields);
                let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
                assert_eq!(accepted_by(target, &chat), Ok(()), "{fields}");
                let expected = if expected { json!({"type": "disabled"}) } else { Value::Null };
                assert_eq!(chat["thinking"], expected, "{target}: {fields}");
            }
        }
    }
}

/// Regression: these were lost, so that the target thought by its default: with a small limit, there was no text.
#[test]
fn disabled_thinking_and_the_effort_are_sent_in_the_form_of_the_target() {
    let thinking = |kind: &str| json!({"thinking": {"type": kind}});
    let effort = |effort: &str| json!({"output_config": {"effort": effort}});
    let budget = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    let becomes = |effort: &str| Ok(json!({"reasoning_effort": effort}));
    let off = Ok(thinking("disabled"));
    for target in ["deepseek/deepseek-flash", "deepseek/deepseek-v4-pro", "moonshot/kimi-k3", "zai/glm-5.3"] {
        messages_become(&[
            (target, effort("low"), becomes("low")),
            (target, effort("medium"), becomes("high")),
            (target, effort("high"), becomes("high")),
            (target, effort("xhigh"), becomes("high")),
            (target, effort("max"), becomes("max")),
            (target, budget(1024), becomes("low")),
            (target, budget(5000), becomes("high")),
            (target, thinking("adaptive"), Ok(json!({}))),
        ]);
    }
    for target in ["gemini/gemini-2.5-flash", "vertex/google/gemini-3-pro", "openai/gpt-5"] {
        messages_become(&[
            (target, effort("low"), becomes("low")),
            (target, effort("medium"), becomes("medium")),
            (target, effort("max"), becomes("high")),
            (target, budget(5000), becomes("medium")),
        ]);
    }
    for target in ["openai/gpt-5.2", "openai/gpt-6-astra", "xai/grok-4.7"] {
        messages_become(&[
            (target, effort("medium"), becomes("medium")),
            (target, effort("xhigh"), becomes("xhigh")),
            (target, effort("max"), becomes("xhigh")),
        ]);
    }
    messages_become(&[
        ("xai/grok-4.3", effort("xhigh"), becomes("high")),
        ("openai/gpt-5.1", effort("max"), becomes("high")),
        ("openai/gpt-oss-120b", effort("xhigh"), becomes("high")),
    ]);
    let without =
        ["moonshot/kimi-k2.6", "mimo/mimo-v2.5-pro", "deepseek/deepseek-chat", "xai/grok-4", UNKNOWN_TARGET];
    for target in without {
        messages_become(&[(target, effort("low"), Ok(json!({}))), (target, effort("max"), Ok(json!({})))]);
    }
    for (target, expected) in [
        ("deepseek/deepseek-flash", off.clone()),
        ("deepseek/deepseek-chat", off.clone()),
        ("moonshot/kimi-k2.6", off.clone()),
        ("mimo/mimo-v2.5-pro", off.clone()),
        ("zai/glm-4.6", off.clone()),
        ("zai/glm-5.2", off.clone()),
        ("zai/glm-5.3", becomes("low")),
        ("zai/glm-4-plus", Ok(json!({}))),
        ("moonshot/kimi-k3", becomes("low")),
        ("gemini/gemini-2.5-flash", becomes("none")),
        ("gemini/gemini-2.5-pro", becomes("low")),
        ("gemini/gemini-3-flash", becomes("low")),
        ("moonshot/kimi-k2.7-code", Ok(json!({}))),
        ("gemini/gemini-2.0-flash", Ok(json!({}))),
        ("openai/gpt-5", becomes("low")),
        ("openai/gpt-5.4", becomes("none")),
        ("openai/gpt-6-astra", becomes("low")),
        ("groq/openai/gpt-oss-120b", becomes("low")),
        ("xai/grok-4.3", becomes("none")),
        ("xai/grok-4.5", becomes("low")),
        ("xai/grok-4", Ok(json!({}))),
        ("openai/gpt-4o", Ok(json!({}))),
        (UNKNOWN_TARGET, Ok(json!({}))),
    ] {
        messages_become(&[
            (target, thinking("disabled"), expected.clone()),
            (target, thinking("between_tools"), expected),
        ]);
    }
    let both = with(thinking("disabled"), &effort("high"));
    let forced = with(effort("high"), &json!({"tools": [{"name": "f"}], "tool_choice": {"type": "any"}}));
    messages_become(&[("deepseek/deepseek-flash", both, off)]);
    let chat = translate_to_json(
        &MessagesToChat::new("deepseek/deepseek-flash"),
        &with(json!({"max_tokens": 9, "messages": hello()}), &forced),
    );
    let chat = chat.unwrap();
    assert_eq!((&chat["thinking"]["type"], chat.get("reasoning_effort")), (&json!("disabled"), None));
}

/// Regression: the parameters were sent, and answered with a 400 ("invalid temperature: only 0.6 is allowed
/// for this model"). The value that is allowed depends on whether the model thinks.
#[test]
fn sampling_is_left_to_models_with_one_value() {
    for (target, is_sent) in [
        ("moonshot/kimi-k2.5", false),
        ("moonshot/kimi-k2.6", false),
        ("my/moonshotai/kimi-k2.7-code-highspeed", false),
        ("moonshot/kimi-k3", false),
        ("moonshot/kimi-k10.1", false),
        ("moonshot/kimi-k2-0905-preview", true),
        ("moonshot/kimi-k2-thinking", true),
        ("moonshot/kimi-latest", true),
        ("groq/moonshotai/kimi-k2.6", true),
        ("deepseek/deepseek-chat", true),
        ("openai/gpt-5", false),
    ] {
        let request = json!({"max_tokens": 9, "messages": hello(), "temperature": 1, "top_p": 0.5});
        let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        let sent = (chat.get("temperature").is_some(), chat.get("top_p").is_some());
        assert_eq!(sent, (is_sent, is_sent), "{target}");
    }
}

/// Regression: newer models of Google answered the second request of every tool loop with a 400 ("Function call
/// is missing a thought_signature"). As in their own responses, the first call of a message has one.
#[test]
fn calls_for_gemini_are_marked_as_of_another_model() {
    let request = json!({"max_tokens": 9, "messages": [
        message("user", "hi"),
        turn("assistant", &[tool_use("a"), tool_use("b")]),
        turn("user", &[tool_result("a"), tool_result("b")]),
        turn("assistant", &[text("and"), tool_use("c")]),
        turn("user", &[tool_result("c")]),
    ]});
    for (target, is_marked) in [
        ("gemini/gemini-3-pro-preview", true),
        ("gemini/gemini-3.1-flash", true),
        ("gemini/gemini-flash-latest", true),
        ("vertex/google/gemini-3-flash", true),
        ("gemini/gemini-2.5-pro", false),
        ("vertex/google/gemini-2.0-flash-001", false),
        ("vertex/meta/llama-4", false),
        ("gemini/gemma-3-27b-it", false),
        ("openrouter/google/gemini-3-pro", false),
        ("openai/gpt-4o", false),
        (UNKNOWN_TARGET, false),
    ] {
        let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        assert_eq!(accepted_by(target, &chat), Ok(()), "{target}");
        let mark = json!({"google": {"thought_signature": "skip_thought_signature_validator"}});
        let mark = if is_marked { mark } else { Value::Null };
        let marks = |message: usize| {
            let calls = chat["messages"][message]["tool_calls"].as_array().unwrap();
            calls.iter().map(|call| call["extra_content"].clone()).collect::<Vec<_>>()
        };
        assert_eq!((marks(1), marks(4)), (vec![mark.clone(), Value::Null], vec![mark]), "{target}");
    }
}

/// Regression: OpenRouter answered the second request of every tool loop with a 400 ("Gemini models require OpenRouter
/// reasoning details to be preserved").
#[test]
fn calls_for_gemini_at_openrouter_are_marked_in_the_details_of_the_message() {
    let request = json!({"max_tokens": 9, "messages": [
        message("user", "hi"),
        turn("assistant", &[tool_use("a"), tool_use("b")]),
        turn("user", &[tool_result("a"), tool_result("b")]),
        turn("assistant", &[text("done")]),
        message("user", "so?"),
    ]});
    let detail = |id: &str, index: u64| {
        json!({"type": "reasoning.encrypted", "id": id, "format": "google-gemini-v1", "index": index,
            "data": "skip_thought_signature_validator"})
    };
    for (target, is_marked) in [
        ("openrouter/google/gemini-3-flash-preview", true),
        ("openrouter/google/gemini-3.1-pro", true),
        ("openrouter/~google/gemini-flash-latest", true),
        ("openrouter/google/gemini-2.5-pro", false),
        ("openrouter/anthropic/claude-opus-5", false),
        ("gemini/gemini-3-flash", false),
        ("my/google/gemini-3-flash", false),
    ] {
        let chat = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        assert_eq!(accepted_by(target, &chat), Ok(()), "{target}");
        let expected = if is_marked { json!([detail("a", 0), detail("b", 1)]) } else { Value::Null };
        assert_eq!(chat["messages"][1]["reasoning_details"], expected, "{target}");
        assert_eq!(chat["messages"][4].get("reasoning_details"), None, "{target}");
    }
}

/// Regression: a caller that appends the response to its prefill got the prefill twice.
#[test]
fn a_prefill_is_sent_only_to_providers_that_continue_it() {
    let begun = json!({"messages": [message("user", "JSON, please."), message("assistant", "{")]});
    const REJECTED: &str = "`messages` has to end with the user for the target";
    messages_become(&[
        ("openai/gpt-4o", begun.clone(), Err(REJECTED)),
        ("deepseek/deepseek-chat", begun.clone(), Ok(begun.clone())),
        ("mistral/mistral-large", begun, Err(REJECTED)),
    ]);
}

/// Regression: Mistral answered a user message after a tool result with a 400, as in every conversation with
/// reminders.
#[test]
fn text_after_tool_results_is_added_to_the_last_one_for_mistral() {
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://a"}});
    let conversation = |after: &[Value]| {
        let results = turn("user", &[&[tool_result("a"), tool_result("b")], after].concat());
        json!({"messages": [
            message("user", "hi"),
            turn("assistant", &[tool_use("a"), tool_use("b")]),
            results,
            message("user", "so?"),
            message("system", "Be brief."),
            message("assistant", "yes"),
            message("user", "and?"),
        ]})
    };
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let result = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let (first, second) = ("000000000", "000000001");
    messages_become(&[
        (
            "mistral/mistral-large",
            conversation(&[text("hm"), text("oh")]),
            Ok(json!({"messages": [
                message("user", "hi"),
                {"role": "assistant", "content": null, "tool_calls": [call(first), call(second)]},
                result(first, "7"),
                result(second, "7\n\nhm\n\noh\n\nso?\n\nBe brief."),
                message("assistant", "yes"),
                message("user", "and?"),
            ]})),
        ),
        (
            "mistral/mistral-large",
            conversation(&[image]),
            Err("`messages[].content` has to be text after tool results for the target"),
        ),
    ]);
}

/// Regression: a schema under its former field name was dropped, and a system message in the middle was
/// rejected if it had blocks.
#[test]
fn former_and_newer_forms_of_messages_are_supported() {
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    let schema = json!({"name": "answer", "schema": {"type": "object", "properties": {}}});
    let request = json!({"response_format": {"type": "json_schema", "json_schema": schema}});
    let orders = turn("system", &[text("Be brief."), text("In English.")]);
    let (brief, english) = (message("system", "Be brief."), message("system", "In English."));
    let (hi, yes) = (message("user", "hi"), message("assistant", "yes"));
    messages_become(&[
        ("openai/gpt-4o", json!({"output_format": format}), Ok(request.clone())),
        ("openai/gpt-4o", json!({"output_config": {"format": format}}), Ok(request)),
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

/// Regression: the newest models rejected requests with both tools and an effort.
#[test]
fn an_effort_together_with_tools_is_sent_only_to_models_that_accept_both() {
    const NO_TOOLS: &str = "`tools` are rejected by the target in a chat completion";
    let tools = json!([{"name": "f", "input_schema": {}}]);
    let translated = json!([{"type": "function", "function":
        {"name": "f", "parameters": {"type": "object", "properties": {}}}}]);
    let thinks = json!({"thinking": {"type": "enabled", "budget_tokens": 5000}});
    let both = with(thinks.clone(), &json!({"tools": tools}));
    let becomes =
        |effort: Value| Ok(with(json!({"tools": translated}), &json!({"reasoning_effort": effort})));
    messages_become(&[
        ("openai/gpt-5", both.clone(), becomes(json!("medium"))),
        ("openai/gpt-5.1", both.clone(), becomes(json!("medium"))),
        ("openai/o3", both.clone(), becomes(json!("medium"))),
        ("openai/gpt-5.4-mini", both.clone(), becomes(Value::Null)),
        (
            "openai/gpt-5.5",
            with(both.clone(), &json!({"thinking": {"type": "disabled"}})),
            becomes(json!("none")),
        ),
        ("openai/gpt-5.6-terra", both.clone(), becomes(json!("none"))),
        ("openai/gpt-5.6-terra", json!({"tools": tools}), becomes(json!("none"))),
        ("openai/gpt-5.6-sol", both.clone(), becomes(json!("none"))),
        // Regression: a version without a minor one was not read.
        ("openai/gpt-6-sol", both.clone(), becomes(json!("none"))),
        ("openai/gpt-6-luna", json!({"tools": tools}), becomes(json!("none"))),
        ("openai/gpt-6.1-terra", both.clone(), becomes(json!("none"))),
        ("openai/gpt-7", both.clone(), becomes(json!("none"))),
        // Regression: these have no effort with which they accept tools.
        ("openai/gpt-6-astra", both.clone(), Err(NO_TOOLS)),
        ("openai/gpt-6-astra-2026-09-03", json!({"tools": tools}), Err(NO_TOOLS)),
        ("openai/gpt-6.1-sol", both, Err(NO_TOOLS)),
        ("openai/gpt-6-astra", thinks.clone(), Ok(json!({"reasoning_effort": "medium"}))),
        ("openai/gpt-5.4", thinks.clone(), Ok(json!({"reasoning_effort": "medium"}))),
        ("openai/gpt-5.6", thinks, Ok(json!({"reasoning_effort": "medium"}))),
        ("openai/gpt-5.6", json!({}), Ok(json!({}))),
        ("openai/gpt-4o", json!({"tools": tools}), Ok(json!({"tools": translated}))),
        ("openai/gpt-5.6-chat-latest", json!({"tools": tools}), Ok(json!({"tools": translated}))),
    ]);
}

/// Regression: the context edits that Claude Code sends whenever thinking is on were rejected, and with them
/// all its requests.
#[test]
fn context_edits_that_only_clear_are_dropped_and_compaction_is_rejected() {
    let manage = |edits: Value| json!({"context_management": {"edits": edits}});
    let clear_thinking = json!({"type": "clear_thinking_20251015", "keep": "all"});
    let clear_results = json!({"type": "clear_tool_uses_20250919"});
    const REJECTED: &str = "`context_management` has no counterpart in the dialect of the target";
    messages_become(&[
        ("openai/gpt-4o", manage(json!([clear_thinking])), Ok(json!({}))),
        ("openai/gpt-4o", manage(json!([clear_thinking, clear_results])), Ok(json!({}))),
        ("openai/gpt-4o", json!({"context_management": {}}), Ok(json!({}))),
        ("openai/gpt-4o", manage(json!([clear_thinking, {"type": "compact_20260112"}])), Err(REJECTED)),
        ("openai/gpt-4o", manage(json!([7])), Err(REJECTED)),
    ]);
}

#[test]
fn call_ids_of_messages_are_replaced_by_ids_that_the_chat_accepts() {
    let long = "toolu_".repeat(7);
    let failed = json!({"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true});
    let request = json!({"max_tokens": 9, "messages": [
        message("user", "hi"),
        turn("assistant", &[tool_use(&long), tool_use("toolu_2")]),
        turn("user", &[tool_result(&long), failed]),
    ]});
    for (target, ids) in
        [("openai/gpt-4o", ["call_0", "toolu_2"]), ("mistral/mistral-large", ["000000000", "000000001"])]
    {
        let translated = translate_to_json(&MessagesToChat::new(target), &request).unwrap();
        let called = translated["messages"][1]["tool_calls"].as_array().unwrap();
        assert_eq!([&called[0]["id"], &called[1]["id"]], ids, "{target}");
        assert_eq!(translated["messages"][2], result(ids[0]));
        let failed = json!({"role": "tool", "tool_call_id": ids[1], "content": "error"});
        assert_eq!(
            translated["messages"][3], failed,
            "a failed call without content becomes the text `error`"
        );
    }
}
