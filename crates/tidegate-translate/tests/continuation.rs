//! Two streams joined into one, as plain bytes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::{NotContinuable, StreamContinuator, StreamSplicer};
use tidegate_translate::StreamContinuation;

const REQUEST: &str =
    r#"{"temperature":0.10,"model":"m","max_tokens":100,"messages":[{"role":"user","content":"A tale."}]}"#;

fn splicer() -> Box<dyn StreamSplicer> {
    let head = http::Response::builder().header("content-type", "text/event-stream; charset=utf-8");
    StreamContinuation.splicer(&head.body(()).unwrap().into_parts().0).unwrap()
}

fn pass(splicer: &mut dyn StreamSplicer, text: &str) -> String {
    String::from_utf8(splicer.push(&Bytes::copy_from_slice(text.as_bytes())).unwrap().to_vec()).unwrap()
}

fn chat(id: &str, delta: Value) -> String {
    let chunk = json!({"id": id, "model": id, "created": 7, "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

fn chat_end(id: &str) -> String {
    let last =
        json!({"id": id, "model": id, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage =
        json!({"id": id, "model": id, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
    format!("data: {last}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

fn event(data: Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

fn start(id: &str) -> String {
    event(json!({"type": "message_start", "message": {"id": id, "content": []}}))
}

fn block(index: u64, kind: &str) -> String {
    event(json!({"type": "content_block_start", "index": index, "content_block": {"type": kind}}))
}

fn text(index: u64, text: &str) -> String {
    event(
        json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}),
    )
}

fn stop(index: u64) -> String {
    event(json!({"type": "content_block_stop", "index": index}))
}

fn message_end() -> String {
    event(
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
    ) + &event(json!({"type": "message_stop"}))
}

/// The data of all events with JSON data.
fn json_events(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

fn request(splicer: &dyn StreamSplicer, target: &str) -> Option<Value> {
    Some(serde_json::from_slice(&splicer.continuation_request(target, REQUEST.as_bytes())?).unwrap())
}

#[test]
fn a_continued_chat_keeps_its_first_id_and_is_marked_once() {
    let mut splicer = splicer();
    let begun = chat("a", json!({"role": "assistant", "content": ""}))
        + &chat("a", json!({"reasoning_content": "hm"}))
        + &chat("a", json!({"content": "Once "}));
    assert_eq!(pass(&mut *splicer, &begun), begun);
    assert_eq!(pass(&mut *splicer, "data: {\"id\":\"a\",\"cho"), "");
    let mut out = String::from_utf8(splicer.switch_to("openai/gpt-4o").to_vec()).unwrap();
    assert_eq!(out, ": continued by openai/gpt-4o\n\n");
    let more = [
        chat("b", json!({"role": "assistant", "content": ""})),
        chat("b", json!({"reasoning_content": "let me see"})),
        chat("b", json!({"content": "upon"})),
        ": ping\n\n".to_owned(),
        chat("b", json!({"content": " a time"})),
        chat_end("b"),
    ];
    more.iter().for_each(|more| out += &pass(&mut *splicer, more));
    let chunks = json_events(&out);
    let content: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(content, "upon a time", "{out}");
    assert!(chunks.iter().all(|chunk| chunk["id"] == "a" && chunk["model"] == "a"), "{out}");
    assert!(!out.contains("role") && !out.contains("see"), "{out}");
    let marked: Vec<_> = chunks.iter().filter(|chunk| !chunk["x_tidegate"].is_null()).collect();
    assert_eq!((marked.len(), &marked[0]["x_tidegate"]["continued_by"]), (1, &json!("openai/gpt-4o")));
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 2);
    assert!(out.contains(": ping\n\n") && out.ends_with("data: [DONE]\n\n"), "{out}");
    assert!(splicer.finish().is_empty());
}

#[test]
fn an_error_outside_of_the_events_is_withheld() {
    let (begun, error) = (chat("a", json!({"content": "Once "})), "{\n  \"error\": {\"code\": 429}\n}\n\n");
    let mut splicer = splicer();
    assert_eq!(pass(&mut *splicer, &format!("{begun}{error}")), begun);
    assert_eq!(splicer.abandon(), error);
}

/// Regression: Azure's reports on its content filter between the chunks made a stream one that cannot be
/// continued.
#[test]
fn a_choice_without_content_does_not_prevent_a_continuation() {
    let stream = include_str!("../../tidegate-providers/fixtures/streams/azure_plain.sse");
    let end = stream[..stream.find(" tide").unwrap()].rfind("data:").unwrap();
    let mut splicer = splicer();
    assert!(stream[..end].contains("content_filter_offsets"));
    assert_eq!(pass(&mut *splicer, &stream[..end]), stream[..end]);
    let request = request(&*splicer, "openai/gpt-4o").expect("a continuation");
    assert!(request.to_string().contains(r#"{"content":"The","role":"assistant"}"#), "{request}");
    // Content in another place than the delta is not continued.
    let whole = json!({"role": "assistant", "content": "The"});
    for choice in [json!({"text": "The"}), json!({"message": whole}), json!({"delta": "The"})] {
        let mut splicer = self::splicer();
        pass(&mut *splicer, &chat("a", json!({"content": "The"})));
        pass(&mut *splicer, &format!("data: {}\n\n", json!({"choices": [choice]})));
        assert!(splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes()).is_none(), "{choice}");
    }
}

#[test]
fn messages_continue_in_the_open_block_and_later_blocks_are_renumbered() {
    let mut splicer = splicer();
    let begun = start("a") + &block(0, "thinking") + &stop(0) + &block(1, "text") + &text(1, "Once ");
    assert_eq!(pass(&mut *splicer, &begun), begun);
    let mut out = String::from_utf8(splicer.switch_to("anthropic/claude-3-opus").to_vec()).unwrap();
    let tool = json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}});
    let more = start("b")
        + &block(0, "thinking")
        + &event(
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "x"}}),
        )
        + &stop(0)
        + &block(1, "text")
        + &text(1, " upon a time")
        + &stop(1)
        + &block(2, "tool_use")
        + &event(tool)
        + &stop(2)
        + &message_end();
    out += &pass(&mut *splicer, &more);
    let events = json_events(&out);
    let seen: Vec<_> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), event["index"].as_u64())).collect();
    let expected = [
        ("content_block_delta", Some(1)),
        ("content_block_stop", Some(1)),
        ("content_block_start", Some(2)),
        ("content_block_delta", Some(2)),
        ("content_block_stop", Some(2)),
        ("message_delta", None),
        ("message_stop", None),
    ];
    assert_eq!(seen, expected, "{out}");
    assert_eq!(events[0]["delta"]["text"], "upon a time");
    assert_eq!(events[0]["x_tidegate"]["continued_by"], "anthropic/claude-3-opus");
    assert!(splicer.continuation_request("anthropic/x", REQUEST.as_bytes()).is_none(), "a tool was called");
}

