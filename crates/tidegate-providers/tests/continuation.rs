//! One stream made of two, as plain bytes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::{NotContinuable, StreamContinuator, StreamSplicer};
use tidegate_providers::continuation::StreamContinuation;

const ASKED: &str =
    r#"{"temperature":0.10,"model":"m","max_tokens":100,"messages":[{"role":"user","content":"A tale."}]}"#;

fn splice() -> Box<dyn StreamSplicer> {
    let head = http::Response::builder().header("content-type", "text/event-stream; charset=utf-8");
    StreamContinuation.follow(&head.body(()).unwrap().into_parts().0).unwrap()
}

fn pass(splice: &mut dyn StreamSplicer, text: &str) -> String {
    String::from_utf8(splice.pass(&Bytes::copy_from_slice(text.as_bytes())).unwrap().to_vec()).unwrap()
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

/// The data of the events, those that are JSON.
fn told(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

fn asked(splice: &dyn StreamSplicer, target: &str) -> Option<Value> {
    Some(serde_json::from_slice(&splice.ask(target, ASKED.as_bytes())?).unwrap())
}

#[test]
fn a_chat_goes_on_under_its_first_id_with_one_beginning_and_is_marked_once() {
    let mut splice = splice();
    let begun = chat("a", json!({"role": "assistant", "content": ""}))
        + &chat("a", json!({"reasoning_content": "hm"}))
        + &chat("a", json!({"content": "Once "}));
    assert_eq!(pass(&mut *splice, &begun), begun);
    assert_eq!(pass(&mut *splice, "data: {\"id\":\"a\",\"cho"), "");
    let mut out = String::from_utf8(splice.go_on("openai/gpt-4o").to_vec()).unwrap();
    assert_eq!(out, ": continued by openai/gpt-4o\n\n");
    let more = [
        chat("b", json!({"role": "assistant", "content": ""})),
        chat("b", json!({"reasoning_content": "let me see"})),
        chat("b", json!({"content": "upon"})),
        ": ping\n\n".to_owned(),
        chat("b", json!({"content": " a time"})),
        chat_end("b"),
    ];
    more.iter().for_each(|more| out += &pass(&mut *splice, more));
    let chunks = told(&out);
    let content: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(content, "upon a time", "{out}");
    assert!(chunks.iter().all(|chunk| chunk["id"] == "a" && chunk["model"] == "a"), "{out}");
    assert!(!out.contains("role") && !out.contains("see"), "{out}");
    let marked: Vec<_> = chunks.iter().filter(|chunk| !chunk["x_tidegate"].is_null()).collect();
    assert_eq!((marked.len(), &marked[0]["x_tidegate"]["continued_by"]), (1, &json!("openai/gpt-4o")));
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 2);
    assert!(out.contains(": ping\n\n") && out.ends_with("data: [DONE]\n\n"), "{out}");
    assert!(splice.finish().is_empty());
}

#[test]
fn messages_go_on_in_the_block_that_is_open_and_number_the_others_behind_it() {
    let mut splice = splice();
    let begun = start("a") + &block(0, "thinking") + &stop(0) + &block(1, "text") + &text(1, "Once ");
    assert_eq!(pass(&mut *splice, &begun), begun);
    let mut out = String::from_utf8(splice.go_on("anthropic/claude-3-opus").to_vec()).unwrap();
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
    out += &pass(&mut *splice, &more);
    let events = told(&out);
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
    assert!(splice.ask("anthropic/x", ASKED.as_bytes()).is_none(), "a tool has been called");
}

#[test]
fn what_another_cannot_go_on_with_is_ended_first() {
    let mut splice = splice();
    pass(&mut *splice, &(start("a") + &block(0, "thinking")));
    let out = String::from_utf8(splice.go_on("b/c").to_vec()).unwrap();
    assert_eq!(told(&out), [json!({"type": "content_block_stop", "index": 0})]);
    let more = pass(&mut *splice, &(start("b") + &block(0, "text") + &text(0, "hi") + &message_end()));
    let seen: Vec<_> = told(&more).iter().map(|event| event["index"].as_u64()).collect();
    assert_eq!(seen, [Some(1), Some(1), Some(1), None, None], "{more}");
}

/// P31: a continuation spliced tool calls. (litellm 31067)
#[test]
fn p31_a_tool_call_is_never_continued() {
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
        let mut splice = splice();
        let is_whole = call.contains("response.created") || call.contains("hello") || call.is_empty();
        let stream = if is_whole { call } else { begun + &call };
        assert_eq!(pass(&mut *splice, &stream), stream);
        assert_eq!(splice.ask("openai/gpt-4o", ASKED.as_bytes()), None, "{stream}");
    }
}

