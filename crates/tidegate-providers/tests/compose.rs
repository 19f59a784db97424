//! Questions understood, answers written down, and answers composed.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::{AnswerSynthesizer, ChatQuestion, CompletionLimits, Scan};
use tidegate_providers::compose::Composer;
use tidegate_providers::{Provider, stream::Scanner};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn question(path: &str, body: &Value) -> Option<ChatQuestion> {
    Composer.question(&Request::post(path).body(()).unwrap().into_parts().0, body.to_string().as_bytes())
}

fn asked(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({"model": "m", "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Who are you?"},
    ]});
    change(&mut body);
    body
}

fn transcript(response: &Response<Bytes>, sizes: &[usize]) -> Option<String> {
    let (head, body) = response.clone().into_parts();
    let mut transcript = Composer.transcribe(&head)?;
    let (mut rest, mut sizes) = (body, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).min(rest.len());
        transcript.push(&rest.split_to(size));
    }
    transcript.finish()
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
fn a_question_is_its_last_message_and_all_that_matters_besides() {
    let plain = question(CHAT, &asked(|_| {})).unwrap();
    assert_eq!((&*plain.prompt, &*plain.model, plain.streams), ("Who are you?", "m", false));
    type Change = fn(&mut Value);
    let same: [Change; 4] = [
        |body| body["temperature"] = 0.7.into(),
        |body| body["n"] = 1.into(),
        |body| body["n"] = Value::Null,
        |body| body["messages"][1]["content"] = json!([{"type": "text", "text": "Who are you?"}]),
    ];
    for change in same {
        assert_eq!(question(CHAT, &asked(change)).unwrap(), plain);
    }
    let others: [Change; 8] = [
        |body| body["user"] = "somebody else".into(),
        |body| body["messages"][1]["name"] = "somebody_else".into(),
        |body| body["model"] = "n".into(),
        |body| body["messages"][0]["content"] = "Be rude.".into(),
        |body| body["messages"].as_array_mut().unwrap().truncate(1),
        |body| body["tools"] = json!([{}]),
        |body| body["tool_choice"] = "auto".into(),
        |body| body["something_new"] = 1.into(),
    ];
    for change in others {
        let other = question(CHAT, &asked(change));
        assert!(other.is_none_or(|other| other.context != plain.context));
    }
    assert_ne!(question(MESSAGES, &asked(|_| {})).unwrap().context, plain.context);
    // Azure names the model in the path, and nowhere else.
    let deployed = |name| question(&format!("/openai/deployments/{name}/chat/completions"), &asked(|_| {}));
    assert_ne!(deployed("small").unwrap().context, deployed("large").unwrap().context);
    let streamed = question(CHAT, &asked(|body| body["stream"] = true.into())).unwrap();
    assert!(streamed.streams && streamed.context == plain.context);
    assert!(!format!("{plain:?}").contains("Who"));
}

#[test]
fn a_question_tells_how_long_the_answer_may_be() {
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
            let unlimited = question(path, &asked(|_| {})).unwrap();
            let body =
                asked(|body| body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone()));
            let question = question(path, &body).unwrap();
            assert_eq!(question.max_tokens, expected, "{limits}");
            assert_eq!(question.context, unlimited.context, "the same question");
        }
    }
}

#[test]
fn what_no_text_could_answer_is_no_question() {
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
        assert_eq!(question(CHAT, &asked(change)), None);
    }
    assert_eq!(question("/v1/embeddings", &asked(|_| {})), None);
    let head = Request::post(CHAT).body(()).unwrap().into_parts().0;
    assert_eq!(Composer.question(&head, b"\xff{"), None);
}

#[test]
fn only_a_whole_answer_of_text_is_written_down() {
    let message =
        |message: Value, reason: &str| json!({"choices": [{"message": message, "finish_reason": reason}]});
    let content = json!({"content": "yes", "tool_calls": [], "refusal": null});
    let json = "application/json; charset=utf-8";
    assert_eq!(transcript(&answer(json, &message(content.clone(), "stop")), &[7]).as_deref(), Some("yes"));
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
        assert_eq!(transcript(&answer(json, &body), &[7]), None, "{body}");
    }
    let thoughtful = json!({"content": [{"type": "thinking"}, {"type": "text", "text": "yes"}], "stop_reason": "end_turn"});
    assert_eq!(transcript(&answer(json, &thoughtful), &[7]).as_deref(), Some("yes"));
    let chunk = |delta: Value, reason: Value| json!({"choices": [{"delta": delta, "finish_reason": reason}]});
    let text = chunk(json!({"content": "yes"}), Value::Null);
    for (events, expected) in [
        (json!([text, chunk(json!({}), "stop".into())]), Some("yes")),
        (json!([text, chunk(json!({}), "length".into())]), None),
        (json!([text]), None),
        (json!([text, chunk(json!({"tool_calls": [{}]}), "tool_calls".into())]), None),
    ] {
        assert_eq!(transcript(&answer("text/event-stream", &events), &[5]).as_deref(), expected, "{events}");
    }
    // One that told of a failure after its end was remembered.
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
            assert_eq!(transcript(&part, &[5]).is_some(), is_whole, "{events}, {cut} line ends missing");
        }
    }
    let begun =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "yes"}});
    let stop = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}});
    let failure = json!({"type": "error", "error": {"type": "overloaded_error"}});
    for (events, expected) in [(json!([begun, stop]), Some("yes")), (json!([begun, stop, failure]), None)] {
        assert_eq!(transcript(&answer("text/event-stream", &events), &[5]).as_deref(), expected, "{events}");
    }
    let mut failed = answer(json, &message(content, "stop"));
    *failed.status_mut() = http::StatusCode::BAD_GATEWAY;
    assert_eq!(transcript(&failed, &[7]), None);
    let endless = answer(json, &json!("x".repeat(600 * 1024)));
    assert_eq!(transcript(&endless, &[4096]), None);
}

