//! Malformed and hostile streams.

use bytes::BytesMut;
use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::{FailureKind, ResponseTranslator, Scan};
use tidegate_providers::Provider;
use tidegate_providers::stream::Scanner;

use super::{
    for_chat, for_messages, for_messages_from, hello, json_events, stream, to_chat, to_messages, try_stream,
};

fn sse(events: &[Value]) -> Vec<u8> {
    events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>().into_bytes()
}

fn start(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn tool(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

fn piece(index: u64, json: &str) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": json}})
}

fn text(text: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
}

fn stop() -> Value {
    json!({"type": "message_stop"})
}

fn reason(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": null})
}

fn chunk(delta: Value) -> Value {
    json!({"id": "a", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null})
}

fn call(index: u64, id: &str, arguments: &str) -> Value {
    chunk(
        json!({"tool_calls": [{"index": index, "id": id, "function": {"name": "f", "arguments": arguments}}]}),
    )
}

/// The arguments of each call, joined from the chunks.
fn arguments(stream: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for chunk in json_events(stream) {
        for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            calls.resize(calls.len().max(index + 1), String::new());
            calls[index] += call["function"]["arguments"].as_str().unwrap();
        }
    }
    calls
}

/// The text, joined from the events of either dialect.
fn text_of(stream: &str) -> String {
    let of = |event: &Value| {
        let text = event["delta"]["text"].as_str().or(event["choices"][0]["delta"]["content"].as_str());
        text.unwrap_or_default().to_owned()
    };
    json_events(stream).iter().map(of).collect()
}

#[test]
fn blocks_without_a_stop_event_end_with_the_message() {
    for ends in [vec![reason("tool_use"), stop()], vec![stop()]] {
        let events = [start(1, tool("a")), start(7, tool("b")), piece(7, "{\"x\":1}"), start(9, tool("c"))];
        let text = stream(for_chat(), &sse(&[&events[..], &ends].concat()), &[]);
        assert_eq!(arguments(&text), ["{}", "{\"x\":1}", "{}"], "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"));
        // All arguments come before the finish reason, after which some callers stop reading.
        if let Some((before, after)) = text.split_once("\"finish_reason\":\"tool_calls\"") {
            assert!(before.contains("tool_calls") && !after.contains("arguments"), "{text}");
        }
    }
    // A new block reuses the index of an open one.
    let text =
        stream(for_chat(), &sse(&[start(0, tool("a")), start(0, tool("b")), piece(0, "{}"), stop()]), &[]);
    assert_eq!(arguments(&text), ["{}", "{}"], "{text}");
}

#[test]
fn deltas_of_several_calls_may_interleave() {
    let events = [
        start(3, tool("a")),
        start(900, tool("b")),
        piece(3, "{\"x\""),
        piece(900, "{"),
        piece(3, ":1}"),
        piece(900, "}"),
        stop(),
    ];
    assert_eq!(arguments(&stream(for_chat(), &sse(&events), &[])), ["{\"x\":1}", "{}"]);
    let events = [call(0, "a", "{"), call(1, "b", "{"), call(0, "", "}"), call(1, "", "}")];
    let text = stream(for_messages(), &[sse(&events), b"data: [DONE]\n\n".to_vec()].concat(), &[]);
    let of = |block: u64| -> String {
        let pieces = json_events(&text).into_iter().filter(|event| event["index"] == block);
        pieces.filter_map(|event| Some(event["delta"]["partial_json"].as_str()?.to_owned())).collect()
    };
    assert_eq!((of(0), of(1)), ("{}".to_owned(), "{}".to_owned()), "{text}");
}

/// Arguments are JSON within JSON: a delta may end within an escape sequence or a surrogate pair.
#[test]
fn arguments_are_unchanged_wherever_they_are_split() {
    let whole = r#"{"a":"\ud83d\ude00\\\"é😀"}"#;
    for cut in (0..=whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
        let (first, rest) = whole.split_at(cut);
        let events = [start(0, tool("a")), piece(0, first), piece(0, rest), stop()];
        assert_eq!(arguments(&stream(for_chat(), &sse(&events), &[])), [whole]);
        let text = stream(for_messages(), &sse(&[call(0, "a", first), call(0, "", rest)]), &[]);
        let pieces: String =
            json_events(&text).iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
        assert_eq!(pieces, whole);
    }
}

