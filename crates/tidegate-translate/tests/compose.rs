//! Questions read, responses recorded, and responses composed.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::{AnswerSynthesizer, ChatQuestion, CompletionLimits, Scan};
use tidegate_providers::{Provider, stream::Scanner};
use tidegate_translate::Composer;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn question(path: &str, body: &Value) -> Option<ChatQuestion> {
    Composer.question(&Request::post(path).body(()).unwrap().into_parts().0, body.to_string().as_bytes())
}

fn request(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({"model": "m", "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "When is low tide?"},
    ]});
    change(&mut body);
    body
}

fn recorded(response: &Response<Bytes>, sizes: &[usize]) -> Option<String> {
    let (head, body) = response.clone().into_parts();
    let mut recorded = Composer.recorder(&head)?;
    let (mut rest, mut sizes) = (body, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).min(rest.len());
        recorded.push(&rest.split_to(size));
    }
    recorded.finish()
}

fn answer(content_type: &str, body: &Value) -> Response<Bytes> {
    let body = if content_type == "text/event-stream" {
        body.as_array().unwrap().iter().map(|event| format!("data: {event}\n\n")).collect()
    } else {
        body.to_string()
    };
    Response::builder().header("content-type", content_type).body(Bytes::from(body)).unwrap()
}

#[test]
fn a_question_is_identified_by_its_prompt_and_its_context() {
    let plain = question(CHAT, &request(|_| {})).unwrap();
    assert_eq!((&*plain.prompt, &*plain.model, plain.streams), ("When is low tide?", "m", false));
    type Change = fn(&mut Value);
    let same: [Change; 4] = [
        |body| body["temperature"] = 0.7.into(),
        |body| body["n"] = 1.into(),
        |body| body["n"] = Value::Null,
        |body| body["messages"][1]["content"] = json!([{"type": "text", "text": "When is low tide?"}]),
    ];
    for change in same {
        assert_eq!(question(CHAT, &request(change)).unwrap(), plain);
    }
    let others: [Change; 8] = [
        |body| body["user"] = "another user".into(),
        |body| body["messages"][1]["name"] = "another_user".into(),
        |body| body["model"] = "n".into(),
        |body| body["messages"][0]["content"] = "Be rude.".into(),
        |body| body["messages"].as_array_mut().unwrap().truncate(1),
        |body| body["tools"] = json!([{}]),
        |body| body["tool_choice"] = "auto".into(),
        |body| body["something_new"] = 1.into(),
    ];
    for change in others {
        let other = question(CHAT, &request(change));
        assert!(other.is_none_or(|other| other.context != plain.context));
    }
    assert_ne!(question(MESSAGES, &request(|_| {})).unwrap().context, plain.context);
    // Azure names the model only in the path.
    let deployed = |name| question(&format!("/openai/deployments/{name}/chat/completions"), &request(|_| {}));
    assert_ne!(deployed("small").unwrap().context, deployed("large").unwrap().context);
    let streamed = question(CHAT, &request(|body| body["stream"] = true.into())).unwrap();
    assert!(streamed.streams && streamed.context == plain.context);
    assert!(!format!("{plain:?}").contains("tide"));
}

#[test]
fn a_question_holds_the_token_limit() {
    for (limits, expected) in [
        (json!({}), None),
        (json!({"max_tokens": null}), None),
        (json!({"max_tokens": 7}), Some(7)),
        (json!({"max_completion_tokens": 9}), Some(9)),
        (json!({"max_completion_tokens": 9, "max_tokens": 7}), Some(7)),
        (json!({"max_tokens": "many"}), Some(0)),
        (json!({"max_tokens": -1}), Some(0)),
    ] {
        for path in [CHAT, MESSAGES] {
            let unlimited = question(path, &request(|_| {})).unwrap();
            let body =
                request(|body| body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone()));
            let question = question(path, &body).unwrap();
            assert_eq!(question.max_tokens, expected, "{limits}");
            assert_eq!(question.context, unlimited.context, "the same question");
        }
    }
}

#[test]
fn a_request_that_text_cannot_answer_is_not_a_question() {
    type Change = fn(&mut Value);
    let changes: [Change; 10] = [
        |body| body["response_format"] = json!({"type": "json_object"}),
        |body| body["tool_choice"] = "required".into(),
        |body| body["modalities"] = json!(["text", "audio"]),
        |body| body["logprobs"] = true.into(),
        |body| body["n"] = 2.into(),
        |body| body["messages"] = json!([]),
        |body| body["messages"][1]["role"] = "tool".into(),
        |body| body["messages"][1]["content"] = json!([{"type": "image_url", "image_url": {}}]),
        |body| body["messages"][1]["content"] = json!([{"type": "tool_result", "text": "x"}]),
        |body| *body = json!([1]),
    ];
    for change in changes {
        assert_eq!(question(CHAT, &request(change)), None);
    }
    assert_eq!(question("/v1/embeddings", &request(|_| {})), None);
    let head = Request::post(CHAT).body(()).unwrap().into_parts().0;
    assert_eq!(Composer.question(&head, b"\xff{"), None);
}