#[test]
fn the_delivered_text_is_handed_over_as_the_target_takes_it() {
    let mut of_chat = splice();
    let begun = chat("a", json!({"content": "Once "})) + &chat("a", json!({"content": "upon "}));
    pass(&mut *of_chat, &begun);
    let said = json!({"role": "assistant", "content": "Once upon "});
    let body = asked(&*of_chat, "openai/gpt-4o").unwrap();
    assert_eq!(body["messages"][1], said);
    assert_eq!((&body["messages"][2]["role"], &body["max_tokens"]), (&json!("user"), &json!(98)));
    let body = asked(&*of_chat, "mistral/mistral-large").unwrap();
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
    assert_eq!(body["messages"][1]["prefix"], true);

    let mut of_messages = splice();
    pass(&mut *of_messages, &(start("a") + &block(0, "text") + &text(0, "Once upon ")));
    for (model, length) in
        [("claude-3-5-sonnet", 2), ("claude-sonnet-4-5", 2), ("claude-opus-4-6", 3), ("glm", 3)]
    {
        let body = asked(&*of_messages, &format!("anthropic/{model}")).unwrap();
        assert_eq!(body["messages"].as_array().unwrap().len(), length, "{model}");
        assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "Once upon"}), "{model}");
    }
    let thinking = br#"{"max_tokens":9,"thinking":{"type":"enabled","budget_tokens":8},"messages":[{"role":"user","content":"x"}]}"#;
    let body = of_messages.ask("anthropic/claude-sonnet-4-5", thinking).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((body["messages"].as_array().unwrap().len(), &body["max_tokens"]), (3, &json!(9)));
}

#[test]
fn a_request_is_changed_where_it_has_to_be_and_stays_as_it_was_written_elsewhere() {
    let mut splice = splice();
    pass(&mut *splice, &chat("a", json!({"content": "x"})));
    let body = splice.ask("openai/gpt-4o", ASKED.as_bytes()).unwrap();
    assert!(body.ends_with(br#""model":"m","temperature":0.10}"#), "{body:?}");
    let begun = br#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"I say: "}]}"#;
    let body: Value = serde_json::from_slice(&splice.ask("mistral/m", begun).unwrap()).unwrap();
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "I say: x", "prefix": true}));
    for hopeless in [
        &b"not json"[..],
        b"{}",
        br#"{"messages":[]}"#,
        br#"{"max_tokens":1,"messages":[{"role":"user","content":"q"}]}"#,
    ] {
        assert_eq!(splice.ask("openai/gpt-4o", hopeless), None);
    }
}

#[test]
fn an_event_that_tells_of_a_failure_is_kept_back_until_nobody_goes_on() {
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let begun = chat("a", json!({"content": "x"}));
    let mut given_up = splice();
    assert_eq!(pass(&mut *given_up, &(begun.clone() + error)), begun);
    assert_eq!(given_up.give_up(), error);
    let mut continued = splice();
    pass(&mut *continued, &(begun + error));
    continued.go_on("b/c");
    assert!(continued.give_up().is_empty());
    // The one who goes on fails as well, and a third one may.
    assert_eq!(pass(&mut *continued, error), "");
    assert!(continued.ask("d/e", ASKED.as_bytes()).is_some());
}

#[test]
fn only_readable_events_are_followed() {
    for (name, value) in [("content-type", "application/json"), ("content-encoding", "gzip")] {
        let head = http::Response::builder().header("content-type", "text/event-stream").header(name, value);
        let mut head = head.body(()).unwrap().into_parts().0;
        head.headers.insert(name, value.parse().unwrap());
        assert!(StreamContinuation.follow(&head).is_none(), "{name}");
    }
}