/// A lone surrogate would make the event unreadable, and its text would be lost silently.
#[test]
fn a_lone_surrogate_is_replaced_and_the_rest_of_the_text_is_kept() {
    let events = sse(&[text("CUT"), text("so")]);
    let chunks = sse(&[chunk(json!({"content": "CUT"})), chunk(json!({"content": "so"}))]);
    for (half, expected) in [
        (&b"high \\ud83d"[..], "high \u{fffd}so"),
        (b"low \\ude00", "low \u{fffd}so"),
        (b"\xf0\x9f", "\u{fffd}so"),
    ] {
        let put = |bytes: &[u8]| {
            let at = bytes.windows(3).position(|window| window == b"CUT").unwrap();
            [&bytes[..at], half, &bytes[at + 3..]].concat()
        };
        assert_eq!(text_of(&stream(for_chat(), &put(&events), &[])), expected);
        assert_eq!(text_of(&stream(for_messages(), &put(&chunks), &[])), expected);
        let expected = expected.strip_suffix("so").unwrap();
        let answer = put(br#"{"content":[{"type":"text","text":"CUT"}]}"#);
        let whole: Value =
            serde_json::from_slice(&for_chat().whole(StatusCode::OK, &answer).unwrap()).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], expected);
        let answer = put(br#"{"choices":[{"message":{"content":"CUT"}}]}"#);
        let whole: Value =
            serde_json::from_slice(&for_messages().whole(StatusCode::OK, &answer).unwrap()).unwrap();
        assert_eq!(whole["content"][0]["text"], expected);
    }
}

/// Anthropic answers a lone surrogate with a 400; callers that truncate a prompt by its length send one.
#[test]
fn a_lone_surrogate_in_a_request_is_replaced() {
    let translated_messages = |body: &str| {
        let translator = tidegate_translate::ChatToMessages::new(super::UNKNOWN_TARGET);
        let mut head = http::Request::new(()).into_parts().0;
        let messages = tidegate_core::Translator::request(&translator, &mut head, body.as_bytes()).unwrap();
        serde_json::from_slice::<Value>(&messages.body).unwrap()["messages"].clone()
    };
    let messages = translated_messages(r#"{"messages":[{"role":"user","content":"cut \ud83d"}]}"#);
    assert_eq!(messages[0]["content"][0]["text"], "cut \u{fffd}");
    let messages = translated_messages(
        r#"{"messages":[{"role":"user","content":"?"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"a\":\"\\ud83d\"}"}}]},{"role":"tool","tool_call_id":"c","content":"7"}]}"#,
    );
    assert_eq!(messages[1]["content"][0]["input"], json!({"a": "\u{fffd}"}));
}

#[test]
fn the_choice_with_index_0_is_translated_wherever_it_stands() {
    let choice =
        |index: u64, text: &str| json!({"index": index, "delta": {"content": text}, "finish_reason": "stop"});
    let events = [
        json!({"choices": []}),
        json!({"choices": null, "usage": null}),
        json!({"choices": [choice(1, "no"), choice(0, "yes")], "usage": null}),
        json!({"choices": [choice(2, "no")]}),
    ];
    let text = stream(for_messages(), &[sse(&events), b"data: [DONE]\n\n".to_vec()].concat(), &[]);
    assert_eq!(text_of(&text), "yes");
    assert_eq!(text.matches("event: message_stop").count(), 1);
    let whole = json!({"choices": [{"index": 1, "message": {"content": "no"}}, {"index": 0, "message": {"content": "yes"}}], "usage": null});
    let whole = for_messages().whole(StatusCode::OK, whole.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap()["content"][0]["text"], "yes");
}

/// Every chunk repeats the id of the message and the name of the model.
#[test]
fn an_overlong_id_is_not_repeated_in_every_chunk() {
    let begin = json!({"type": "message_start", "message": {"id": "i".repeat(100_000), "model": ["m".repeat(100_000)]}});
    let again = json!({"type": "message_start", "message": {"id": "second", "model": "second"}});
    let mut events = vec![begin, again];
    events.extend((0..1000).map(|_| text("x")));
    let text = stream(for_chat(), &sse(&events), &[]);
    assert!(text.len() < 1000 * 256, "{}", text.len());
    assert_eq!((text_of(&text).len(), text.contains("second")), (1000, false), "the message begins once");
}

/// Each value takes memory of its own, however short it is: 32 MiB of objects would take gigabytes.
#[test]
fn more_values_than_the_limit_are_a_failure_of_a_document_and_of_an_event() {
    for (value, count, is_translated) in
        [("{}", 60_000, true), ("{}", 70_000, false), ("0", 500_000, true), ("0", 600_000, false)]
    {
        let with_objects = |answer: &str| {
            let fields = answer.strip_suffix('}').unwrap();
            format!(r#"{fields},"x":[{}]}}"#, vec![value; count].join(","))
        };
        let chat = r#"{"choices":[{"message":{"content":"a"},"delta":{"content":"a"}}]}"#;
        let message =
            r#"{"type":"content_block_delta","content":[],"delta":{"type":"text_delta","text":"a"}}"#;
        for (mut answer, body) in [(for_messages(), with_objects(chat)), (for_chat(), with_objects(message))]
        {
            let whole = answer.whole(StatusCode::OK, body.as_bytes());
            let events = answer.events(format!("data: {body}\n\n").as_bytes(), &mut BytesMut::new());
            for failure in [whole.err(), events.err()] {
                let code = failure.as_ref().and_then(|failure| failure.provider_code.as_deref());
                assert_eq!(code, (!is_translated).then_some("too_many_objects"), "{count} {body:.40}");
            }
        }
    }
}

#[test]
fn more_calls_than_the_limit_break_the_stream() {
    let many: Vec<_> = (0..1025).map(|index| call(index, &format!("c{index}"), "")).collect();
    let long = vec![call(0, &"c".repeat(1025), "")];
    let blocks: Vec<_> = (0..1025)
        .flat_map(|index| [start(index, tool("c")), json!({"type": "content_block_stop", "index": index})])
        .collect();
    for (mut answer, events) in [(for_messages(), many), (for_messages(), long), (for_chat(), blocks)] {
        let failure = answer.events(&sse(&events), &mut BytesMut::new()).unwrap_err();
        assert_eq!(failure.provider_code.as_deref(), Some("too_many_tool_calls"));
        let mut out = BytesMut::new();
        answer.events(&sse(&[stop(), json!({"choices": []})]), &mut out).unwrap();
        answer.events(b"data: [DONE]\n\n", &mut out).unwrap();
        answer.end(&mut out);
        assert!(out.is_empty(), "a stream that broke does not end");
    }
}

/// An unterminated event is not the end of the stream, whatever came before it.
#[test]
fn an_unterminated_event_above_the_size_limit_leaves_the_stream_truncated() {
    let (chat, messages) =
        ([reason("end_turn")], [json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})]);
    for (mut answer, events) in
        [(for_chat(), sse(&chat)), (for_messages_from("ollama/llama"), sse(&messages))]
    {
        let mut out = BytesMut::new();
        answer.set_event_cap(256 * 1024);
        answer.events(&events, &mut out).unwrap();
        let before = out.len();
        for _ in 0..64 {
            answer.events(&[b"data: ".as_slice(), &[b'x'; 16 * 1024], b"\n"].concat(), &mut out).unwrap();
        }
        answer.end(&mut out);
        assert_eq!(out.len(), before);
    }
}

