//! Text and reasoning in unusual forms: all content is translated, or the response is a failure.

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::calls::{ID_A, blocks};
use super::{for_chat, for_messages, json_events, stream, try_stream};

fn choice(index: u64, name: &str, content: &Value, reason: Option<&str>) -> Value {
    json!({"id": "c", "choices": [{"index": index, name: content, "finish_reason": reason}]})
}

fn sse(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}

fn expect(events: &[Value], expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(kind, text)| ((*kind).into(), (*text).into())).collect();
    assert_eq!(blocks(&stream(for_messages(), sse(events).as_bytes(), &[])), expected, "{events:?}");
}

#[test]
fn text_of_a_chat_is_translated_from_all_forms() {
    for (name, content, kind) in [
        ("message", json!({"content": "fine"}), "text"),
        ("delta", json!({"content": "fine"}), "text"),
        ("delta", json!({"content": [{"type": "output_text", "text": "fine"}]}), "text"),
        ("delta", json!({"content": ["fine"]}), "text"),
        ("delta", json!({"refusal": "fine"}), "text"),
        ("delta", json!({"audio": {"transcript": "fine"}}), "text"),
        ("text", json!("fine"), "text"),
        ("message", json!({"reasoning_text": "fine"}), "thinking"),
        ("delta", json!({"thinking": "fine"}), "thinking"),
        ("delta", json!({"reasoning_details": [{"text": "fine"}]}), "thinking"),
        (
            "message",
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "fine"}]}]}),
            "thinking",
        ),
    ] {
        for index in [0, 1] {
            let body = choice(index, name, &content, Some("stop"));
            expect(std::slice::from_ref(&body), &[(kind, "fine")]);
            let whole = for_messages().whole(StatusCode::OK, body.to_string().as_bytes()).unwrap();
            let whole: Value = serde_json::from_slice(&whole).unwrap();
            assert_eq!(whole["content"][0][kind], "fine", "{body}");
        }
    }
}

/// Regression: the caller sent a block of white space back, which Anthropic answered with a 400 ("text content
/// blocks must contain non-whitespace text"), and with it the rest of the conversation.
#[test]
fn text_of_only_white_space_is_no_block() {
    let call = json!({"tool_calls": [{"id": ID_A, "function": {"name": "f", "arguments": "{\"a\":1}"}}]});
    let (text, thinking) = (|text: &str| json!({"content": text}), |text: &str| json!({"reasoning": text}));
    let called = ("f", "{\"a\":1}");
    for (pieces, expected) in [
        (vec![text("\n\n"), call.clone()], vec![called]),
        (vec![text(" "), text("\n"), text("\t"), call.clone()], vec![called]),
        (vec![text("\n"), text("\n fi"), text("ne\n"), call.clone()], vec![("text", "\n\n fine\n"), called]),
        (vec![text("fine"), call.clone(), text("\n\n")], vec![("text", "fine"), called]),
        (
            vec![text("\n"), thinking("hm"), text(" \n"), thinking(" so"), text("\u{a0}x")],
            vec![("thinking", "hm"), ("thinking", " so"), ("text", "\u{a0}x")],
        ),
        (vec![text("\n"), text(" ")], vec![]),
    ] {
        let mut chunks: Vec<_> = pieces.iter().map(|piece| choice(0, "delta", piece, None)).collect();
        chunks.push(choice(0, "delta", &json!({}), Some("stop")));
        expect(&chunks, &expected);
    }
    let message =
        json!({"content": [{"type": "text", "text": "\n"}, "fine", " "], "tool_calls": call["tool_calls"]});
    for (message, kinds) in [
        (message, vec!["text", "tool_use"]),
        (json!({"content": "\n\n", "tool_calls": call["tool_calls"]}), vec!["tool_use"]),
        (json!({"content": " "}), vec![]),
    ] {
        let body = choice(0, "message", &message, Some("stop")).to_string();
        let whole = for_messages().whole(StatusCode::OK, body.as_bytes()).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let blocks = whole["content"].as_array().unwrap().iter();
        assert_eq!(blocks.map(|block| block["type"].as_str().unwrap()).collect::<Vec<_>>(), kinds, "{body}");
    }
}