/// Regression: the thinking was stopped without the signature that comes at its end. The caller sent it back,
/// and Anthropic rejected every later request.
#[test]
fn an_open_thinking_block_is_not_continued() {
    for kind in ["thinking", "redacted_thinking"] {
        let mut splicer = splicer();
        pass(&mut *splicer, &(start("a") + &block(0, kind)));
        assert_eq!(request(&*splicer, "anthropic/claude-opus-4-6"), None);
        pass(&mut *splicer, &stop(0));
        assert!(request(&*splicer, "anthropic/claude-opus-4-6").is_some(), "a whole block stays valid");
        pass(&mut *splicer, &(block(1, "text") + &text(1, "Once")));
        assert!(request(&*splicer, "anthropic/claude-opus-4-6").is_some());
    }
}

/// Regression: text in deltas without a type, and in events with a name alone, was delivered but not recorded,
/// so that the continuing model wrote it once more.
#[test]
fn text_is_recorded_in_all_forms_or_the_stream_is_not_continued() {
    let data = |mut delta: Value, kind: Option<&str>, name: &str| {
        let mut event = json!({"index": 0});
        event["delta"] = delta.take();
        if let Some(kind) = kind {
            event["type"] = kind.into();
        }
        format!("event: {name}\ndata: {event}\n\n")
    };
    const DELTA: &str = "content_block_delta";
    let typed = |text: &str| json!({"type": "text_delta", "text": text});
    let bare = |text: &str| json!({"text": text});
    type Form<'a> = &'a dyn Fn(&str) -> String;
    let forms: [Form; 4] = [
        &|text| data(typed(text), Some(DELTA), DELTA),
        &|text| data(bare(text), Some(DELTA), DELTA),
        &|text| data(typed(text), None, DELTA),
        &|text| data(bare(text), None, DELTA),
    ];
    for begun in forms {
        for more in forms {
            let mut splicer = splicer();
            pass(
                &mut *splicer,
                &(start("a") + &block(0, "thinking") + &stop(0) + &block(1, "text") + &begun("Once ")),
            );
            let body = request(&*splicer, "anthropic/claude-sonnet-4-5").unwrap();
            assert_eq!(body["messages"][1]["content"], "Once");
            splicer.switch_to("b/c");
            let out = pass(&mut *splicer, &(start("b") + &block(0, "text") + &more("upon") + &message_end()));
            let deltas: Vec<_> =
                json_events(&out).into_iter().filter(|event| event["type"] == DELTA).collect();
            let texts: Vec<_> =
                deltas.iter().map(|event| (&event["index"], &event["delta"]["text"])).collect();
            assert_eq!(texts, [(&json!(1), &json!("upon"))], "{out}");
        }
    }
    for unknown in [
        data(json!({"type": "input_json_delta", "partial_json": "{"}), Some(DELTA), DELTA),
        data(json!({"partial_json": "{"}), Some(DELTA), DELTA),
        data(json!({"type": "audio_delta", "text": "x"}), Some(DELTA), DELTA),
        data(json!({"content": "x"}), Some(DELTA), DELTA),
        data(bare("x"), Some("content_block_more"), "content_block_more"),
    ] {
        let mut splicer = splicer();
        pass(&mut *splicer, &(start("a") + &block(0, "text") + &text(0, "Once ") + &unknown));
        assert_eq!(request(&*splicer, "anthropic/claude-sonnet-4-5"), None, "{unknown}");
    }
    for remark in [
        json!({"type": "signature_delta", "signature": "s"}),
        json!({"signature": "s"}),
        json!({"type": "thinking_delta", "thinking": "hm"}),
        json!({"thinking": "hm"}),
        json!({"type": "citations_delta", "citation": {}}),
        json!({"citation": {}}),
        json!({}),
    ] {
        let mut splicer = splicer();
        let remark = data(remark, Some(DELTA), DELTA);
        pass(&mut *splicer, &(start("a") + &block(0, "text") + &text(0, "Once ") + &remark));
        assert!(request(&*splicer, "anthropic/claude-sonnet-4-5").is_some(), "{remark}");
    }
}

