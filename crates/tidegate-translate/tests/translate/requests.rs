use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::Translator;
use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::{UNKNOWN_TARGET, body, hello, to_chat, to_messages, translate};

#[test]
fn a_conversation_with_tools_is_translated_to_messages() {
    let chat = json!({
        "model": "m", "max_tokens": 7, "max_completion_tokens": 99, "stream": true, "temperature": 1.7,
        "top_p": 0.5, "stop": "END", "user": "u1", "seed": 4, "n": 1, "verbosity": "low", "logprobs": false,
        "stream_options": {"include_usage": true}, "parallel_tool_calls": false, "frequency_penalty": 0,
        "tools": [
            {"type": "function", "function": {"name": "tide_at", "description": "when",
                "parameters": {"type": "object", "properties": {"port": {"type": "string"}}}, "strict": true}},
            {"type": "function", "function": {"name": "now"}},
        ],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "Ann", "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/tide.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
            ]},
            {"role": "developer", "content": [{"type": "text", "text": "In English."}]},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "tide_at", "arguments": "{\"port\": \"Brest\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "at six"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "noon"}]},
            {"role": "user", "content": "So?"},
        ],
    });
    assert_eq!(
        to_messages(&chat),
        json!({
            "model": "m", "max_tokens": 99, "stream": true, "temperature": 1, "top_p": 0.5,
            "stop_sequences": ["END"], "metadata": {"user_id": "u1"},
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
            "tools": [
                {"name": "tide_at", "description": "when", "strict": true,
                    "input_schema": {"type": "object", "properties": {"port": {"type": "string"}}, "additionalProperties": false}},
                {"name": "now", "input_schema": {"type": "object", "properties": {}}},
            ],
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "In English."}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "Look:"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/tide.png"}},
                    {"type": "document", "title": "a.pdf",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "tide_at", "input": {"port": "Brest"}},
                    {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "at six"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "noon"}]},
                    {"type": "text", "text": "So?"},
                ]},
            ],
        })
    );
}

#[test]
fn a_conversation_with_tools_is_translated_to_a_chat() {
    let messages = json!({
        "model": "m", "max_tokens": 99, "stream": true, "temperature": 0.5, "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"}, "thinking": {"type": "enabled", "budget_tokens": 2000},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "tide_at", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "Hello."},
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "text", "text": "This?"},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "tide_at", "input": {"port": "Brest"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": [{"type": "text", "text": "at six"}]},
                {"type": "text", "text": "So?"},
            ]},
        ],
    });
    assert_eq!(
        to_chat(&messages),
        json!({
            "model": "m", "max_tokens": 99, "stream": true, "stream_options": {"include_usage": true},
            "temperature": 0.5, "stop": ["END"], "user": "u1", "parallel_tool_calls": false,
            "tools": [{"type": "function", "function": {"name": "tide_at", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "required",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello."},
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "text", "text": "This?"},
                ]},
                {"role": "assistant", "content": "I look.", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "tide_at", "arguments": "{\"port\":\"Brest\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "t1", "content": "at six"},
                {"role": "user", "content": "So?"},
            ],
        })
    );
}

/// Regression: the calls were followed by another message of the assistant, which OpenAI answers with a 400.
#[test]
fn nothing_stands_between_calls_and_their_results() {
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "six"});
    let assistant = |content: Value| json!({"role": "assistant", "content": content});
    let sent = to_chat(&json!({"messages": [
        hello()[0],
        assistant(json!("a")),
        assistant(json!([text("b"), call("t1")])),
        assistant(json!([call("t2"), text("c")])),
        assistant(json!("d")),
        {"role": "user", "content": [result("t1"), result("t2")]},
        assistant(json!([text("e")])),
        assistant(json!("f")),
        hello()[0],
    ]}));
    let of = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let sent_result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "six"});
    assert_eq!(
        sent["messages"],
        json!([
            hello()[0],
            assistant(json!("a")),
            {"role": "assistant", "content": "b\n\nc\n\nd", "tool_calls": [of("t1"), of("t2")]},
            sent_result("t1"),
            sent_result("t2"),
            assistant(json!("e")),
            assistant(json!("f")),
            hello()[0],
        ])
    );
}