proptest! {
    /// Regression: in a whole response each part was judged alone, so that the white space between two texts
    /// was lost.
    #[test]
    fn a_whole_response_has_the_blocks_of_a_stream(
        parts in prop::collection::vec((0..4_u8, prop::sample::select(vec!["a", "\n\n", " ", " b ", "\u{a0}"])), 0..8),
        has_call: bool,
    ) {
        let part = |(kind, text): &(u8, &str)| match kind {
            0 => json!({"type": "thinking", "thinking": text}),
            1 => json!(text),
            _ => json!({"type": "text", "text": text}),
        };
        let call = json!([{"id": ID_A, "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
        let content: Vec<Value> = parts.iter().map(part).collect();
        let message = json!({"content": content, "tool_calls": if has_call { call } else { Value::Null }});
        let whole = choice(0, "message", &message, Some("stop")).to_string();
        let whole = for_messages().whole(StatusCode::OK, whole.as_bytes()).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let block = |block: &Value| {
            let kind = block["name"].as_str().or(block["type"].as_str()).unwrap();
            let text = ["text", "thinking"].into_iter().find_map(|key| block[key].as_str());
            (kind.to_owned(), text.map_or_else(|| block["input"].to_string(), str::to_owned))
        };
        let whole: Vec<_> = whole["content"].as_array().unwrap().iter().map(block).collect();
        let events = [choice(0, "delta", &message, None), choice(0, "delta", &json!({}), Some("stop"))];
        prop_assert_eq!(whole, blocks(&stream(for_messages(), sse(&events).as_bytes(), &[])), "{}", message);
    }
}

#[test]
fn a_message_within_a_stream_is_the_next_piece_or_repeats_the_deltas() {
    let delta = |content: Value| choice(0, "delta", &content, None);
    let message = |content: Value| choice(0, "message", &content, None);
    let text = |text: &str| json!({"content": text});
    let call = json!({"id": ID_A, "function": {"name": "f", "arguments": "{\"a\":1}"}});
    expect(&[message(text("fi")), message(text("ne"))], &[("text", "fine")]);
    expect(&[delta(text("fi")), message(text("ne"))], &[("text", "fine")]);
    expect(&[delta(text("fi")), delta(text("ne")), message(text("fine"))], &[("text", "fine")]);
    expect(&[delta(text("fi")), delta(text("ne\n")), message(text("fine day"))], &[("text", "fine\n day")]);
    let all = json!({"reasoning": "hm", "content": "fine", "tool_calls": [call]});
    let blocks = [("thinking", "hm"), ("text", "fine"), ("f", "{\"a\":1}")];
    expect(&[delta(json!({"reasoning": "hm"})), delta(text("fine")), message(all.clone())], &blocks);
    expect(&[delta(all.clone()), message(all.clone())], &blocks);
    expect(&[message(all)], &blocks);
    // Calls without ids in one list are different calls.
    let now = json!({"function": {"name": "now", "arguments": {}}});
    expect(&[message(json!({"tool_calls": [now, now]}))], &[("now", "{}"), ("now", "{}")]);
}

#[test]
fn the_first_choice_with_content_is_translated() {
    let piece = |index: u64, text: &str| choice(index, "delta", &json!({"content": text}), None);
    expect(&[piece(1, ""), piece(1, "fi"), piece(1, "ne")], &[("text", "fine")]);
    expect(&[piece(1, ""), piece(0, "fine"), piece(1, "no")], &[("text", "fine")]);
    expect(&[piece(1, "fine"), piece(0, "no")], &[("text", "fine")]);
}

#[test]
fn content_in_an_unknown_form_is_a_failure() {
    for delta in [
        json!({"audio": {"data": "x"}}),
        json!([[{"content": "fine"}]]),
        json!({"function_call": [{"name": "f"}]}),
    ] {
        let events = [choice(0, "delta", &delta, None)];
        let (text, failure) = try_stream(for_messages(), sse(&events).as_bytes(), &[]);
        assert!(failure.is_some() && !text.contains("message_stop"), "{delta}: {text}");
        let body = choice(0, "message", &delta, Some("stop")).to_string();
        assert!(for_messages().whole(StatusCode::OK, body.as_bytes()).is_err(), "{delta}");
    }
    let cut = "data: {\"choices\":[{\"delta\":{\"content\":\"fine\n\ndata: [DONE]\n\n";
    assert!(try_stream(for_messages(), cut.as_bytes(), &[]).1.is_some());
}

#[test]
fn content_of_messages_in_an_unknown_form_is_a_failure() {
    for event in [
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ["fine"]}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "thinking": "fine"}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ["fine"]}}),
        json!({"type": "message_delta", "delta": {"text": "fine"}}),
    ] {
        let bytes = format!("data: {event}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
        let (text, failure) = try_stream(for_chat(), bytes.as_bytes(), &[]);
        assert!(failure.is_some() && !text.contains("[DONE]"), "{event}");
    }
}