// Pitfall P31 (docs/pitfalls.md).
/// A continuation joined tool calls (litellm 31067).
#[test]
fn a_tool_call_is_never_continued() {
    let calls = [
        chat(
            "a",
            json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
        ),
        chat("a", json!({"function_call": {"name": "f"}})),
        chat("a", json!({"refusal": "no"})),
        chat("a", json!({"content": [{"type": "image", "text": "x"}]})),
        chat_end("a"),
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n".to_owned(),
        "data: {\"choices\":[{\n\n".to_owned(),
        start("a") + &block(0, "tool_use"),
        start("a") + &block(0, "server_tool_use"),
        message_end(),
        "data: {\"type\":\"response.created\"}\n\n".to_owned(),
        "data: hello\n\n".to_owned(),
        String::new(),
    ];
    for call in calls {
        let begun = if call.starts_with("event") {
            start("a") + &block(0, "text") + &text(0, "x")
        } else {
            chat("a", json!({"content": "x"}))
        };
        let mut splicer = splicer();
        let is_whole = call.contains("response.created") || call.contains("hello") || call.is_empty();
        let stream = if is_whole { call } else { begun + &call };
        assert_eq!(pass(&mut *splicer, &stream), stream);
        assert_eq!(splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes()), None, "{stream}");
    }
}