/// Regression: after a tool result with an image, all further requests of the conversation were rejected.
#[test]
fn images_of_tool_results_follow_after_all_tool_messages() {
    let image = |url: &str| json!({"type": "image", "source": {"type": "url", "url": url}});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
    let result =
        |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let text = |text: &str| json!({"type": "text", "text": text});
    let request = json!({"max_tokens": 1, "messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [call("t1"), call("t2"), call("t3")]},
        {"role": "user", "content": [
            result("t1", json!([image("https://a"), image("https://b")])),
            result("t2", json!([text("a buoy"), image("https://c")])),
            result("t3", json!([text("nothing")])),
            text("So?"),
        ]},
    ]});
    let picture = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let tool = |id: &str, content: Value| json!({"role": "tool", "tool_call_id": id, "content": content});
    assert_eq!(
        to_chat(&request)["messages"].as_array().unwrap()[2..],
        [
            tool("t1", json!("[images of t1 follow]")),
            tool("t2", json!("a buoy\n\n[images of t2 follow]")),
            tool("t3", json!("nothing")),
            json!({"role": "user", "content": [
                text("[images of t1]"), picture("https://a"), picture("https://b"),
                text("[images of t2]"), picture("https://c"),
                text("So?"),
            ]}),
        ]
    );
}

/// Regression: a user message stood between the tool results of one turn, which a chat rejects.
#[test]
fn tool_results_come_before_all_user_messages_of_the_turn() {
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "seen"});
    let user = |content: Value| json!({"role": "user", "content": content});
    let request = json!({"max_tokens": 1, "messages": [
        user(json!("Look.")),
        {"role": "assistant", "content": [call("t1"), call("t2")]},
        user(json!([result("t1"), {"type": "text", "text": "Hm."}])),
        user(json!("Well.")),
        user(json!([result("t2")])),
        {"role": "assistant", "content": "Yes."},
        user(json!("So?")),
    ]});
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "seen"});
    assert_eq!(
        to_chat(&request)["messages"].as_array().unwrap()[2..],
        [
            tool("t1"),
            tool("t2"),
            user(json!("Hm.")),
            user(json!("Well.")),
            json!({"role": "assistant", "content": "Yes."}),
            user(json!("So?")),
        ]
    );
}

/// Models read schemas and arguments, so the order of their fields matters.
#[test]
fn schemas_and_arguments_pass_unchanged() {
    let chat = r#"{"messages":[{"role":"user","content":"?"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"z\":1.0, \"a\":[]}"}}]},{"role":"tool","tool_call_id":"c","content":"7"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","b":1e2,"properties":{},"a":0}}}]}"#;
    let mut head = http::Request::new(()).into_parts().0;
    let translation = ChatToMessages::new(UNKNOWN_TARGET).request(&mut head, chat.as_bytes()).unwrap();
    let messages = String::from_utf8(translation.body.to_vec()).unwrap();
    assert!(
        messages.contains(r#""input_schema":{"type":"object","b":1e2,"properties":{},"a":0}"#),
        "{messages}"
    );
    assert!(messages.contains(r#""input":{"z":1.0, "a":[]}"#), "{messages}");
    let back = MessagesToChat::new(UNKNOWN_TARGET).request(&mut head, messages.as_bytes()).unwrap();
    let back = String::from_utf8(back.body.to_vec()).unwrap();
    assert!(back.contains(r#""arguments":"{\"z\":1.0, \"a\":[]}""#), "{back}");
    assert!(back.contains(r#""parameters":{"type":"object","b":1e2,"properties":{},"a":0}"#), "{back}");
}

/// Regression: "null", which some hosts write for a call without arguments, kept such a conversation from Anthropic.
#[test]
fn a_call_without_arguments_has_an_empty_input() {
    for arguments in ["", " ", "{}", "null", " null\n"] {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let messages = to_messages(&json!({"messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "7"},
        ]}));
        assert_eq!(messages["messages"][1]["content"][0]["input"], json!({}), "{arguments:?}");
    }
}

#[test]
fn each_tool_choice_has_a_counterpart_in_both_directions() {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}});
    for (chat, messages) in [
        (json!("auto"), json!({"type": "auto"})),
        (json!("none"), json!({"type": "none"})),
        (json!("required"), json!({"type": "any"})),
        (json!({"type": "function", "function": {"name": "f"}}), json!({"type": "tool", "name": "f"})),
    ] {
        let request = json!({"messages": hello(), "max_tokens": 1, "tools": [tool], "tool_choice": chat});
        let translated = to_messages(&request);
        assert_eq!(translated["tool_choice"], messages);
        assert_eq!(to_chat(&translated), request);
        let bare = json!({"messages": hello(), "tool_choice": chat, "parallel_tool_calls": false});
        assert_eq!(to_messages(&bare).get("tool_choice"), None, "there are no tools to choose from");
    }
}

#[test]
fn chat_fields_without_a_counterpart_are_rejected_by_name() {
    let messages = |message: Value| json!({"messages": [message]});
    let part = |part: Value| messages(json!({"role": "user", "content": [part]}));
    let with = |name: &str, value: Value| json!({"messages": hello(), name: value});
    for (field, body) in [
        ("n", with("n", json!(2))),
        ("logprobs", with("logprobs", json!(true))),
        ("top_logprobs", with("top_logprobs", json!(5))),
        ("logit_bias", with("logit_bias", json!({"1": 100}))),
        ("frequency_penalty", with("frequency_penalty", json!(0.5))),
        ("presence_penalty", with("presence_penalty", json!(-1))),
        ("modalities", with("modalities", json!(["text", "audio"]))),
        ("audio", with("audio", json!({"voice": "secret"}))),
        ("web_search_options", with("web_search_options", json!({}))),
        ("functions", with("functions", json!([{"name": "secret"}]))),
        ("response_format", with("response_format", json!({"type": "grammar"}))),
        ("unheard_of", with("unheard_of", json!({}))),
        ("thinking", with("thinking", json!({"type": "enabled"}))),
        ("messages[].weight", messages(json!({"role": "user", "content": "secret", "weight": 0}))),
        (
            "messages[].content[].image_url.crop",
            part(json!({"type": "image_url", "image_url": {"url": "https://a", "crop": 1}})),
        ),
        (
            "tools[].function.examples",
            with("tools", json!([{"type": "function", "function": {"name": "f", "examples": ["secret"]}}])),
        ),
        ("stop", with("stop", json!(7))),
        ("max_tokens", with("max_tokens", json!("secret"))),
        ("temperature", with("temperature", json!("secret"))),
        ("tools", with("tools", json!({"secret": 1}))),
        ("tools[].type", with("tools", json!([{"type": "custom", "custom": {"name": "secret"}}]))),
        ("tool_choice", with("tool_choice", json!("secret"))),
        (
            "tool_choice.strict",
            with("tool_choice", json!({"type": "function", "function": {"name": "secret"}, "strict": true})),
        ),
        (
            "tool_choice.function.strict",
            with("tool_choice", json!({"type": "function", "function": {"name": "secret", "strict": true}})),
        ),
        ("tool_choice.type", with("tool_choice", json!({"type": "allowed_tools"}))),
        ("messages", json!({"model": "secret"})),
        ("messages", with("messages", json!("secret"))),
        ("messages[].role", messages(json!({"role": "function", "content": "secret"}))),
        (
            "messages[].content[].type",
            part(json!({"type": "input_audio", "input_audio": {"data": "secret"}})),
        ),
        ("messages[].content[].image_url", part(json!({"type": "image_url"}))),
        (
            "messages[].content[].image_url.url",
            part(json!({"type": "image_url", "image_url": {"url": "data:secret"}})),
        ),
        ("messages[].content[].file.file_id", part(json!({"type": "file", "file": {"file_id": "secret"}}))),
        (
            "messages[].function_call",
            messages(json!({"role": "assistant", "function_call": {"name": "secret"}})),
        ),
        ("messages[].audio", messages(json!({"role": "assistant", "audio": {"id": "secret"}}))),
        ("messages[].tool_call_id", messages(json!({"role": "tool", "content": "secret"}))),
        (
            "messages[].tool_calls[].function.arguments",
            messages(
                json!({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "secret"}}]}),
            ),
        ),
    ] {
        assert_rejected(&ChatToMessages::new(UNKNOWN_TARGET), field, &body);
    }
}