/// Regression: the call of a response that a host divides was lost, or the response was a failure.
#[test]
fn calls_are_translated_from_all_choices() {
    let call = |name: &str, arguments: &str| json!([{"index": 0, "id": format!("{ID_A}{name}"), "function": {"name": name, "arguments": arguments}}]);
    let part = |index: Option<u64>, reason: &str, content: Value| {
        let mut choice = json!({"finish_reason": reason});
        choice["message"] = content;
        index.into_iter().for_each(|index| choice["index"] = index.into());
        choice
    };
    let (text, called) = (json!({"content": "fine"}), ("f", "{\"a\":1}"));
    let calls = json!({"content": null, "tool_calls": call("f", called.1)});
    let more = json!({"content": "lost", "tool_calls": call("g", "{\"b\":2}")});
    for (choices, expected) in [
        (vec![part(Some(0), "stop", text.clone()), part(Some(1), "tool_calls", calls.clone())], 2),
        (vec![part(Some(0), "tool_calls", text.clone()), part(Some(1), "tool_calls", calls.clone())], 2),
        (vec![part(Some(1), "tool_calls", calls.clone()), part(Some(0), "stop", text.clone())], 2),
        (vec![part(Some(0), "tool_calls", calls.clone()), part(Some(1), "stop", text.clone())], 2),
        (vec![part(None, "tool_calls", text.clone()), part(None, "tool_calls", calls.clone())], 2),
        (
            vec![
                part(Some(0), "stop", text),
                part(Some(1), "tool_calls", calls),
                part(Some(2), "tool_calls", more),
            ],
            3,
        ),
    ] {
        let body = json!({"choices": choices});
        let whole = for_messages().whole(StatusCode::OK, body.to_string().as_bytes()).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let content = whole["content"].as_array().unwrap();
        assert_eq!((content.len(), &content[0]["text"]), (expected, &json!("fine")), "{body}");
        assert_eq!((&content[1]["name"], &content[1]["input"]), (&json!("f"), &json!({"a": 1})), "{body}");
        assert_eq!(whole["stop_reason"], "tool_use", "{body}");
        // In a stream, each in one event or in several, and with the arguments in pieces.
        let delta = |choice: &Value| {
            let mut choice = choice.clone();
            let message = choice["message"].take();
            choice["delta"] = message;
            json!({"choices": [choice]})
        };
        let events: Vec<Value> = choices.iter().map(delta).collect();
        for events in [vec![body.clone()], events] {
            let mut found = blocks(&stream(for_messages(), sse(&events).as_bytes(), &[]));
            found.sort_by_key(|(kind, _)| kind != "text");
            assert_eq!((&*found[0].1, found.len()), ("fine", expected), "{events:?}");
            assert_eq!((&*found[1].0, &*found[1].1), called, "{events:?}");
        }
    }
    let piece = |index: u64, arguments: &str| json!({"index": index, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}});
    let begin =
        |index: u64, name: &str| json!({"index": index, "delta": {"tool_calls": call(name, "{\"a\":")}});
    let events = [
        json!({"choices": [begin(1, "f"), begin(2, "g")]}),
        json!({"choices": [piece(2, "2}"), piece(1, "1}")]}),
        json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "tool_calls"}]}),
    ];
    expect(&events, &[("f", "{\"a\":1}"), ("g", "{\"a\":2}")]);
}

#[test]
fn an_answer_without_content_is_not_a_failure() {
    for message in
        [json!({"role": "assistant", "content": null}), json!({"reasoning_details": [{"data": "x"}]})]
    {
        for reason in ["stop", "length", "content_filter"] {
            let body = choice(0, "message", &message, Some(reason));
            expect(std::slice::from_ref(&body), &[]);
            assert!(for_messages().whole(StatusCode::OK, body.to_string().as_bytes()).is_ok());
        }
    }
    let body = br#"{"content":[],"stop_reason":"end_turn"}"#;
    assert!(for_chat().whole(StatusCode::OK, body).is_ok());
}

