//! Stop sequences for a target that rejects them, which are carried out on the response.

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::ResponseTranslator;
use tidegate_translate::MessagesToChat;

use super::calls::{blocks, chunk};
use super::{body, hello, json_events, stream, translate};

const DONE: &str = "data: [DONE]\n\n";

fn request(stops: &[&str]) -> Value {
    json!({"messages": hello(), "max_tokens": 9, "stream": true, "stop_sequences": stops})
}

fn for_stops(stops: &[&str]) -> Box<dyn ResponseTranslator> {
    translate(&MessagesToChat::new("openai/gpt-5"), &request(stops)).unwrap().response
}

/// The blocks of a message, its stop reason and its stop sequence.
type Message = (Vec<(String, String)>, Value, Value);

fn message(blocks: &[(&str, &str)], reason: &str, sequence: Option<&str>) -> Message {
    let blocks = blocks.iter().map(|(kind, content)| ((*kind).to_owned(), (*content).to_owned()));
    (blocks.collect(), json!(reason), json!(sequence))
}

fn streamed(stops: &[&str], chunks: &[String]) -> Message {
    let text = stream(for_stops(stops), (chunks.concat() + DONE).as_bytes(), &[]);
    let delta = json_events(&text).into_iter().rev().find(|event| event["type"] == "message_delta").unwrap();
    let delta = &delta["delta"];
    (blocks(&text), delta["stop_reason"].clone(), delta["stop_sequence"].clone())
}

fn whole(stops: &[&str], message: &Value, reason: &str) -> Message {
    let body = json!({"choices": [{"message": message, "finish_reason": reason}]}).to_string();
    let whole = for_stops(stops).whole(StatusCode::OK, body.as_bytes()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let block = |block: &Value| {
        let kind = block["name"].as_str().or(block["type"].as_str()).unwrap().to_owned();
        let text = block["text"].as_str().or(block["thinking"].as_str()).map(str::to_owned);
        (kind, text.unwrap_or_else(|| block["input"].to_string()))
    };
    let blocks = whole["content"].as_array().unwrap().iter().map(block).collect();
    (blocks, whole["stop_reason"].clone(), whole["stop_sequence"].clone())
}

fn text(text: &str) -> Value {
    json!({"content": text})
}

fn call(arguments: &str) -> Value {
    json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}]})
}

#[test]
fn the_field_is_not_sent() {
    let sent = body(translate(&MessagesToChat::new("openai/gpt-5"), &request(&["a", ""])));
    assert_eq!(sent.get("stop"), None);
    let sent = body(translate(&MessagesToChat::new("openai/gpt-4o"), &request(&["a"])));
    assert_eq!(sent["stop"], json!(["a"]));
}

/// Regression: the search kept nine times the size of the sequences, in no budget.
#[test]
fn a_sequence_to_search_for_has_a_maximum_length() {
    for (target, length, is_accepted) in [
        ("openai/gpt-5", 1000, true),
        ("openai/gpt-5", 1001, false),
        ("xai/grok-4", 1001, false),
        // It is sent.
        ("openai/gpt-4o", 1001, true),
    ] {
        let stops = ["a", &"é".repeat(length)];
        let translated = translate(&MessagesToChat::new(target), &request(&stops));
        let error = translated.map(drop).map_err(|error| error.to_string());
        let problem = "`stop_sequences` have one of more than 1000 characters";
        match is_accepted {
            true => assert_eq!(error, Ok(()), "{target} {length}"),
            false => assert!(error.as_ref().is_err_and(|error| error.contains(problem)), "{error:?}"),
        }
    }
}

#[test]
fn a_stream_is_cut_before_a_stop_sequence() {
    let ended = |blocks, reason| message(blocks, reason, None);
    let cut = |blocks| message(blocks, "stop_sequence", Some("END"));
    let thinking = |text: &str| json!({"reasoning_content": text});
    for (deltas, reason, expected) in [
        (vec![text("END"), text("on")], "stop", cut(&[])),
        (vec![text("\nE"), text("ND")], "stop", cut(&[])),
        (vec![text("aE"), text("N"), text("Db")], "stop", cut(&[("text", "a")])),
        (vec![text("aE"), text("N")], "stop", ended(&[("text", "aEN")], "end_turn")),
        (vec![text("EEN"), text("ND")], "stop", ended(&[("text", "EENND")], "end_turn")),
        (vec![text("aEND"), call("{\"a\":1}")], "tool_calls", cut(&[("text", "a")])),
        (vec![text("aEND"), call("{\"a\""), call(":1}"), text("END")], "length", cut(&[("text", "a")])),
        (vec![text("aEND"), thinking("b"), text("c")], "content_filter", cut(&[("text", "a")])),
        (
            vec![text("aEN"), call("{\"a\":\"END\"}")],
            "tool_calls",
            ended(&[("text", "aEN"), ("f", "{\"a\":\"END\"}")], "tool_use"),
        ),
        (
            vec![text("aEN"), thinking("END"), text("D")],
            "stop",
            ended(&[("text", "aEN"), ("thinking", "END"), ("text", "D")], "end_turn"),
        ),
        // The call has begun before.
        (
            vec![call("{\"a\""), text("bEND"), call(":1}"), text("c")],
            "tool_calls",
            cut(&[("f", "{\"a\":1}"), ("text", "b")]),
        ),
    ] {
        let chunks: Vec<_> = deltas.iter().map(|delta| chunk(delta, None)).collect();
        let chunks = [&chunks[..], &[chunk(&json!({}), Some(reason))]].concat();
        assert_eq!(streamed(&["END"], &chunks), expected, "{chunks:?}");
    }
}