#[test]
fn an_error_is_the_last_event_before_the_first_token_and_after() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "no"}});
    let begin = json!({"type": "message_start", "message": {"id": "a"}});
    for before in [vec![], vec![begin.clone()], vec![begin, text("so")]] {
        let after = [&before[..], &[error.clone(), text("more"), error.clone(), stop()]].concat();
        let only = [&before[..], std::slice::from_ref(&error)].concat();
        let text = stream(for_chat(), &sse(&after), &[]);
        assert_eq!(text, stream(for_chat(), &sse(&only), &[]));
        assert!(text.contains("server_is_overloaded") && !text.contains("[DONE]"), "{text}");
    }
    let error = json!({"error": {"message": "no", "type": "server_error"}});
    let chunks = [chunk(json!({"content": "so"})), error, chunk(json!({"content": "more"}))];
    let text = stream(for_messages(), &[sse(&chunks), b"data: [DONE]\n\n".to_vec()].concat(), &[]);
    assert!(text_of(&text) == "so" && text.contains("api_error") && !text.contains("message_stop"), "{text}");
}

#[test]
fn each_ping_is_translated_into_a_few_bytes() {
    for new_translator in [for_chat, for_messages] {
        let storm = ": x\n\n".repeat(10_000) + &"event: ping\n\n".repeat(10_000);
        let text = stream(new_translator(), storm.as_bytes(), &[]);
        assert!(text.len() <= 20_000 * 40, "{}", text.len());
    }
    // A request translated to messages and back is unchanged.
    assert_eq!(to_chat(&to_messages(&json!({"messages": hello()})))["messages"], hello());
}