#[test]
fn the_delivered_text_is_sent_in_the_form_that_the_target_accepts() {
    let mut of_chat = splicer();
    let begun = chat("a", json!({"content": "Once "})) + &chat("a", json!({"content": "upon "}));
    pass(&mut *of_chat, &begun);
    let message = json!({"role": "assistant", "content": "Once upon "});
    let body = request(&*of_chat, "openai/gpt-4o").unwrap();
    assert_eq!(body["messages"][1], message);
    assert_eq!((&body["messages"][2]["role"], &body["max_tokens"]), (&json!("user"), &json!(98)));
    // It would repeat a message with `prefix: true`.
    assert_eq!(request(&*of_chat, "mistral/mistral-large").unwrap(), body);

    let mut of_messages = splicer();
    pass(&mut *of_messages, &(start("a") + &block(0, "text") + &text(0, "Once upon ")));
    for (model, length) in
        [("claude-3-5-sonnet", 2), ("claude-sonnet-4-5", 2), ("claude-opus-4-6", 3), ("glm", 3)]
    {
        let body = request(&*of_messages, &format!("anthropic/{model}")).unwrap();
        assert_eq!(body["messages"].as_array().unwrap().len(), length, "{model}");
        assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "Once upon"}), "{model}");
    }
    let thinking = br#"{"max_tokens":9,"thinking":{"type":"enabled","budget_tokens":8},"messages":[{"role":"user","content":"x"}]}"#;
    let body = of_messages.continuation_request("anthropic/claude-sonnet-4-5", thinking).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((body["messages"].as_array().unwrap().len(), &body["max_tokens"]), (3, &json!(9)));
}

#[test]
fn fields_that_need_no_change_stay_as_written() {
    let mut splicer = splicer();
    pass(&mut *splicer, &chat("a", json!({"content": "x"})));
    let body = splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes()).unwrap();
    assert!(body.ends_with(br#""model":"m","temperature":0.10}"#), "{body:?}");
    let begun = br#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"I say: "}]}"#;
    let body: Value =
        serde_json::from_slice(&splicer.continuation_request("mistral/m", begun).unwrap()).unwrap();
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "I say: x"}));
    for request in [
        &b"not json"[..],
        b"{}",
        br#"{"messages":[]}"#,
        br#"{"max_tokens":1,"messages":[{"role":"user","content":"q"}]}"#,
    ] {
        assert_eq!(splicer.continuation_request("openai/gpt-4o", request), None);
    }
}

#[test]
fn a_failure_event_is_withheld_until_the_continuation_is_abandoned() {
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let begun = chat("a", json!({"content": "x"}));
    let mut given_up = splicer();
    assert_eq!(pass(&mut *given_up, &(begun.clone() + error)), begun);
    assert_eq!(given_up.abandon(), error);
    let mut continued = splicer();
    pass(&mut *continued, &(begun + error));
    continued.switch_to("b/c");
    assert!(continued.abandon().is_empty());
    // The continuing target fails as well, and a third one may continue.
    assert_eq!(pass(&mut *continued, error), "");
    assert!(continued.continuation_request("d/e", REQUEST.as_bytes()).is_some());
}

#[test]
fn only_uncompressed_event_streams_are_continued() {
    for (name, value) in [("content-type", "application/json"), ("content-encoding", "gzip")] {
        let head = http::Response::builder().header("content-type", "text/event-stream").header(name, value);
        let mut head = head.body(()).unwrap().into_parts().0;
        head.headers.insert(name, value.parse().unwrap());
        assert!(StreamContinuation.splicer(&head).is_none(), "{name}");
    }
}

#[test]
fn an_unterminated_event_passes_at_the_size_limit() {
    let mut splicer = splicer();
    pass(&mut *splicer, &chat("a", json!({"content": "x"})));
    let endless = format!("data: {}", "x".repeat(300 * 1024));
    assert_eq!(pass(&mut *splicer, &endless), endless);
    assert_eq!(splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes()), None);
}

/// The middle of its text is not known.
#[test]
fn a_stream_with_an_event_above_the_size_limit_is_not_continued_however_the_event_arrives() {
    let long = "x".repeat(300 * 1024);
    for begun in [
        chat("a", json!({"content": long})) + &chat("a", json!({"content": "y"})),
        start("a") + &block(0, "text") + &text(0, &long) + &text(0, "y"),
    ] {
        for size in [begun.len(), 200 * 1024, 4096] {
            let mut splicer = splicer();
            let passed: String = begun
                .as_bytes()
                .chunks(size)
                .map(|part| pass(&mut *splicer, str::from_utf8(part).unwrap()))
                .collect();
            assert_eq!(passed.len(), begun.len());
            assert_eq!(request(&*splicer, "openai/gpt-4o"), None, "{size}");
        }
    }
}