/// Regression: a call after the sequence could fail the response.
#[test]
fn content_after_a_stop_sequence_cannot_fail_the_stream() {
    let delta = |delta: &Value| chunk(delta, None);
    let called = |arguments: Value| json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": arguments}}]});
    let whole = |message: &Value| {
        format!("data: {}\n\n", json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
    };
    let many = |index: usize| delta(&json!({"tool_calls": [{"index": index, "function": {"name": "f"}}]}));
    for content in [
        delta(&called(json!([1]))),
        delta(&called(json!(7))),
        delta(&called(json!("[1]"))),
        delta(&called(json!("{\"a\":1}"))) + &delta(&called(json!("]"))),
        whole(&called(json!([1]))),
        (0..1100).map(many).collect(),
        delta(&json!({"tool_calls": [{"id": "x".repeat(2000), "function": {"name": "f".repeat(2000)}}]})),
        delta(&json!({"audio": {"data": "x"}})),
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}\n\n".to_owned(),
    ] {
        let chunks = [delta(&text("aEND")), content, chunk(&json!({}), Some("tool_calls"))];
        let expected = message(&[("text", "a")], "stop_sequence", Some("END"));
        assert_eq!(streamed(&["END"], &chunks), expected, "{chunks:.300?}");
    }
    // A call that began before is complete.
    let call = called(json!("{\"a\":1}"));
    let more = json!({"tool_calls": [{"index": 0, "function": {"arguments": "[1]"}}]});
    let chunks = [delta(&call), delta(&text("bEND")), delta(&more), chunk(&json!({}), Some("stop"))];
    let expected = message(&[("f", "{\"a\":1}"), ("text", "b")], "stop_sequence", Some("END"));
    assert_eq!(streamed(&["END"], &chunks), expected);
}

#[test]
fn a_repeated_text_is_not_searched_again() {
    let repeated = |message: &Value| {
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    for (deltas, whole, content, is_cut) in [
        (&["aE", "NDb"][..], "aENDb", "a", true),
        (&["aE", "N"], "aEN", "aEN", false),
        (&["aE", "N"], "aENDb", "a", true),
        (&["E", "E"], "EEND", "E", true),
        (&[], "aENDb", "a", true),
    ] {
        let chunks: Vec<_> = deltas.iter().map(|delta| chunk(&text(delta), None)).collect();
        let chunks = [&chunks[..], &[repeated(&text(whole))]].concat();
        let (reason, sequence) = if is_cut { ("stop_sequence", Some("END")) } else { ("end_turn", None) };
        assert_eq!(
            streamed(&["END"], &chunks),
            message(&[("text", content)], reason, sequence),
            "{chunks:?}"
        );
    }
}

#[test]
fn text_before_and_after_omitted_reasoning_is_searched_as_one() {
    let translator = MessagesToChat::new("openai/gpt-5").omit_reasoning(true);
    let answer = || translate(&translator, &request(&["END"])).unwrap().response;
    let deltas = [text("aE"), json!({"reasoning_content": "b"}), text("ND")];
    let chunks = deltas.map(|delta| chunk(&delta, None)).concat();
    let streamed = stream(answer(), (chunks + DONE).as_bytes(), &[]);
    assert_eq!(blocks(&streamed), [("text".to_owned(), "a".to_owned())]);
    let parts = json!([{"text": "aE"}, {"type": "thinking", "thinking": "b"}, {"text": "ND"}]);
    let body = json!({"choices": [{"message": {"content": parts}}]}).to_string();
    let whole: Value =
        serde_json::from_slice(&answer().whole(StatusCode::OK, body.as_bytes()).unwrap()).unwrap();
    assert_eq!(whole["content"], json!([{"type": "text", "text": "a"}]));
}

#[test]
fn a_whole_response_is_cut_before_a_stop_sequence() {
    let stopped = |blocks| message(blocks, "stop_sequence", Some("END"));
    let parts = |parts: &[Value]| json!({"content": parts});
    let thinking = json!({"type": "thinking", "thinking": "END"});
    for (answer, reason, expected) in [
        (text("ENDon"), "stop", stopped(&[])),
        (text("aENDbEND"), "length", stopped(&[("text", "a")])),
        (parts(&[json!({"text": "aE"}), json!({"text": "NDb"})]), "stop", stopped(&[("text", "a")])),
        (
            parts(&[json!({"text": "aEN"}), thinking, json!({"text": "DEND"}), json!({"text": "b"})]),
            "stop",
            stopped(&[("text", "aEN"), ("thinking", "END"), ("text", "D")]),
        ),
        (
            json!({"content": "aEND", "tool_calls": call("{\"a\":1}")["tool_calls"]}),
            "tool_calls",
            stopped(&[("text", "a")]),
        ),
        // The arguments may have been cut off after the sequence.
        (
            json!({"content": "aEND", "tool_calls": call("{\"a\"")["tool_calls"]}),
            "stop",
            stopped(&[("text", "a")]),
        ),
        (
            json!({"content": "aEN", "tool_calls": call("{\"a\":\"END\"}")["tool_calls"]}),
            "tool_calls",
            message(&[("text", "aEN"), ("f", "{\"a\":\"END\"}")], "tool_use", None),
        ),
    ] {
        assert_eq!(whole(&["END"], &answer, reason), expected, "{answer}");
    }
}

#[test]
fn a_stream_ends_with_the_target_and_not_with_a_stop_sequence() {
    let begun = chunk(&text("aEND"), None) + &chunk(&text("b"), None);
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}});
    let end = chunk(&json!({}), Some("stop")) + &format!("data: {usage}\n\n");
    let events = json_events(&stream(for_stops(&["END"]), (begun.clone() + &end + DONE).as_bytes(), &[]));
    let [.., delta, stop] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (&stop["type"], &delta["usage"]["output_tokens"], &delta["delta"]),
        (&json!("message_stop"), &json!(3), &json!({"stop_reason": "stop_sequence", "stop_sequence": "END"}))
    );
    // Truncated.
    for bytes in [begun.clone(), begun.clone() + &end] {
        let text = stream(for_stops(&["END"]), bytes.as_bytes(), &[]);
        assert!(!text.contains("message_delta") && !text.contains("message_stop"), "{text}");
    }
    let error = format!("data: {}\n\n", json!({"error": {"message": "no", "type": "server_error"}}));
    let text = stream(for_stops(&["END"]), (begun.clone() + &error + DONE).as_bytes(), &[]);
    assert!(text.contains("api_error") && !text.contains("message_stop"), "{text}");
}