#[test]
fn only_a_complete_text_response_is_recorded() {
    let message =
        |message: Value, reason: &str| json!({"choices": [{"message": message, "finish_reason": reason}]});
    let content = json!({"content": "yes", "tool_calls": [], "refusal": null});
    let json = "application/json; charset=utf-8";
    assert_eq!(recorded(&answer(json, &message(content.clone(), "stop")), &[7]).as_deref(), Some("yes"));
    for body in [
        message(content.clone(), "length"),
        message(json!({"content": "yes", "tool_calls": [{}]}), "stop"),
        message(json!({"content": null, "refusal": "no"}), "stop"),
        message(json!({"content": ""}), "stop"),
        json!({"choices": [{}, {}]}),
        json!({"content": [{"type": "text", "text": "yes"}], "stop_reason": "max_tokens"}),
        json!({"content": [{"type": "tool_use"}], "stop_reason": "end_turn"}),
        json!({"error": {}}),
        json!({"error": {}, "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}),
    ] {
        assert_eq!(recorded(&answer(json, &body), &[7]), None, "{body}");
    }
    let thoughtful = json!({"content": [{"type": "thinking"}, {"type": "text", "text": "yes"}], "stop_reason": "end_turn"});
    assert_eq!(recorded(&answer(json, &thoughtful), &[7]).as_deref(), Some("yes"));
    let chunk = |delta: Value, reason: Value| json!({"choices": [{"delta": delta, "finish_reason": reason}]});
    let text = chunk(json!({"content": "yes"}), Value::Null);
    for (events, expected) in [
        (json!([text, chunk(json!({}), "stop".into())]), Some("yes")),
        (json!([text, chunk(json!({}), "length".into())]), None),
        (json!([text]), None),
        (json!([text, chunk(json!({"tool_calls": [{}]}), "tool_calls".into())]), None),
    ] {
        assert_eq!(recorded(&answer("text/event-stream", &events), &[5]).as_deref(), expected, "{events}");
    }
    // Regression: a stream that reported a failure after its end was recorded.
    let end = chunk(json!({}), "stop".into());
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9}});
    for (events, is_whole) in [
        (json!([text, end, usage]), true),
        (json!([text, end, {"error": {"message": "overloaded"}}]), false),
        (json!([text, {"error": {"message": "overloaded"}}, end]), false),
    ] {
        let whole = answer("text/event-stream", &events);
        for cut in 0..2 {
            let part = whole.clone().map(|body| body.slice(..body.len() - cut));
            assert_eq!(recorded(&part, &[5]).is_some(), is_whole, "{events}, {cut} line ends missing");
        }
    }
    let begun =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "yes"}});
    let stop = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}});
    let failure = json!({"type": "error", "error": {"type": "overloaded_error"}});
    let more = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    for (events, expected) in [
        (json!([begun, stop]), Some("yes")),
        (json!([begun, stop, failure]), None),
        (json!([begun, more(json!({"text": "!"})), stop]), Some("yes!")),
        (json!([begun, more(json!({"type": "audio_delta", "text": "!"})), stop]), None),
    ] {
        assert_eq!(recorded(&answer("text/event-stream", &events), &[5]).as_deref(), expected, "{events}");
    }
    let mut failed = answer(json, &message(content, "stop"));
    *failed.status_mut() = http::StatusCode::BAD_GATEWAY;
    assert_eq!(recorded(&failed, &[7]), None);
    let endless = answer(json, &json!("x".repeat(600 * 1024)));
    assert_eq!(recorded(&endless, &[4096]), None);
    let long = chunk(json!({"content": "x".repeat(300 * 1024)}), "stop".into());
    for size in [usize::MAX, 200 * 1024, 4096] {
        assert_eq!(recorded(&answer("text/event-stream", &json!([text, long])), &[size]), None, "{size}");
    }
}

/// Regression: no stream with Azure's reports on its content filter was recorded.
#[test]
fn a_stream_with_reports_of_a_content_filter_is_recorded() {
    let stream = include_bytes!("../../tidegate-providers/fixtures/streams/azure_plain.sse");
    let response = Response::builder().header("content-type", "text/event-stream");
    let response = response.body(Bytes::from_static(stream)).unwrap();
    assert_eq!(recorded(&response, &[100]).as_deref(), Some("The tide"));
}