/// Regression: a break after "def f():\n" lost the indentation of the next line.
#[test]
fn white_space_is_neither_lost_nor_repeated() {
    let of_chat = |delivered: &str, pieces: &[&str]| {
        let mut splicer = splicer();
        pass(&mut *splicer, &chat("a", json!({"content": delivered})));
        splicer.switch_to("b/c");
        let piece = |piece: &&str| pass(&mut *splicer, &chat("b", json!({"content": piece})));
        let rewritten = pieces.iter().map(piece).collect::<String>();
        text_of(&rewritten, |event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
    };
    assert_eq!(of_chat("def f():\n", &["    return 1"]), "    return 1");
    assert_eq!(of_chat("- a\n", &["\n", "Next"]), "\nNext");
    let of_messages = |delivered: &str, pieces: &[&str]| {
        let mut splicer = splicer();
        pass(&mut *splicer, &(start("a") + &block(0, "text") + &text(0, delivered)));
        splicer.switch_to("b/c");
        pass(&mut *splicer, &(start("b") + &block(0, "text")));
        let rewritten = pieces.iter().map(|piece| pass(&mut *splicer, &text(0, piece))).collect::<String>();
        text_of(&rewritten, |event| event["delta"]["text"].as_str().map(str::to_owned))
    };
    assert_eq!(of_messages("def f():\n", &["\n", "    return 1"]), "    return 1");
    assert_eq!(of_messages("def f():\n", &["    return 1"]), "    return 1");
    assert_eq!(of_messages("Once ", &[" upon"]), "upon");
    assert_eq!(of_messages("Once\n\n", &["\n    code"]), "    code");
}

fn text_of(stream: &str, text: impl Fn(&Value) -> Option<String>) -> String {
    json_events(stream).iter().filter_map(text).collect()
}

/// Azure's first chunk reports on the prompt and has no id.
#[test]
fn the_id_is_that_of_the_first_chunk_that_has_one() {
    let mut splicer = splicer();
    let filter =
        "data: {\"id\":\"\",\"model\":\"\",\"created\":0,\"choices\":[],\"prompt_filter_results\":[]}\n\n";
    pass(&mut *splicer, &(filter.to_owned() + &chat("a", json!({"content": "x"}))));
    splicer.switch_to("b/c");
    let chunk = &json_events(&pass(&mut *splicer, &chat("b", json!({"content": "y"}))))[0];
    assert_eq!((&chunk["id"], &chunk["model"], &chunk["created"]), (&json!("a"), &json!("a"), &json!(7)));
}

#[test]
fn a_continuation_in_another_form_is_rejected() {
    let of_chat = chat("a", json!({"content": "x"}));
    let of_messages = start("a") + &block(0, "text") + &text(0, "x");
    let endless = format!("data: {}", "x".repeat(300 * 1024));
    for (begun, unrelated) in [
        (&of_chat, start("b")),
        (&of_chat, "data: {\"type\":\"response.created\"}\n\n".to_owned()),
        (&of_chat, "data: hello\n\n".to_owned()),
        (&of_chat, endless.clone()),
        (&of_messages, chat("b", json!({"content": "x"}))),
        (&of_messages, endless),
        (&of_chat, chat("b", json!({"content": "x".repeat(300 * 1024)}))),
        (&of_messages, text(0, &"x".repeat(300 * 1024))),
    ] {
        let mut splicer = splicer();
        pass(&mut *splicer, begun);
        splicer.switch_to("b/c");
        assert_eq!(splicer.push(&Bytes::from(unrelated.clone())), Err(NotContinuable), "{unrelated:.60}");
        assert!(splicer.abandon().is_empty());
        assert!(
            splicer.continuation_request("d/e", REQUEST.as_bytes()).is_some(),
            "another target may continue"
        );
    }
}

#[test]
fn a_response_format_or_several_choices_prevent_a_continuation() {
    for (field, value, is_continued) in [
        ("n", json!(2), false),
        ("n", json!(1), true),
        ("response_format", json!({"type": "json_object"}), false),
        ("response_format", json!({"type": "text"}), true),
        ("output_config", json!({"format": {"type": "json_schema"}}), false),
        ("output_config", json!({"effort": "low"}), true),
        ("output_format", json!({}), false),
        ("stream_options", json!({"include_usage": true}), true),
    ] {
        let mut splicer = splicer();
        pass(&mut *splicer, &chat("a", json!({"content": "x"})));
        let mut request: Value = serde_json::from_str(REQUEST).unwrap();
        request[field] = value.clone();
        let body = splicer.continuation_request("openai/gpt-4o", request.to_string().as_bytes());
        assert_eq!(body.is_some(), is_continued, "{field}: {value}");
    }
}

#[test]
fn text_parts_are_text_and_thinking_of_the_continuing_model_is_dropped() {
    let parts = |text: &str| json!({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": text}]});
    let mut splicer = splicer();
    pass(&mut *splicer, &chat("a", parts("Once ")));
    let body = request(&*splicer, "mistral/magistral").unwrap();
    assert_eq!(body["messages"][1]["content"], "Once ");
    splicer.switch_to("mistral/magistral");
    assert_eq!(pass(&mut *splicer, &chat("b", json!({"content": [{"type": "thinking"}]}))), "");
    let chunk = &json_events(&pass(&mut *splicer, &chat("b", parts("upon"))))[0];
    assert_eq!(chunk["choices"][0]["delta"], json!({"content": "upon"}));
    assert!(splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes()).is_some());
}

/// Regression: the streams of Gemini 3, whose chunks have signatures, were not continued.
#[test]
fn the_signature_of_a_chat_does_not_prevent_a_continuation() {
    let signed =
        |text: &str| json!({"content": text, "extra_content": {"google": {"thought_signature": "c2ln"}}});
    let mut splicer = splicer();
    pass(&mut *splicer, &chat("a", signed("Once ")));
    assert_eq!(request(&*splicer, "gemini/gemini-3-pro").unwrap()["messages"][1]["content"], "Once ");
    splicer.switch_to("gemini/gemini-3-pro");
    let chunk = &json_events(&pass(&mut *splicer, &chat("b", signed("upon"))))[0];
    assert_eq!(chunk["choices"][0]["delta"], json!({"content": "upon"}));
    assert!(splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes()).is_some());
}

/// Google marks text that is reasoning in the object that also has its signature.
#[test]
fn text_that_is_marked_as_reasoning_is_not_continued() {
    for google in [json!({"thought": true}), json!({"thought": true, "thought_signature": "c2ln"})] {
        let thought = json!({"content": "<thought>a", "extra_content": {"google": google}});
        let mut splicer = splicer();
        pass(&mut *splicer, &chat("a", thought.clone()));
        assert!(splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes()).is_none());
        let mut splicer = self::splicer();
        pass(&mut *splicer, &chat("a", json!({"content": "Once "})));
        splicer.switch_to("gemini/gemini-2.5-flash");
        let chunk = &json_events(&pass(&mut *splicer, &chat("b", thought.clone())))[0];
        assert_eq!(chunk["choices"][0]["delta"]["extra_content"], thought["extra_content"]);
    }
}