/// The text before the sequence that ends first, and of those that end there the longest.
fn expected<'a>(text: &'a str, stops: &[&'a str]) -> (&'a str, Option<&'a str>) {
    let ends =
        |end: &usize| text.get(..*end).is_some_and(|text| stops.iter().any(|stop| text.ends_with(stop)));
    let Some(end) = (0..=text.len()).find(ends) else { return (text, None) };
    let found = stops.iter().filter(|stop| text[..end].ends_with(**stop)).max_by_key(|stop| stop.len());
    (&text[..end - found.unwrap().len()], found.copied())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Characters may be cut in half as well.
    #[test]
    fn every_cut_of_a_stream_is_translated_like_the_whole(
        content in "(a|b|é|🌍){1,12}",
        stops in prop::collection::vec("(a|b|é|🌍){1,4}", 1..4),
        has_thinking in any::<bool>(),
        has_call in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stops: Vec<_> = stops.iter().map(|stop| &**stop).collect();
        let units: Vec<_> = content.encode_utf16().collect();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(units.len() + 1)).collect();
        ends.extend([0, units.len()]);
        ends.sort_unstable();
        let piece = |cut: &[usize]| {
            let escapes: String = units[cut[0]..cut[1]].iter().map(|unit| format!("\\u{unit:04x}")).collect();
            chunk(&text("CUT"), None).replace("CUT", &escapes)
        };
        let (thinking, called) = (json!({"reasoning_content": content}), call("{\"a\":1}"));
        let reason = if has_call { "tool_calls" } else { "stop" };
        let mut chunks = vec![];
        chunks.extend(has_thinking.then(|| chunk(&thinking, None)));
        chunks.extend(ends.windows(2).map(piece));
        chunks.extend(has_call.then(|| chunk(&called, None)));
        chunks.push(chunk(&json!({}), Some(reason)));
        let mut answer = text(&content);
        if has_thinking {
            answer["reasoning_content"] = thinking["reasoning_content"].clone();
        }
        if has_call {
            answer["tool_calls"] = called["tool_calls"].clone();
        }
        let whole = whole(&stops, &answer, reason);
        prop_assert_eq!(&streamed(&stops, &chunks), &whole);
        let (before, stop) = expected(&content, &stops);
        let delivered = whole.0.iter().find(|(kind, _)| kind == "text").map_or("", |(_, text)| text);
        prop_assert_eq!((delivered, &whole.2), (before, &json!(stop)));
        prop_assert_eq!(whole.0.iter().any(|(kind, _)| kind == "f"), has_call && stop.is_none());
    }
}