/// Regression: a response that was an image alone counted as an empty success.
#[test]
fn an_answer_of_images_alone_is_a_failure() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
    let (images, parts) = (json!({"content": "", "images": [image]}), json!({"content": [image]}));
    let (thinking, text) = (json!({"reasoning": "hm", "images": [image]}), json!({"content": "fine"}));
    let beside = json!({"content": "fine", "images": [image]});
    for (messages, is_failure) in [
        (vec![&images], true),
        (vec![&parts], true),
        (vec![&thinking], true),
        (vec![&beside], false),
        (vec![&images, &text], false),
        (vec![&text, &parts], false),
    ] {
        let mut events: Vec<Value> =
            messages.iter().map(|message| choice(0, "delta", message, None)).collect();
        events.push(choice(0, "delta", &json!({}), Some("stop")));
        let (_, failure) = try_stream(for_messages(), sse(&events).as_bytes(), &[]);
        assert_eq!(failure.is_some(), is_failure, "{messages:?}");
        if let [message] = messages[..] {
            let body = choice(0, "message", message, Some("stop")).to_string();
            let whole = for_messages().whole(StatusCode::OK, body.as_bytes());
            assert_eq!(whole.is_err(), is_failure, "{message}");
        }
    }
    let none = choice(0, "message", &json!({"content": "", "images": []}), Some("stop")).to_string();
    assert!(for_messages().whole(StatusCode::OK, none.as_bytes()).is_ok());
}

#[test]
fn text_of_messages_is_translated_from_all_forms() {
    let text_of = |event: &Value| {
        let bytes = format!("data: {event}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
        let events = json_events(&stream(for_chat(), bytes.as_bytes(), &[]));
        let delta = |event: &Value| event["choices"][0]["delta"].clone();
        events.iter().map(delta).find_map(|delta| {
            delta["content"].as_str().or(delta["reasoning_content"].as_str()).map(str::to_owned)
        })
    };
    for event in [
        json!({"type": "content_block_start", "content_block": {"type": "text", "text": "fine"}}),
        json!({"type": "content_block_start", "content_block": {"text": "fine"}}),
        json!({"type": "content_block_delta", "delta": {"text": "fine"}}),
        json!({"type": "content_block_delta", "delta": {"thinking": "fine"}}),
        json!({"delta": {"type": "text_delta", "text": "fine"}}),
    ] {
        assert_eq!(text_of(&event).as_deref(), Some("fine"), "{event}");
    }
    for content in [
        json!("fine"),
        json!([{"type": "text", "text": "fine"}]),
        json!([{"type": "output_text", "text": "fine"}]),
    ] {
        let body = json!({"content": content, "stop_reason": "end_turn"}).to_string();
        let whole: Value =
            serde_json::from_slice(&for_chat().whole(StatusCode::OK, body.as_bytes()).unwrap()).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], "fine", "{body}");
    }
}

/// The blocks of a text.
fn visible(text: String) -> Vec<(String, String)> {
    Some(text)
        .filter(|text| !text.trim().is_empty())
        .map(|text| ("text".to_owned(), text))
        .into_iter()
        .collect()
}

proptest! {
    /// Perplexity sends the whole text so far beside each delta.
    #[test]
    fn text_that_each_chunk_repeats_is_delivered_once(pieces in prop::collection::vec("[ab \n]{1,3}", 1..8)) {
        let mut whole = String::new();
        let events: Vec<_> = pieces
            .iter()
            .map(|piece| {
                whole += piece;
                json!({"choices": [{"delta": {"content": piece}, "message": {"content": whole}}]})
            })
            .collect();
        let received = blocks(&stream(for_messages(), sse(&events).as_bytes(), &[]));
        prop_assert_eq!(received, visible(whole));
    }

    /// Whatever form the pieces of a text have, all of them are delivered, for any chunks.
    #[test]
    fn no_piece_of_a_text_is_lost(
        pieces in prop::collection::vec(("[a-z ]{1,4}", 0..4usize), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let events: Vec<_> = pieces
            .iter()
            .map(|(text, form)| match form {
                0 => choice(0, "delta", &json!({"content": text}), None),
                1 => choice(0, "delta", &json!({"content": [{"text": text}]}), None),
                2 => choice(0, "text", &json!(text), None),
                _ => json!({"choices": {"index": 0, "delta": {"content": text}}}),
            })
            .collect();
        let sent: String = pieces.iter().map(|(text, _)| &**text).collect();
        let bytes = sse(&events);
        let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.sort_unstable();
        let received = blocks(&stream(for_messages(), bytes.as_bytes(), &ends));
        prop_assert_eq!(received, visible(sent));
    }
}