#[test]
fn the_initial_text_of_a_block_is_delivered_and_extreme_indexes_are_safe() {
    let mut splicer = splicer();
    let far = u64::MAX;
    pass(&mut *splicer, &(start("a") + &block(far, "text") + &text(far, "x")));
    splicer.switch_to("b/c");
    let begun = event(
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "y"}}),
    );
    let out = pass(&mut *splicer, &(start("b") + &begun + &text(0, "z") + &stop(0)));
    assert_eq!(text_of(&out, |event| event["delta"]["text"].as_str().map(str::to_owned)), "yz");
    for index in 0..1000 {
        pass(&mut *splicer, &block(index, "tool_use"));
    }
}

#[test]
fn a_comment_line_is_not_withheld() {
    let mut splicer = splicer();
    assert_eq!(pass(&mut *splicer, ": ping\n"), ": ping\n");
    assert_eq!(pass(&mut *splicer, "data: {"), "");
    assert_eq!(pass(&mut *splicer, "}\n\n: p"), "data: {}\n\n");
}

#[test]
fn the_last_event_of_a_continuation_may_lack_its_empty_line_and_an_incomplete_one_is_discarded() {
    let mut whole = splicer();
    pass(&mut *whole, &chat("a", json!({"content": "x"})));
    whole.switch_to("b/c");
    pass(&mut *whole, &chat("b", json!({"content": "y"})));
    assert_eq!(pass(&mut *whole, "data: [DONE]"), "");
    assert_eq!(whole.finish(), "data: [DONE]\n\n");
    let mut broken = splicer();
    pass(&mut *broken, &chat("a", json!({"content": "x"})));
    broken.switch_to("b/c");
    pass(&mut *broken, "data: {\"id\":\"b\"");
    assert!(broken.abandon().is_empty());
}