#[test]
fn a_composed_stream_is_a_good_one_to_the_scanner() {
    for path in [CHAT, MESSAGES] {
        let question = question(path, &asked(|body| body["stream"] = true.into())).unwrap();
        let answer = Composer.answer(&question, "hello", NOW);
        let mut scanner = Scanner::sse(Provider::OpenAi);
        scanner.push(answer.body());
        scanner.finish();
        let state = scanner.state();
        assert!(state.has_started && state.has_finished && state.failure.is_none(), "{state:?}");
    }
}

/// The events of a composed stream, as their JSON.
fn events(question: &ChatQuestion) -> Vec<Value> {
    let answer = Composer.answer(question, "hello", NOW);
    let body = std::str::from_utf8(answer.body()).unwrap();
    body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

/// `include_usage` was asked for, and the chunk with the usage never came.
#[test]
fn a_composed_stream_tells_that_nothing_was_used() {
    let streamed = |path: &str, options: Value| {
        let body = asked(|body| {
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
    // Anthropic's always tell it, at the beginning and at the end.
    let events = streamed(MESSAGES, Value::Null);
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    assert_eq!(of("message_start")["message"]["usage"], json!({"input_tokens": 0, "output_tokens": 0}));
    assert_eq!(of("message_delta")["usage"], json!({"output_tokens": 0}));
}

/// Seed item 46: another prompt, at most so many tokens, no more than this temperature.
#[test]
fn a_request_is_rephrased_within_its_bounds() {
    let bounds = CompletionLimits { max_tokens: 50, temperature: 0.3 };
    let rephrase = |body: Value, prompt| -> Value {
        let body = Composer.rephrase(body.to_string().as_bytes(), prompt, bounds).unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    let body = rephrase(asked(|body| body["temperature"] = 0.9.into()), Some("Who?"));
    assert_eq!(body["messages"][1], json!({"role": "user", "content": "Who?"}));
    assert_eq!((&body["messages"][0]["content"], &body["max_tokens"]), (&json!("Be kind."), &json!(50)));
    assert_eq!(body["temperature"], 0.3);
    let body = rephrase(asked(|body| body["max_completion_tokens"] = 20.into()), None);
    assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(20), &Value::Null));
    assert_eq!(body["temperature"], Value::Null);
    assert_eq!(Composer.rephrase(b"[]", None, bounds), None);
}

/// Seen as a 400 that the caller was told of a request it had not written: 50 tokens, and a budget of 2048 for thoughts.
#[test]
fn a_request_is_rephrased_so_that_it_is_taken_within_its_bounds() {
    let bounds = CompletionLimits { max_tokens: 50, temperature: 0.3 };
    let messages = json!([{"role": "user", "content": "Who?"}]);
    for (fields, expected) in [
        (
            json!({"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 2048}, "context_management": {"edits": []}}),
            json!({"max_tokens": 50}),
        ),
        (json!({"max_tokens": 4096, "thinking": {"type": "adaptive"}}), json!({"max_tokens": 50})),
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
        let asked = with_messages(&fields).to_string();
        let body = Composer.rephrase(asked.as_bytes(), Some("Who?"), bounds).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), with_messages(&expected), "{fields}");
    }
    assert_eq!(Composer.rephrase(br#"{"input":"Who?"}"#, None, bounds), None, "it is no dialect of ours");
}

proptest! {
    #[test]
    fn what_is_composed_is_written_down_as_it_was(
        text in "\\PC{1,60}|[\\n\"\\\\{}\\u{0}]{1,9}",
        sizes in prop::collection::vec(1usize..50, 1..5),
        streams: bool,
        is_chat: bool,
    ) {
        let path = if is_chat { CHAT } else { MESSAGES };
        let question = question(path, &asked(|body| body["stream"] = streams.into())).unwrap();
        let answer = Composer.answer(&question, &text, NOW);
        prop_assert_eq!(transcript(&answer, &sizes), Some(text));
    }
}