#[test]
fn messages_fields_without_a_counterpart_are_rejected_by_name() {
    let messages = |message: Value| json!({"messages": [message]});
    let block = |block: Value| messages(json!({"role": "user", "content": [block]}));
    let with = |name: &str, value: Value| json!({"messages": hello(), name: value});
    let with_source = |kind: &str| json!([{"type": kind, "source": {"type": "file", "file_id": "secret"}}]);
    for (field, body) in [
        ("thread", with("thread", json!({"id": "secret"}))),
        ("unheard_of", with("unheard_of", json!({}))),
        ("output_config.task_budget", with("output_config", json!({"task_budget": {"total": 1}}))),
        (
            "messages[].output_config.task_budget",
            messages(json!({"role": "user", "content": "secret", "output_config": {"task_budget": 1}})),
        ),
        ("messages[].pinned", messages(json!({"role": "user", "content": "secret", "pinned": true}))),
        (
            "messages[].content[].context",
            block(json!({"type": "text", "text": "secret", "context": "secret"})),
        ),
        (
            "messages[].content[].caller",
            block(json!({"type": "text", "text": "x", "caller": {"type": "secret"}})),
        ),
        (
            "tools[].defer_loading",
            with("tools", json!([{"name": "f", "input_schema": {}, "defer_loading": true}])),
        ),
        ("?", with("a secret question?", json!(1))),
        ("container", with("container", json!("secret"))),
        ("mcp_servers", with("mcp_servers", json!([{"url": "secret"}]))),
        ("inference_geo", with("inference_geo", json!("us"))),
        ("tools[].type", with("tools", json!([{"type": "web_search_20250305", "name": "web_search"}]))),
        ("system[].type", with("system", json!([{"type": "image"}]))),
        ("messages[].role", messages(json!({"role": "secret", "content": "secret"}))),
        ("messages[].content[].type", block(json!({"type": "search_result", "title": "secret"}))),
        (
            "messages[].content[].source.type",
            block(json!({"type": "image", "source": {"type": "file", "file_id": "secret"}})),
        ),
        (
            "messages[].content[].content[].type",
            block(json!({"type": "tool_result", "tool_use_id": "t", "content": with_source("image")})),
        ),
        (
            "messages[].content[].content[].type",
            block(json!({"type": "tool_result", "tool_use_id": "t", "content": with_source("document")})),
        ),
        ("messages[].content[].tool_use_id", block(json!({"type": "tool_result", "content": "secret"}))),
        ("messages[].content[].title", block(json!({"type": "text", "text": "secret", "title": "secret"}))),
        ("output_config.format.type", with("output_config", json!({"format": {"type": "secret"}}))),
    ] {
        assert_rejected(&MessagesToChat::new(UNKNOWN_TARGET), field, &body);
    }
    let mut head = http::Request::new(()).into_parts().0;
    for body in [&b"[1]"[..], b"", b"{\"messages\":", b"\xff"] {
        let error = MessagesToChat::new(UNKNOWN_TARGET).request(&mut head, body).unwrap_err();
        assert_eq!(error.to_string(), "`body` is not a JSON object");
    }
}