#[test]
fn a_composed_stream_passes_the_scanner() {
    for path in [CHAT, MESSAGES] {
        let question = question(path, &request(|body| body["stream"] = true.into())).unwrap();
        let answer = Composer.synthesize(&question, "hello", NOW);
        let mut scanner = Scanner::sse(Provider::OpenAi);
        scanner.push(answer.body());
        scanner.finish();
        let state = scanner.state();
        assert!(state.has_started && state.has_finished && state.failure.is_none(), "{state:?}");
    }
}

/// The events of a composed stream, as their JSON.
fn events(question: &ChatQuestion) -> Vec<Value> {
    let answer = Composer.synthesize(question, "hello", NOW);
    let body = std::str::from_utf8(answer.body()).unwrap();
    body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

/// Regression: the usage chunk was missing although `include_usage` was set.
#[test]
fn a_composed_stream_reports_zero_usage() {
    let streamed = |path: &str, options: Value| {
        let body = request(|body| {
            body["stream"] = true.into();
            body["stream_options"] = options;
        });
        events(&question(path, &body).unwrap())
    };
    let mut chunks = streamed(CHAT, json!({"include_usage": true}));
    let last = chunks.pop().unwrap();
    let nothing = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &nothing));
    assert_eq!((&last["object"], &last["id"]), (&"chat.completion.chunk".into(), &chunks[0]["id"]));
    assert_eq!(chunks.len(), 3);
    assert!(
        chunks.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null) && chunk["choices"] != json!([]))
    );
    for options in [Value::Null, json!({}), json!({"include_usage": false}), json!([1])] {
        assert!(streamed(CHAT, options).iter().all(|chunk| chunk.get("usage").is_none()));
    }
    // Anthropic streams always report usage, at the start and at the end.
    let events = streamed(MESSAGES, Value::Null);
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    assert_eq!(of("message_start")["message"]["usage"], json!({"input_tokens": 0, "output_tokens": 0}));
    assert_eq!(of("message_delta")["usage"], json!({"output_tokens": 0}));
}

// Seed item 46.
/// The prompt is replaced, and the tokens and the temperature are limited.
#[test]
fn a_rewritten_request_keeps_within_the_limits() {
    let bounds = CompletionLimits { max_tokens: 50, temperature: 0.3 };
    let rewrite = |body: Value, prompt| -> Value {
        let body = Composer.rewrite_request(body.to_string().as_bytes(), prompt, bounds).unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    let body = rewrite(request(|body| body["temperature"] = 0.9.into()), Some("Who?"));
    assert_eq!(body["messages"][1], json!({"role": "user", "content": "Who?"}));
    assert_eq!((&body["messages"][0]["content"], &body["max_tokens"]), (&json!("Be kind."), &json!(50)));
    assert_eq!(body["temperature"], 0.3);
    let body = rewrite(request(|body| body["max_completion_tokens"] = 20.into()), None);
    assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(20), &Value::Null));
    assert_eq!(body["temperature"], Value::Null);
    assert_eq!(Composer.rewrite_request(b"[]", None, bounds), None);
}