#[test]
fn an_event_without_an_end_is_not_waited_for() {
    let mut splice = splice();
    pass(&mut *splice, &chat("a", json!({"content": "x"})));
    let endless = format!("data: {}", "x".repeat(300 * 1024));
    assert_eq!(pass(&mut *splice, &endless), endless);
    assert_eq!(splice.ask("openai/gpt-4o", ASKED.as_bytes()), None);
}

/// A break after "def f():\n" lost the indentation of what followed.
#[test]
fn white_space_is_lost_nowhere_and_repeated_only_where_the_request_lost_it() {
    let of_chat = |delivered: &str, pieces: &[&str]| {
        let mut splice = splice();
        pass(&mut *splice, &chat("a", json!({"content": delivered})));
        splice.go_on("b/c");
        let piece = |piece: &&str| pass(&mut *splice, &chat("b", json!({"content": piece})));
        let told = pieces.iter().map(piece).collect::<String>();
        told_text(&told, |event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
    };
    assert_eq!(of_chat("def f():\n", &["    return 1"]), "    return 1");
    assert_eq!(of_chat("- a\n", &["\n", "Next"]), "\nNext");
    let of_messages = |delivered: &str, pieces: &[&str]| {
        let mut splice = splice();
        pass(&mut *splice, &(start("a") + &block(0, "text") + &text(0, delivered)));
        splice.go_on("b/c");
        pass(&mut *splice, &(start("b") + &block(0, "text")));
        let told = pieces.iter().map(|piece| pass(&mut *splice, &text(0, piece))).collect::<String>();
        told_text(&told, |event| event["delta"]["text"].as_str().map(str::to_owned))
    };
    assert_eq!(of_messages("def f():\n", &["\n", "    return 1"]), "    return 1");
    assert_eq!(of_messages("def f():\n", &["    return 1"]), "    return 1");
    assert_eq!(of_messages("Once ", &[" upon"]), "upon");
    assert_eq!(of_messages("Once\n\n", &["\n    code"]), "    code");
}

fn told_text(stream: &str, text: impl Fn(&Value) -> Option<String>) -> String {
    told(stream).iter().filter_map(text).collect()
}

/// Azure's first chunk is about the prompt, and has no id.
#[test]
fn the_id_is_that_of_the_first_chunk_that_has_one() {
    let mut splice = splice();
    let filter =
        "data: {\"id\":\"\",\"model\":\"\",\"created\":0,\"choices\":[],\"prompt_filter_results\":[]}\n\n";
    pass(&mut *splice, &(filter.to_owned() + &chat("a", json!({"content": "x"}))));
    splice.go_on("b/c");
    let chunk = &told(&pass(&mut *splice, &chat("b", json!({"content": "y"}))))[0];
    assert_eq!((&chunk["id"], &chunk["model"], &chunk["created"]), (&json!("a"), &json!("a"), &json!(7)));
}

#[test]
fn what_is_no_part_of_the_stream_is_refused() {
    let of_chat = chat("a", json!({"content": "x"}));
    let of_messages = start("a") + &block(0, "text") + &text(0, "x");
    let endless = format!("data: {}", "x".repeat(300 * 1024));
    for (begun, foreign) in [
        (&of_chat, start("b")),
        (&of_chat, "data: {\"type\":\"response.created\"}\n\n".to_owned()),
        (&of_chat, "data: hello\n\n".to_owned()),
        (&of_chat, endless.clone()),
        (&of_messages, chat("b", json!({"content": "x"}))),
        (&of_messages, endless),
    ] {
        let mut splice = splice();
        pass(&mut *splice, begun);
        splice.go_on("b/c");
        assert_eq!(splice.pass(&Bytes::from(foreign.clone())), Err(NotContinuable), "{foreign:.60}");
        assert!(splice.give_up().is_empty());
        assert!(splice.ask("d/e", ASKED.as_bytes()).is_some(), "another may do better");
    }
}

#[test]
fn an_answer_in_a_form_and_one_of_several_are_not_continued() {
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
        let mut splice = splice();
        pass(&mut *splice, &chat("a", json!({"content": "x"})));
        let mut asked: Value = serde_json::from_str(ASKED).unwrap();
        asked[field] = value.clone();
        let body = splice.ask("openai/gpt-4o", asked.to_string().as_bytes());
        assert_eq!(body.is_some(), is_continued, "{field}: {value}");
    }
}