/// Events of either dialect, most of them malformed or out of order.
fn events() -> impl Strategy<Value = Vec<u8>> {
    let word = || prop::sample::select(vec!["", "a", " ", "\n", "{\"x\":", "1}", "\\", "é"]);
    let odd = || {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            Just(json!([{}])),
            word().prop_map(Value::from)
        ]
    };
    let index = || prop_oneof![4 => (0..3u64).prop_map(Value::from), 1 => odd()];
    let kind = || {
        prop::sample::select(vec![
            "text",
            "thinking",
            "tool_use",
            "image",
            "text_delta",
            "thinking_delta",
            "input_json_delta",
        ])
    };
    let block = (kind(), odd(), odd(), word()).prop_map(|(kind, id, name, text)| {
        json!({"type": kind, "id": id, "name": name, "text": text, "thinking": text, "partial_json": text, "input": {}})
    });
    let delta = (odd(), odd(), odd(), index(), word(), word()).prop_map(
        |(content, thought, id, index, name, arguments)| {
            json!({"content": content, "reasoning": thought, "tool_calls":
            [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]})
        },
    );
    let event = prop_oneof![
        (block.clone(), index()).prop_map(|(block, index)| json!({"type": "content_block_start", "index": index, "content_block": block})),
        (block, index()).prop_map(|(delta, index)| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        index().prop_map(|index| json!({"type": "content_block_stop", "index": index})),
        odd().prop_map(|odd| json!({"type": "message_start", "message": {"id": odd, "usage": odd}})),
        odd().prop_map(|odd| json!({"type": "message_delta", "delta": {"stop_reason": odd}, "usage": {"output_tokens": odd}})),
        Just(stop()),
        Just(json!({"type": "error", "error": {"type": "api_error"}})),
        (delta, index(), odd()).prop_map(|(delta, index, reason)| {
            json!({"id": "a", "choices": [{"index": index, "delta": delta, "finish_reason": reason}], "usage": reason})
        }),
        odd(),
    ];
    let framed = prop_oneof![
        8 => event.clone().prop_map(|event| format!("data: {event}\n\n").into_bytes()),
        1 => event.prop_map(|event| format!("event: {}\ndata: {event}\r\n\r\n", event["type"].as_str().unwrap_or("x")).into_bytes()),
        1 => prop::sample::select(vec![&b"data: [DONE]\n\n"[..], b": x\n", b"event: message_stop\n\n", b"event: error\ndata: {\n\n", b"data: \xff\n\n"])
            .prop_map(<[u8]>::to_vec),
    ];
    (prop::collection::vec(framed, 0..16), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(events, cut, is_cut)| {
            let mut bytes = events.concat();
            if is_cut && !bytes.is_empty() {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

/// Bytes that are formatted as escaped text in a test failure.
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Every event is JSON, blocks start and stop in order, text is visible, and nothing follows the end of the
/// stream.
pub(super) fn assert_well_formed(text: &str) {
    let (mut open, mut next) = (None, 0);
    let (mut has_ended, mut is_blank) = (false, false);
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        assert!(!has_ended, "after the end: {text}");
        if line == "[DONE]" {
            has_ended = true;
            continue;
        }
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"));
        match event["type"].as_str() {
            Some("content_block_start") => {
                assert_eq!((open.replace(next), event["index"].as_u64()), (None, Some(next)), "{text}");
                (next, is_blank) = (next + 1, event["content_block"]["type"] == "text");
            }
            Some("content_block_stop") => {
                assert_eq!((open.take(), is_blank), (event["index"].as_u64(), false), "{text}");
            }
            Some("content_block_delta") => {
                assert_eq!(open, event["index"].as_u64(), "{text}");
                is_blank &= event["delta"]["text"].as_str().is_none_or(|text| text.trim().is_empty());
            }
            Some("message_delta") => assert_eq!(open, None, "{text}"),
            Some("message_stop") => has_ended = true,
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any stream is translated into a well-formed one. It has an end exactly if the original has one, and
    /// the result does not depend on the chunks.
    #[test]
    fn any_stream_is_translated_well_formed_and_ends_once_or_not_at_all(
        bytes in events().prop_map(Shown),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = &bytes.0[..];
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        for (new_translator, provider, end) in [
            (for_chat as fn() -> Box<dyn ResponseTranslator>, Provider::Anthropic, "data: [DONE]\n\n"),
            (for_messages, Provider::OpenAi, "event: message_stop\n"),
        ] {
            let (text, failure) = try_stream(new_translator(), bytes, &[]);
            prop_assert_eq!(&try_stream(new_translator(), bytes, &cuts), &(text.clone(), failure.clone()));
            assert_well_formed(&text);
            if failure.is_some() {
                prop_assert!(!text.contains(end), "{}", text);
                continue;
            }
            prop_assert!(text.len() <= 4096 + 64 * bytes.len());
            // The first event fixes the dialect, which the scanner would otherwise guess.
            let first = match provider {
                Provider::Anthropic => json!({"type": "message_start"}),
                _ => json!({"choices": []}),
            };
            let mut scanner = Scanner::sse(provider);
            scanner.push(&sse(&[first]));
            scanner.push(bytes);
            scanner.finish();
            let state = scanner.state();
            // The scanner fails a stream that ends without an answer; its end is an end all the same.
            let has_ended = match &state.failure {
                None => state.has_finished,
                Some(failure) => failure.kind == FailureKind::NoAnswer,
            };
            prop_assert_eq!(text.matches(end).count(), usize::from(has_ended), "{}", text);
        }
    }
}