/// Regression: the caller received a 400 for a request that it had not sent: 50 tokens with a thinking budget
/// of 2048.
#[test]
fn a_rewritten_request_is_valid_for_its_model() {
    let bounds = CompletionLimits { max_tokens: 50, temperature: 0.3 };
    let messages = json!([{"role": "user", "content": "Who?"}]);
    for (fields, expected) in [
        (
            json!({"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 2048}, "context_management": {"edits": []}}),
            json!({"max_tokens": 50}),
        ),
        (json!({"max_tokens": 4096, "thinking": {"type": "adaptive"}}), json!({"max_tokens": 50})),
        // Regression: without the field this model thinks, so that 50 tokens of thinking were the whole response.
        (
            json!({"model": "claude-opus-5", "max_tokens": 8000, "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
            json!({"model": "claude-opus-5", "max_tokens": 50, "thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}),
        ),
        (
            json!({"model": "claude-sonnet-5-5", "max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": 2048}}),
            json!({"model": "claude-sonnet-5-5", "max_tokens": 9, "thinking": {"type": "between_tools"}}),
        ),
        (
            json!({"model": "claude-opus-4-6", "max_tokens": 9, "thinking": {"type": "adaptive"}, "output_config": {"format": {}}}),
            json!({"model": "claude-opus-4-6", "max_tokens": 9, "output_config": {"format": {}}}),
        ),
        (
            json!({"max_tokens": 9, "thinking": {"type": "disabled"}, "context_management": {"edits": []}}),
            json!({"max_tokens": 9, "thinking": {"type": "disabled"}, "context_management": {"edits": []}}),
        ),
        (
            json!({"reasoning_effort": "high", "max_completion_tokens": 4096}),
            json!({"reasoning_effort": "low", "max_completion_tokens": 50}),
        ),
        (
            json!({"reasoning_effort": "minimal"}),
            json!({"reasoning_effort": "minimal", "max_completion_tokens": 50}),
        ),
        (json!({"model": "gpt-5"}), json!({"model": "gpt-5", "max_completion_tokens": 50})),
        (json!({"model": "gpt-4o"}), json!({"model": "gpt-4o", "max_tokens": 50})),
        (
            json!({"max_completion_tokens": 99, "max_tokens": 7}),
            json!({"max_completion_tokens": 50, "max_tokens": 7}),
        ),
        (json!({"max_tokens": null}), json!({"max_tokens": 50})),
        (
            json!({"model": "o3", "temperature": 1}),
            json!({"model": "o3", "temperature": 1, "max_completion_tokens": 50}),
        ),
        (
            json!({"model": "claude-opus-4-7", "temperature": 1, "max_tokens": 99}),
            json!({"model": "claude-opus-4-7", "temperature": 1, "max_tokens": 50}),
        ),
        (
            json!({"model": "claude-opus-4-6", "temperature": 1, "max_tokens": 99}),
            json!({"model": "claude-opus-4-6", "temperature": 0.3, "max_tokens": 50}),
        ),
    ] {
        let with_messages = |fields: &Value| {
            let mut body = fields.clone();
            body["messages"] = messages.clone();
            body
        };
        let request = with_messages(&fields).to_string();
        let body = Composer.rewrite_request(request.as_bytes(), Some("Who?"), bounds).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), with_messages(&expected), "{fields}");
    }
    assert_eq!(
        Composer.rewrite_request(br#"{"input":"Who?"}"#, None, bounds),
        None,
        "an unsupported dialect"
    );
}

proptest! {
    #[test]
    fn a_composed_response_is_recorded_unchanged(
        text in "\\PC{1,60}|[\\n\"\\\\{}\\u{0}]{1,9}",
        sizes in prop::collection::vec(1usize..50, 1..5),
        streams: bool,
        is_chat: bool,
    ) {
        let path = if is_chat { CHAT } else { MESSAGES };
        let question = question(path, &request(|body| body["stream"] = streams.into())).unwrap();
        let answer = Composer.synthesize(&question, &text, NOW);
        prop_assert_eq!(recorded(&answer, &sizes), Some(text));
    }
}

/// A caller may write millions of small values into one message. Regression: each was built in memory.
#[test]
fn a_request_is_read_without_building_what_its_messages_contain() {
    const LENGTH: usize = 1 << 19;
    let many = |value: &str| format!("[{}]", vec![value; LENGTH / (value.len() + 1)].join(","));
    let lists = [many("{}"), many("[]"), many("0"), many(r#"{"type":"text","text":""}"#)];
    let fields = lists.iter().flat_map(|list| {
        [
            format!(r#""content":{list}"#),
            format!(r#""content":"Who?","x":{list}"#),
            format!(r#""content":[{{"type":"text","text":"Who?","x":{list}}}]"#),
            format!(r#""x":{list},"content":[{{"type":"image","x":{list}}}]"#),
        ]
    });
    let head = Request::post(CHAT).body(()).unwrap().into_parts().0;
    let bounds = CompletionLimits { max_tokens: 50, temperature: 0.3 };
    for field in fields {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user",{field}}}]}}"#);
        // Some copies of the message, but nothing for its values.
        let limit = 8 * body.len() as u64;
        let read = allocation_counter::measure(|| drop(Composer.question(&head, body.as_bytes())));
        assert!(read.bytes_max < limit, "{} bytes to read {body:.90}", read.bytes_max);
        let rewritten = allocation_counter::measure(|| {
            drop(Composer.rewrite_request(body.as_bytes(), Some("Who?"), bounds).expect("a request"));
        });
        assert!(rewritten.bytes_max < limit, "{} bytes to rewrite {body:.90}", rewritten.bytes_max);
    }
}

#[test]
fn only_texts_are_a_prompt() {
    let text = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}});
    for (content, expected) in [
        (json!("a"), Some("a")),
        (json!([text, text]), Some("a\na")),
        (json!([]), Some("")),
        (json!([text, {"type": "image"}]), None),
        (json!([text, "a"]), None),
        (json!([["text", "a"]]), None),
        (json!([{"type": "text"}]), None),
        (json!([{"text": "a"}]), None),
        (json!({"type": "text", "text": "a"}), None),
        (json!(null), None),
        (json!(7), None),
    ] {
        let question = question(CHAT, &request(|body| body["messages"][1]["content"] = content.clone()));
        assert_eq!(question.map(|question| question.prompt).as_deref(), expected, "{content}");
    }
}