#[test]
fn the_title_of_a_document_of_text_is_its_heading() {
    for (title, text) in
        [(json!("Tides"), "Tides\n\nEbb at six."), (json!(" "), "Ebb at six."), (Value::Null, "Ebb at six.")]
    {
        let source = json!({"type": "text", "media_type": "text/plain", "data": "Ebb at six."});
        let document = json!({"type": "document", "title": title, "source": source});
        let request = json!({"max_tokens": 9, "messages": [{"role": "user", "content": [document]}]});
        assert_eq!(to_chat(&request)["messages"][0]["content"], text);
    }
}

/// A null counts as absent, and droppable fields are listed.
#[test]
fn fields_without_an_effect_are_dropped() {
    let expected = to_messages(&json!({"messages": hello()}));
    for (name, value) in [
        ("unheard_of", Value::Null),
        ("seed", json!(4)),
        ("store", json!(true)),
        ("metadata", json!({"a": "b"})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("prompt_cache_key", json!("k")),
        // Regression: it was rejected, so that no fallback to Anthropic was possible.
        ("prompt_cache_options", json!({"mode": "explicit"})),
    ] {
        assert_eq!(to_messages(&json!({"messages": hello(), name: value})), expected, "{name}");
    }
    let expected = to_chat(&json!({"messages": hello(), "max_tokens": 9}));
    for (name, value) in [
        ("unheard_of", Value::Null),
        ("top_k", json!(5)),
        ("service_tier", json!("auto")),
        ("cache_control", json!({"type": "ephemeral"})),
        ("mcp_servers", json!([])),
        // Regression: clients send these by default, and a chain could not go on to a chat.
        (
            "thinking",
            json!({"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}),
        ),
        ("diagnostics", json!({"previous_message_id": "msg_1"})),
        ("fallbacks", json!([{"model": "claude-opus-5"}])),
        ("fallback_credit_token", json!("fct_1")),
    ] {
        let request = json!({"messages": hello(), "max_tokens": 9, name: value});
        assert_eq!(to_chat(&request), expected, "{name}");
    }
    let repeated = json!({"role": "assistant", "content": "a", "annotations": [], "parsed": {"a": 1},
        "reasoning_content": "hm", "audio": null, "function_call": null,
        "extra_content": {"google": {"thought_signature": "c2ln"}}});
    let messages = json!([hello()[0], repeated, hello()[0]]);
    assert_eq!(to_messages(&json!({"messages": messages}))["messages"][1]["content"][0]["text"], "a");
}

/// Regression: clients append the message of a response as it is, and neither a tool loop nor a chain could go on
/// to Anthropic.
#[test]
fn what_a_response_said_beside_its_text_is_dropped() {
    let with = |mut all: Value, more: &Value| {
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let call =
        |fields: &Value| with(json!({"id": "c", "function": with(json!({"name": "f"}), fields)}), fields);
    let ask = |fields: Value, of_call: &Value| {
        let replayed = json!({"role": "assistant", "content": "a", "tool_calls": [call(of_call)]});
        let result = json!({"role": "tool", "tool_call_id": "c", "content": "7"});
        json!({"messages": [hello()[0], with(replayed, &fields), result]})
    };
    let expected = to_messages(&ask(json!({}), &json!({})));
    for fields in [
        json!({"annotations": [{"type": "url_citation", "url_citation": {"url": "https://a"}}]}),
        json!({"provider_specific_fields": {"refusal": null}, "images": [], "thinking_blocks": [{"signature": "a"}]}),
        json!({"reasoning_items": [{"encrypted_content": "a"}], "thinking": "a"}),
        json!({"reasoning_text": "a", "reasoning_opaque": "a", "prefix": false}),
    ] {
        assert_eq!(to_messages(&ask(fields.clone(), &json!({}))), expected, "{fields}");
    }
    let of_call = json!({"provider_specific_fields": {"thought_signature": "a"}});
    assert_eq!(to_messages(&ask(json!({}), &of_call)), expected);
    let translator = ChatToMessages::new(UNKNOWN_TARGET);
    assert_rejected(&translator, "messages[].images", &ask(json!({"images": [{"a": "secret"}]}), &json!({})));
    assert_rejected(&translator, "messages[].prefix", &ask(json!({"prefix": true}), &json!({})));
}

/// Regression: the marks were dropped, and each turn of a tool loop was paid in full.
#[test]
fn marks_of_the_cache_are_kept_in_a_form_that_the_target_accepts() {
    let (short, long) = (json!({"type": "ephemeral"}), json!({"type": "ephemeral", "ttl": "1h"}));
    let part = |mark: &Value| json!({"type": "text", "text": "a", "cache_control": mark});
    let message = |role: &str, mark: &Value| json!({"role": role, "content": [part(mark)]});
    let call = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
    let tools =
        |mark: &Value| json!([{"type": "function", "function": {"name": "f"}, "cache_control": mark}]);
    let none = Value::Null;
    let marks = |tool: &Value, system: &Value, question: &Value, result: &Value, last: &Value| {
        let sent = to_messages(&json!({"tools": tools(tool), "messages": [
            message("system", system),
            message("user", question),
            {"role": "assistant", "tool_calls": call},
            {"role": "tool", "tool_call_id": "c", "content": [part(result)]},
            {"role": "user", "content": "and?", "cache_control": last},
        ]}));
        let messages = &sent["messages"];
        [
            &sent["tools"][0],
            &sent["system"][0],
            &messages[0]["content"][0],
            &messages[2]["content"][0],
            &messages[2]["content"][1],
        ]
        .map(|block| block["cache_control"].clone())
    };
    let all = |marks: [&Value; 5]| marks.map(Clone::clone);
    assert_eq!(marks(&short, &short, &none, &short, &short), all([&short, &short, &none, &short, &short]));
    assert_eq!(marks(&long, &long, &none, &none, &short), all([&long, &long, &none, &none, &short]));
    // Of more than four, the last ones count. One for an hour has to be before the others.
    assert_eq!(marks(&short, &short, &short, &short, &short), all([&none, &short, &short, &short, &short]));
    assert_eq!(marks(&short, &long, &none, &none, &none), all([&short, &short, &none, &none, &none]));
    for odd in [json!({"type": "persistent"}), json!("ephemeral"), json!([1]), json!({})] {
        assert_eq!(marks(&odd, &odd, &odd, &odd, &odd), all([&none; 5]), "{odd}");
    }
    let five_minutes = json!({"type": "ephemeral", "ttl": "5m"});
    assert_eq!(marks(&five_minutes, &none, &none, &none, &none), all([&short, &none, &none, &none, &none]));
    let image = json!({"type": "image_url", "image_url": {"url": "https://a"}, "cache_control": short});
    let sent = to_messages(&json!({"messages": [
        {"role": "user", "content": [image]},
        {"role": "assistant", "content": null, "tool_calls": call, "cache_control": short},
        {"role": "tool", "tool_call_id": "c", "content": "7", "cache_control": short},
    ]}));
    for turn in 0..3 {
        assert_eq!(sent["messages"][turn]["content"][0]["cache_control"], short);
    }
    // OpenAI's own mark.
    let breakpoint = |mode: &str| json!({"mode": mode, "ttl": "30m"});
    let marked = |kind: &str, mode: &str| {
        let image = json!({"url": "https://a"});
        json!({"type": kind, "text": "a", "image_url": image, "prompt_cache_breakpoint": breakpoint(mode)})
    };
    let parts = json!([marked("text", "explicit"), marked("image_url", "explicit"), marked("text", "x")]);
    let own = to_messages(&json!({"messages": [{"role": "user", "content": parts}]}));
    let own = [0, 1, 2].map(|part| own["messages"][0]["content"][part]["cache_control"].clone());
    assert_eq!(own, [&short, &short, &none].map(Clone::clone));
    assert_eq!(to_chat(&sent).to_string().matches("cache_control").count(), 0);
}

/// Unknown fields are found behind text that was repaired.
#[test]
fn a_lone_surrogate_does_not_hide_an_unknown_field() {
    let body = br#"{"messages":[{"role":"user","content":"\ud83d"}],"max_tokens":9,"thread":{}}"#;
    let mut head = http::Request::new(()).into_parts().0;
    let error = MessagesToChat::new(UNKNOWN_TARGET).request(&mut head, body).unwrap_err();
    assert_eq!(error.field(), "thread");
}

/// A caller that enables citations displays them. A chat has none, and a response without citations looks as
/// if no source was found.
#[test]
fn enabled_citations_are_rejected_and_citations_in_earlier_responses_are_dropped() {
    let source = json!({"type": "text", "media_type": "text/plain", "data": "secret"});
    let ask = |citations: Value| {
        let document = json!({"type": "document", "source": source, "citations": citations});
        let cited = json!([{"type": "char_location", "cited_text": "secret", "document_index": 0}]);
        let cited_text = json!({"type": "text", "text": "At six.", "citations": cited});
        json!({"messages": [
            {"role": "user", "content": [document]},
            {"role": "assistant", "content": [cited_text]},
            {"role": "user", "content": "And then?"},
        ]})
    };
    assert_rejected(
        &MessagesToChat::new(UNKNOWN_TARGET),
        "messages[].content[].citations",
        &ask(json!({"enabled": true})),
    );
    for nothing in [json!({"enabled": false}), json!({}), Value::Null] {
        let conversation = json!([
            {"role": "user", "content": "secret"},
            {"role": "assistant", "content": "At six."},
            {"role": "user", "content": "And then?"},
        ]);
        assert_eq!(to_chat(&ask(nothing.clone()))["messages"], conversation, "{nothing}");
    }
}

/// Regression: clients send the mark back, and a chain could not go on to a chat for the rest of the conversation.
#[test]
fn the_mark_of_a_fallback_at_anthropic_is_dropped_with_the_calls_before_it() {
    let mark = json!({"type": "fallback", "from": {"model": "claude-fable-5"}, "to": {"model": "claude-opus-4-8"},
        "trigger": {"type": "refusal", "category": null}});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let text = json!({"type": "text", "text": "At"});
    let result = json!({"type": "tool_result", "tool_use_id": "c2", "content": "six"});
    let sent = to_chat(&json!({"messages": [
        hello()[0],
        {"role": "assistant", "content": [text, call("c1"), mark, call("c2")]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [mark, text]},
        hello()[0],
    ]}));
    let calls = &sent["messages"][1]["tool_calls"];
    assert_eq!((calls[0]["id"].as_str(), calls.as_array().map(Vec::len)), (Some("c2"), Some(1)));
    assert_eq!(
        (&sent["messages"][1]["content"], &sent["messages"][3]["content"]),
        (&json!("At"), &json!("At"))
    );
}

fn assert_rejected(translator: &dyn Translator, field: &str, body: &Value) {
    let error = translate(translator, body).expect_err(field);
    assert_eq!(error.field(), field, "{body}");
    assert!(
        !format!("{error:?} {error}").contains("secret"),
        "an error must not contain the prompt: {error}"
    );
}

#[test]
fn thinking_is_requested_in_the_form_that_the_model_accepts() {
    let chat = |effort: &str, limit: Value| json!({"messages": hello(), "reasoning_effort": effort, "max_tokens": limit});
    let ask = |target: &str, chat: &Value| body(translate(&ChatToMessages::new(target), chat));
    let budgeted = ask("anthropic/claude-sonnet-4-5", &chat("medium", Value::Null));
    assert_eq!(budgeted["thinking"], json!({"type": "enabled", "budget_tokens": 4096}));
    assert_eq!(budgeted["max_tokens"], 8192, "the limit covers thinking and text together");
    let tight = ask("anthropic/claude-sonnet-4-5", &chat("high", json!(3000)));
    assert_eq!((&tight["thinking"]["budget_tokens"], &tight["max_tokens"]), (&1500.into(), &3000.into()));
    assert_eq!(ask("anthropic/claude-sonnet-4-5", &chat("high", json!(2047))).get("thinking"), None);
    let adaptive = ask("anthropic/claude-opus-4-7", &chat("low", json!(50)));
    assert_eq!(
        (&adaptive["thinking"], &adaptive["output_config"]),
        (&json!({"type": "adaptive", "display": "summarized"}), &json!({"effort": "low"})),
        "the reasoning is visible only on request"
    );
    for (target, effort) in [("anthropic/claude-3-5-haiku", "high"), ("anthropic/claude-opus-4-7", "none")] {
        let plain = ask(target, &chat(effort, Value::Null));
        assert_eq!((plain.get("thinking"), plain.get("output_config")), (None, None));
    }
    // The thinking that must be sent back with a tool call is lost, so thinking is off after tool results.
    let mut middle = chat("high", Value::Null);
    middle["messages"] = json!([
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ]);
    assert_eq!(ask("anthropic/claude-sonnet-4-5", &middle).get("thinking"), None);

    let thinking = json!({"messages": hello(), "max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 5000}});
    let of = |target: &str| body(translate(&MessagesToChat::new(target), &thinking));
    assert_eq!(of("openai/gpt-5")["reasoning_effort"], "medium");
    assert_eq!(of("openai/gpt-5")["max_completion_tokens"], 9000);
    assert_eq!(of("deepseek/deepseek-chat").get("reasoning_effort"), None);
    assert_eq!(of("deepseek/deepseek-chat")["max_tokens"], 9000);
}

/// Regression: a conversation in which a client had changed the effort was rejected.
#[test]
fn the_effort_is_that_of_the_last_message_with_one() {
    let effort = |effort: Value, content: Value| json!({"role": "system", "content": content, "output_config": {"effort": effort}});
    let user = |text: &str| json!({"role": "user", "content": text});
    let ask = |messages: Value| {
        let request = json!({"messages": messages, "max_tokens": 9, "output_config": {"effort": "high"}});
        body(translate(&MessagesToChat::new("openai/gpt-5"), &request))
    };
    let low = effort(json!("low"), json!([]));
    let sent = ask(json!([user("Ebb?"), low, user("Flood?")]));
    assert_eq!(sent["messages"], json!([user("Ebb?"), user("Flood?")]));
    assert_eq!(sent["reasoning_effort"], "low");
    for (messages, expected) in [
        (json!([low, user("?"), effort(json!("medium"), json!("Think.")), user("?")]), "medium"),
        (json!([low, user("?"), effort(Value::Null, json!([])), user("?")]), "low"),
        (json!([user("?"), effort(Value::Null, json!([]))]), "high"),
        (json!([user("?")]), "high"),
    ] {
        assert_eq!(ask(messages.clone())["reasoning_effort"], expected, "{messages}");
    }
}

#[test]
fn a_response_schema_is_translated_in_both_directions() {
    let schema = json!({"type": "object", "properties": {"at": {"type": "string"}},
        "required": ["at"], "additionalProperties": false});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}});
    let request = json!({"messages": hello(), "max_tokens": 1, "response_format": format});
    let messages = to_messages(&request);
    assert_eq!(messages["output_config"], json!({"format": {"type": "json_schema", "schema": schema}}));
    assert_eq!(to_chat(&messages), request);
}

#[test]
fn a_json_object_is_demanded_after_the_system_prompt() {
    let system = json!({"role": "system", "content": "Be brief."});
    let request = json!({"messages": [system, hello()[0]], "response_format": {"type": "json_object"}});
    let sent = to_messages(&request);
    let text = |text: &str| json!({"type": "text", "text": text});
    let demand =
        "Respond with a single JSON object and nothing else: no text before or after it, and no code fence.";
    assert_eq!(sent["system"], json!([text("Be brief."), text(demand)]));
    assert_eq!(sent.get("output_config"), None);
}

/// Nulls, blank texts and empty messages are dropped.
#[test]
fn empty_values_are_dropped() {
    let chat = json!({"model": "m", "n": null, "tools": null, "stop": null, "max_tokens": null, "messages": [
        {"role": "user", "content": [{"type": "text", "text": " \n"}, {"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": null, "tool_calls": []},
    ]});
    let expected = json!({"model": "m", "max_tokens": 4096, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]});
    assert_eq!(to_messages(&chat), expected);
}

#[test]
fn headers_of_the_source_dialect_are_removed_and_no_compression_is_requested() {
    let mut head = http::Request::post("/x")
        .header("openai-beta", "a")
        .header("accept-encoding", "gzip")
        .header("idempotency-key", "1")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    ChatToMessages::new(UNKNOWN_TARGET)
        .request(&mut head, br#"{"messages":[{"role":"user","content":"Ebb?"}]}"#)
        .unwrap();
    let names: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    for expected in
        [("accept-encoding", "identity"), ("idempotency-key", "1"), ("anthropic-version", "2023-06-01")]
    {
        assert!(names.contains(&expected), "{names:?}");
    }
    assert_eq!(names.len(), 3);
    MessagesToChat::new(UNKNOWN_TARGET)
        .request(&mut head, br#"{"messages":[{"role":"user","content":"Ebb?"}]}"#)
        .unwrap();
    assert!(!head.headers.contains_key("anthropic-version"));
}

/// A stack overflow would abort the process.
#[test]
fn unbounded_nesting_is_rejected() {
    let deep = "{\"content\":[".repeat(100_000);
    for body in [
        format!("{{\"messages\":[{{\"role\":\"user\",\"content\":[{deep}"),
        deep.clone(),
        "[".repeat(1_000_000),
    ] {
        let mut head = http::Request::new(()).into_parts().0;
        assert!(ChatToMessages::new(UNKNOWN_TARGET).request(&mut head, body.as_bytes()).is_err());
        assert!(MessagesToChat::new(UNKNOWN_TARGET).request(&mut head, body.as_bytes()).is_err());
    }
}

#[test]
fn stream_usage_is_requested_unless_the_provider_always_reports_it() {
    let request = json!({"messages": hello(), "stream": true});
    let of = |target: &str| body(translate(&MessagesToChat::new(target), &request));
    assert_eq!(of("openai/gpt-4o")["stream_options"], json!({"include_usage": true}));
    assert_eq!(of("mistral/mistral-large").get("stream_options"), None);
}

/// Names and values of the dialects in arbitrary places.
fn odd() -> impl Strategy<Value = Value> {
    let word = || {
        prop::sample::select(vec![
            "messages",
            "role",
            "user",
            "assistant",
            "tool",
            "system",
            "content",
            "type",
            "text",
            "tool_calls",
            "function",
            "name",
            "arguments",
            "id",
            "tool_use",
            "tool_result",
            "tool_use_id",
            "input",
            "image",
            "image_url",
            "url",
            "source",
            "base64",
            "data",
            "media_type",
            "data:image/png;base64,A",
            "tools",
            "tool_choice",
            "temperature",
            "max_tokens",
            "stop",
            "thinking",
            "reasoning_effort",
            "high",
            "budget_tokens",
            "{}",
            "choices",
            "message",
            "finish_reason",
            "usage",
            "error",
            "index",
            "delta",
            "content_block",
            "content_block_start",
        ])
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Any request or response is translated or rejected.
    #[test]
    fn nothing_panics(odd in odd(), messages in prop::collection::vec(odd(), 0..3)) {
        let request = json!({"messages": messages, "tools": odd, "tool_choice": odd, "thinking": odd});
        for body in [&odd, &request] {
            let _ = translate(&ChatToMessages::new(UNKNOWN_TARGET), body);
            let _ = translate(&MessagesToChat::new(UNKNOWN_TARGET), body);
            for mut answer in [super::for_chat(), super::for_messages()] {
                let text = body.to_string();
                let _ = answer.whole(http::StatusCode::OK, text.as_bytes());
                let _ = answer.whole(http::StatusCode::BAD_GATEWAY, text.as_bytes());
                let mut out = bytes::BytesMut::new();
                let _ = answer.events(format!("data: {text}\n\n").as_bytes(), &mut out);
                answer.end(&mut out);
            }
        }
    }
}

/// An id may have more digits than a number in memory.
#[test]
fn numbers_in_arguments_and_schemas_are_sent_as_they_are_written() {
    use tidegate_core::Translator;
    for number in ["12345678901234567890123", "1.0", "1.10", "1e400", "-1E-400", "-0", "-0.0"] {
        let input = format!(r#"{{"a":[{number}]}}"#);
        let schema = format!(
            r#"{{"type":"object","properties":{{"a":{{"type":"number","default":{number},"enum":[{number}],"minimum":{number}}}}},"required":["a"],"additionalProperties":false}}"#
        );
        let result = r#"[{"type":"tool_result","tool_use_id":"t","content":"7"}]"#;
        let messages = format!(
            r#"{{"max_tokens":9,"messages":[{{"role":"user","content":"Ebb?"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"t","name":"f","input":{input}}}]}},{{"role":"user","content":{result}}}],"tools":[{{"name":"f","input_schema":{schema},"strict":true}}]}}"#
        );
        let text = serde_json::to_string(&input).unwrap();
        let call = format!(r#"{{"id":"t","type":"function","function":{{"name":"f","arguments":{text}}}}}"#);
        let chat = format!(
            r#"{{"messages":[{{"role":"user","content":"Ebb?"}},{{"role":"assistant","tool_calls":[{call}]}},{{"role":"tool","tool_call_id":"t","content":"7"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema},"strict":true}}}}],"response_format":{{"type":"json_schema","json_schema":{{"name":"a","schema":{schema}}}}}}}"#
        );
        let send = |translator: &dyn Translator, body: &str| {
            let mut head = http::Request::new(()).into_parts().0;
            let body = translator.request(&mut head, body.as_bytes()).unwrap().body;
            String::from_utf8(body.to_vec()).unwrap()
        };
        let sent = send(&MessagesToChat::new("openai/gpt-4o"), &messages);
        assert!(sent.contains(&text) && sent.matches(number).count() == 4, "{sent}");
        let sent = send(&ChatToMessages::new("anthropic/claude-sonnet-4-5"), &chat);
        assert!(sent.contains(&input) && sent.matches(number).count() == 7, "{sent}");
    }
}