#[test]
fn texts_in_parts_are_texts_and_the_thinking_of_who_goes_on_is_left_out() {
    let parts = |text: &str| json!({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": text}]});
    let mut splice = splice();
    pass(&mut *splice, &chat("a", parts("Once ")));
    let body = asked(&*splice, "mistral/magistral").unwrap();
    assert_eq!(body["messages"][1]["content"], "Once ");
    splice.go_on("mistral/magistral");
    assert_eq!(pass(&mut *splice, &chat("b", json!({"content": [{"type": "thinking"}]}))), "");
    let chunk = &told(&pass(&mut *splice, &chat("b", parts("upon"))))[0];
    assert_eq!(chunk["choices"][0]["delta"], json!({"content": "upon"}));
    assert!(splice.ask("openai/gpt-4o", ASKED.as_bytes()).is_some());
}

#[test]
fn what_a_block_begins_with_is_told_and_hostile_numbers_do_no_harm() {
    let mut splice = splice();
    let far = u64::MAX;
    pass(&mut *splice, &(start("a") + &block(far, "text") + &text(far, "x")));
    splice.go_on("b/c");
    let begun = event(
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "y"}}),
    );
    let out = pass(&mut *splice, &(start("b") + &begun + &text(0, "z") + &stop(0)));
    assert_eq!(told_text(&out, |event| event["delta"]["text"].as_str().map(str::to_owned)), "yz");
    for index in 0..1000 {
        pass(&mut *splice, &block(index, "tool_use"));
    }
}

#[test]
fn a_line_of_comment_is_not_kept_back() {
    let mut splice = splice();
    assert_eq!(pass(&mut *splice, ": ping\n"), ": ping\n");
    assert_eq!(pass(&mut *splice, "data: {"), "");
    assert_eq!(pass(&mut *splice, "}\n\n: p"), "data: {}\n\n");
}

#[test]
fn the_last_event_of_who_goes_on_may_lack_its_empty_line_and_half_of_one_is_nobodys() {
    let mut whole = splice();
    pass(&mut *whole, &chat("a", json!({"content": "x"})));
    whole.go_on("b/c");
    pass(&mut *whole, &chat("b", json!({"content": "y"})));
    assert_eq!(pass(&mut *whole, "data: [DONE]"), "");
    assert_eq!(whole.finish(), "data: [DONE]\n\n");
    let mut broken = splice();
    pass(&mut *broken, &chat("a", json!({"content": "x"})));
    broken.go_on("b/c");
    pass(&mut *broken, "data: {\"id\":\"b\"");
    assert!(broken.give_up().is_empty());
}

/// A stream and the sizes of the chunks that it comes in.
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
    /// Until another goes on, every byte is the provider's, in order, however it comes.
    #[test]
    fn a_stream_that_holds_passes_byte_for_byte_and_one_that_breaks_makes_the_same_whole_however_it_is_cut(
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
        let mut whole = splice();
        let mut out: Vec<u8> = cut(&begun, &sizes).iter().flat_map(|chunk| whole.pass(chunk).unwrap()).collect();
        out.extend(whole.finish());
        prop_assert_eq!(String::from_utf8(out).unwrap(), begun.clone());

        let broken = &begun[..break_at.min(begun.len())];
        let mut ends = Vec::new();
        for sizes in [&sizes[..], &[usize::MAX]] {
            let mut splice = splice();
            let mut out: Vec<u8> = cut(broken, sizes).iter().flat_map(|chunk| splice.pass(chunk).unwrap()).collect();
            prop_assert!(broken.as_bytes().starts_with(&out));
            let asked = splice.ask("openai/gpt-4o", ASKED.as_bytes());
            if asked.is_some() {
                out.extend(splice.go_on("openai/gpt-4o"));
                out.extend(cut(&more, sizes).iter().flat_map(|chunk| splice.pass(chunk).unwrap()));
                out.extend(splice.finish());
            }
            ends.push((asked, String::from_utf8(out).unwrap()));
        }
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}