/// Splits a stream into chunks of these sizes.
fn cut(stream: &str, sizes: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut sizes) = (stream.as_bytes(), sizes.iter().cycle());
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = after;
    }
    chunks
}

proptest! {
    /// Before a continuation, every byte passes unchanged and in order, whatever the chunks.
    #[test]
    fn an_unbroken_stream_passes_unchanged_and_a_continuation_does_not_depend_on_the_chunks(
        sizes in prop::collection::vec(1usize..40, 1..20),
        break_at in 0usize..600,
        crlf: bool,
        is_chat: bool,
    ) {
        let (begun, more) = if is_chat {
            let words = ["Once", " ", "upon", " a", " time"].map(|word| chat("a", json!({"content": word})));
            (words.concat() + &chat_end("a"), chat("b", json!({"role": "assistant", "content": "", "x": 1})) + &chat("b", json!({"content": " there"})) + &chat_end("b"))
        } else {
            let body = block(0, "text") + &text(0, "Once") + &text(0, " upon ") + &stop(0) + &message_end();
            (start("a") + &body, start("b") + &body)
        };
        let begun = if crlf { begun.replace('\n', "\r\n") } else { begun };
        let mut whole = splicer();
        let mut out: Vec<u8> = cut(&begun, &sizes).iter().flat_map(|chunk| whole.push(chunk).unwrap()).collect();
        out.extend(whole.finish());
        prop_assert_eq!(String::from_utf8(out).unwrap(), begun.clone());

        let broken = &begun[..break_at.min(begun.len())];
        let mut ends = Vec::new();
        for sizes in [&sizes[..], &[usize::MAX]] {
            let mut splicer = splicer();
            let mut out: Vec<u8> = cut(broken, sizes).iter().flat_map(|chunk| splicer.push(chunk).unwrap()).collect();
            prop_assert!(broken.as_bytes().starts_with(&out));
            let request = splicer.continuation_request("openai/gpt-4o", REQUEST.as_bytes());
            if request.is_some() {
                out.extend(splicer.switch_to("openai/gpt-4o"));
                out.extend(cut(&more, sizes).iter().flat_map(|chunk| splicer.push(chunk).unwrap()));
                out.extend(splicer.finish());
            }
            ends.push((request, String::from_utf8(out).unwrap()));
        }
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}

/// A caller may write millions of small values into one message.
#[test]
fn a_request_is_continued_without_building_what_its_last_message_contains() {
    let many = vec!["{}"; 1 << 17].join(",");
    let body = format!(
        r#"{{"max_tokens":100,"x":[{many}],"messages":[{{"role":"user","content":"A tale.","x":[{many}]}}]}}"#
    );
    for (begun, target) in [
        (chat("a", json!({"content": "Once "})), "openai/gpt-4o"),
        (start("a") + &block(0, "text") + &text(0, "Once "), "anthropic/claude-3-opus"),
    ] {
        let mut splicer = splicer();
        pass(&mut *splicer, &begun);
        let used = allocation_counter::measure(|| {
            drop(splicer.continuation_request(target, body.as_bytes()).expect("a request"));
        });
        assert!(used.bytes_max < 8 * body.len() as u64, "{} bytes for {target}", used.bytes_max);
    }
}
