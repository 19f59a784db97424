use std::time::SystemTime;

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::{ResponseTranslator, Scan, StopReason, StreamOutcome, StreamState};
use tidegate_providers::Provider;
use tidegate_providers::stream::Scanner;
use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::{
    fixture, for_chat, for_messages, for_messages_from, hello, json_events, stream, translate, try_stream,
};

/// A recorded stream of a provider.
struct Case {
    name: String,
    bytes: Vec<u8>,
    provider: Provider,
}

impl Case {
    fn translator(&self) -> Box<dyn ResponseTranslator> {
        match self.provider {
            Provider::Anthropic => for_chat(),
            provider => for_messages_from(provider.name()),
        }
    }

    /// A provider with the dialect of the translated stream.
    fn caller_provider(&self) -> Provider {
        if self.provider == Provider::Anthropic { Provider::OpenAi } else { Provider::Anthropic }
    }
}

/// All recorded streams of the two dialects.
fn streams() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tidegate-providers/fixtures/streams");
    let names =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let is_included = |name: &String| {
        let provider = name.split('_').next().unwrap();
        let is_known = ["anthropic", "openai", "azure", "groq", "xai", "deepseek", "openrouter", "mistral"]
            .contains(&provider);
        is_known
            // A call without a name cannot be translated.
            && !["responses", "completion", "deepseek_anthropic", "nameless"].iter().any(|other| name.contains(other))
    };
    let mut streams: Vec<_> = names.filter(|name| name.ends_with(".sse")).filter(is_included).collect();
    streams.sort();
    let case = |name: String| Case {
        bytes: fixture(&format!("streams/{name}")),
        provider: Provider::named(name.split('_').next().unwrap()),
        name,
    };
    streams.into_iter().map(case).collect()
}

fn scan(provider: Provider, bytes: &[u8]) -> StreamState {
    let mut scanner = Scanner::sse(provider);
    scanner.push(bytes);
    scanner.finish();
    scanner.state().clone()
}

/// The scanner reports the same for the translated stream: start, end, failure and stop reason.
#[test]
fn every_translated_stream_is_scanned_like_the_original() {
    let streams = streams();
    assert!(streams.len() > 30, "{}", streams.len());
    for case in streams {
        let translated = stream(case.translator(), &case.bytes, &[]);
        let (original, translated_state) =
            (scan(case.provider, &case.bytes), scan(case.caller_provider(), translated.as_bytes()));
        let Case { name, .. } = &case;
        assert_eq!(translated_state.has_started, original.has_started, "{name}: {translated}");
        assert_eq!(translated_state.has_finished, original.has_finished, "{name}: {translated}");
        let code = |state: &StreamState| state.failure.as_ref().map(|failure| failure.code);
        assert_eq!(code(&translated_state), code(&original), "{name}: {translated}");
        if let Some(stop) = original.stop.filter(|stop| *stop != StopReason::Other && original.has_finished) {
            assert_eq!(translated_state.stop, Some(stop), "{name}: {translated}");
        }
    }
}

#[test]
fn a_tool_call_of_messages_is_encoded_as_chunks() {
    let text = stream(for_chat(), &fixture("streams/anthropic_tool_call.sse"), &[]);
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
        json!({"id": "msg_1", "object": "chat.completion.chunk", "created": 1_793_880_000, "model": "claude-3-5-sonnet", "choices": [choice]})
    };
    let begun = json!({"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "tide_at", "arguments": ""}});
    let piece = json!({"index": 0, "function": {"arguments": "{\"port\": \"Brest\"}"}});
    let mut last = chunk(json!({}), None);
    last["choices"] = json!([]);
    last["usage"] = json!({"prompt_tokens": 130, "completion_tokens": 15, "total_tokens": 145,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5}});
    let expected = [
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"tool_calls": [begun]}), None),
        chunk(json!({"tool_calls": [piece]}), None),
        chunk(json!({}), Some("tool_calls")),
        last,
    ];
    assert_eq!(json_events(&text), expected);
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_tool_call_of_a_chat_is_encoded_as_message_events() {
    let text = stream(for_messages(), &fixture("streams/openai_tool_call.sse"), &[]);
    let piece = |json: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": json}});
    let usage = json!({"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0});
    let expected = [
        json!({"type": "message_start", "message": {"id": "chatcmpl-1", "type": "message", "role": "assistant",
            "model": "gpt-4o-mini", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "tool_use", "id": "chatcmpl-1_call_1_0", "name": "tide_at", "input": {}}}),
        piece("{\"port\":"),
        piece("\"Brest\"}"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": usage}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(json_events(&text), expected);
    for event in json_events(&text) {
        let kind = event["type"].as_str().unwrap();
        assert!(text.contains(&format!("event: {kind}\ndata: {event}\n\n")), "{kind}");
    }
}

#[test]
fn reasoning_text_and_several_calls_get_a_block_each() {
    let chunk = |delta: Value, reason: Option<&str>| {
        format!(
            "data: {}\n\n",
            json!({"id": "a", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        )
    };
    let call = |index: u64, id: &str, arguments: &str| json!({"tool_calls": [{"index": index, "id": id, "function": {"name": "f", "arguments": arguments}}]});
    let bytes = chunk(json!({"role": "assistant", "reasoning_content": "hm"}), None)
        + ": keep-alive\n\n"
        + &chunk(json!({"content": "I "}), None)
        + &chunk(json!({"content": "look."}), None)
        + "data: {\"half\n\n"
        + &chunk(call(0, "c1", "{"), None)
        + &chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}), None)
        + &chunk(call(1, "c2", "{}"), None)
        // Gemini gives all calls the same index.
        + &chunk(call(1, "c3", "{}"), Some("stop"))
        + &format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 8}}));
    let text = stream(for_messages(), bytes.as_bytes(), &[]);
    let blocks: Vec<_> = json_events(&text)
        .into_iter()
        .filter(|event| event["type"] == "content_block_start")
        .map(|event| {
            (event["index"].as_u64().unwrap(), event["content_block"]["type"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [(0, "thinking"), (1, "text"), (2, "tool_use"), (3, "tool_use"), (4, "tool_use")];
    assert_eq!(blocks, expected.map(|(index, kind)| (index, kind.to_owned())));
    assert_eq!(text.matches("event: content_block_stop").count(), 5, "{text}");
    assert!(text.contains("event: ping\ndata: {\"type\":\"ping\"}\n\n"));
    let last = json_events(&text).into_iter().rev().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    assert_eq!(
        (&last["usage"]["input_tokens"], &last["usage"]["cache_read_input_tokens"]),
        (&1.into(), &8.into())
    );
}

/// Block indexes count text blocks as well; call indexes count only calls.
#[test]
fn several_calls_of_messages_are_numbered_from_zero() {
    let event = |event: Value| format!("data: {event}\n\n");
    let call = |index: u64, id: &str| {
        let block = json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
        let delta = json!({"type": "input_json_delta", "partial_json": "{}"});
        event(json!({"type": "content_block_start", "index": index, "content_block": block}))
            + &event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
            + &event(json!({"type": "content_block_stop", "index": index}))
    };
    let text = stream(for_chat(), (call(1, "a") + &call(4, "b")).as_bytes(), &[]);
    let calls: Vec<_> = json_events(&text)
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].clone())
        .collect();
    let numbers: Vec<_> = calls.iter().map(|call| call["index"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 0, 1, 1], "{text}");
    assert_eq!((&calls[0]["id"], &calls[2]["id"]), (&"a".into(), &"b".into()));
}

#[test]
fn a_call_without_arguments_gets_an_empty_object() {
    let start = json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "t", "name": "now", "input": {}}});
    let stop = json!({"type": "content_block_stop", "index": 3});
    let text = stream(for_chat(), format!("data: {start}\n\ndata: {stop}\n\n").as_bytes(), &[]);
    assert_eq!(
        json_events(&text)[1]["choices"][0]["delta"]["tool_calls"][0],
        json!({"index": 0, "function": {"arguments": "{}"}})
    );
}

#[test]
fn thinking_and_pings_are_translated() {
    let text = stream(for_chat(), &fixture("streams/anthropic_thinking.sse"), &[]);
    let deltas: Vec<_> =
        json_events(&text).into_iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
    assert!(
        deltas.contains(&json!({"reasoning_content": "The moon"}))
            && deltas.contains(&json!({"content": "Ebb"})),
        "{text}"
    );
    assert!(text.contains(": ping\n\n") && !text.contains("c2lnbmF0dXJl"), "{text}");
}

/// Anthropic rejects thinking that it has not signed, and callers send back all thinking that they received.
#[test]
fn reasoning_is_omitted_if_configured() {
    let translator = MessagesToChat::new("deepseek/deepseek-reasoner").omit_reasoning(true);
    let answer = || translate(&translator, &json!({"messages": hello(), "stream": true})).unwrap().response;
    let text = stream(answer(), &fixture("streams/deepseek_reasoning.sse"), &[]);
    assert!(!text.contains("thinking") && text.contains("Ebb") && text.contains("event: ping"), "{text}");
    let body =
        json!({"choices": [{"message": {"content": "Ebb", "reasoning_content": "The moon."}}]}).to_string();
    let whole = answer().whole(http::StatusCode::OK, body.as_bytes()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(whole["content"], json!([{"type": "text", "text": "Ebb"}]));
}

// Pitfall P21 (docs/pitfalls.md).
/// A truncated stream must remain recognizable as truncated.
#[test]
fn a_truncated_stream_gets_no_end() {
    for case in streams() {
        for cut in [case.bytes.len() / 3, case.bytes.len() / 2, case.bytes.len() - 20] {
            let bytes = &case.bytes[..cut];
            let text = stream(case.translator(), bytes, &[]);
            let (original, translated_state) =
                (scan(case.provider, bytes), scan(case.caller_provider(), text.as_bytes()));
            assert_eq!(
                translated_state.has_finished, original.has_finished,
                "{} at {cut}: {text}",
                case.name
            );
        }
    }
}

/// Some servers with Anthropic's dialect end a stream with the stop reason, as many with OpenAI's do.
#[test]
fn a_stream_of_an_unknown_provider_may_end_with_a_stop_reason() {
    let whole = String::from_utf8(fixture("streams/anthropic_plain.sse")).unwrap();
    let bytes = &whole.as_bytes()[..whole.find("event: message_stop").unwrap()];
    let request = json!({"messages": hello(), "stream": true, "stream_options": {"include_usage": true}});
    for (target, is_complete) in [("other/claude", true), ("anthropic/claude", false)] {
        let translation = translate(&ChatToMessages::new(target), &request).unwrap();
        let text = stream(translation.response, bytes, &[]);
        assert_eq!(text.ends_with("data: [DONE]\n\n"), is_complete, "{target}: {text}");
        assert_eq!(text.contains("\"completion_tokens\""), is_complete, "{target}: {text}");
    }
    // It is the end only with a reason, and after all of the content.
    let text =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ebb"}});
    let stop = |reason: &str| json!({"type": "message_delta", "delta": {"stop_reason": reason}});
    let usage = json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 3}});
    for (events, is_complete) in [
        (vec![text.clone(), stop("")], false),
        (vec![text.clone(), stop("end_turn"), text.clone()], false),
        (vec![text.clone(), stop("end_turn"), text.clone(), stop("end_turn")], true),
        (vec![text, stop("end_turn"), usage], true),
    ] {
        let bytes: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let translation = translate(&ChatToMessages::new("other/claude"), &request).unwrap();
        let text = stream(translation.response, bytes.as_bytes(), &[]);
        assert_eq!(text.ends_with("data: [DONE]\n\n"), is_complete, "{text}");
    }
    let chunk = |delta: Value, reason: &str| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let text = chunk(json!({"content": "Ebb"}), "");
    let stop = |reason: &str| chunk(json!({}), reason);
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}});
    for (events, is_complete) in [
        (vec![text.clone(), stop("")], false),
        (vec![text.clone(), stop("stop"), text.clone()], false),
        (vec![text.clone(), stop("stop"), text.clone(), stop("stop")], true),
        (vec![text.clone(), stop("stop"), usage, stop("")], true),
    ] {
        let bytes: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let text = stream(for_messages_from("other"), bytes.as_bytes(), &[]);
        assert_eq!(text.contains("message_stop"), is_complete, "{text}");
        assert_eq!(scan(Provider::Other, bytes.as_bytes()).has_finished, is_complete, "{bytes}");
    }
}

/// Regression: an error in a form that only the scanner recognizes was followed by a stop reason.
#[test]
fn a_stream_that_the_layers_below_saw_fail_gets_no_end() {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": "Ebb"}}]});
    let delta =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ebb"}});
    let error = r#"{"text":"**NETWORK ERROR**","error_code":50001}"#;
    for (mut answer, provider, text, end) in [
        (for_messages(), Provider::OpenAi, chunk, "[DONE]"),
        (for_chat(), Provider::Anthropic, delta, r#"{"type":"message_stop"}"#),
    ] {
        let bytes = format!("data: {text}\n\ndata: {error}\n\ndata: {end}\n\n");
        let failure = scan(provider, bytes.as_bytes()).failure.unwrap();
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.headers.insert("content-type", "text/event-stream".parse().unwrap());
        let outcome = StreamOutcome::new();
        head.extensions.insert(outcome.clone());
        answer.head(&mut head, SystemTime::now()).unwrap();
        outcome.set(failure.into());
        let mut out = BytesMut::new();
        answer.events(bytes.as_bytes(), &mut out).unwrap();
        let out = String::from_utf8(out.to_vec()).unwrap();
        let has_end = ["stop_reason\":\"", "finish_reason\":\"", "message_stop", "[DONE]"];
        assert!(out.contains("Ebb") && !has_end.iter().any(|end| out.contains(end)), "{out}");
    }
}

#[test]
fn an_error_outside_of_the_events_is_translated() {
    let begun = format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": "Ebb"}}]}));
    let bytes = begun + "{\n  \"error\": {\"code\": 429, \"status\": \"RESOURCE_EXHAUSTED\"}\n}\n";
    let events = json_events(&stream(for_messages_from("gemini"), bytes.as_bytes(), &[]));
    assert_eq!(events.last().unwrap()["error"]["type"], "rate_limit_error", "{events:?}");
}

#[test]
fn a_usage_within_a_choice_is_translated() {
    let text = stream(for_messages_from("moonshot"), &fixture("streams/other_usage_in_a_choice.sse"), &[]);
    let usage = json!({"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2889, "output_tokens": 2});
    let events = json_events(&text);
    assert_eq!(events[events.len() - 2]["usage"], usage, "{text}");
}

/// Regression: a call with incomplete arguments was followed by no end and no error if the empty line after
/// the last event was missing.
#[test]
fn a_failure_in_the_last_event_is_an_error_even_without_an_empty_line() {
    let call = json!({"id": "c", "function": {"name": "f", "arguments": "{\"a\""}});
    let chat = json!({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]});
    let block = json!({"type": "tool_use", "id": "c", "name": "f", "input": {}});
    let start = json!({"type": "content_block_start", "index": 0, "content_block": block});
    let delta = json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": "{\"a\""}});
    let reason = json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}});
    type New = fn() -> Box<dyn ResponseTranslator>;
    for (new_translator, events, end) in [
        (for_messages as New, format!("data: {chat}"), "data: [DONE]".to_owned()),
        (for_chat, format!("data: {start}\n\ndata: {delta}"), format!("data: {reason}")),
    ] {
        let (_, failure) = try_stream(new_translator(), format!("{events}\n\n{end}\n\n").as_bytes(), &[]);
        assert!(failure.is_some(), "{events}");
        for last in ["", "\n"] {
            let text = stream(new_translator(), format!("{events}\n\n{end}{last}").as_bytes(), &[]);
            assert!(text.matches("\"error\":").count() == 1, "{text}");
            assert!(!text.contains("message_stop") && !text.contains("[DONE]"), "{text}");
        }
    }
}

/// Regression: without a stop reason, a chat had no chunk with a finish reason, for which clients wait.
#[test]
fn a_complete_stream_has_one_finish_reason() {
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let begun = json!({"type": "message_start", "message": {"id": "a"}});
    let block = json!({"type": "tool_use", "id": "c", "name": "f", "input": {}});
    let start = json!({"type": "content_block_start", "index": 0, "content_block": block});
    let reason = |reason: Value| json!({"type": "message_delta", "delta": {"stop_reason": reason}});
    for (events, expected) in [
        (vec![begun.clone(), delta(json!({"text": "Ebb"}))], "stop"),
        (vec![begun.clone(), delta(json!({"text": "Ebb"})), reason(Value::Null)], "stop"),
        (vec![delta(json!({"text": "Ebb"}))], "stop"),
        (vec![begun.clone()], "stop"),
        (vec![begun.clone(), start], "tool_calls"),
        (vec![begun.clone(), delta(json!({"text": "Ebb"})), reason("max_tokens".into())], "length"),
    ] {
        let bytes: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let text = stream(for_chat(), (bytes + "data: {\"type\":\"message_stop\"}\n\n").as_bytes(), &[]);
        let chunks = json_events(&text);
        let reasons = chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
        assert_eq!(reasons.collect::<Vec<_>>(), [expected], "{text}");
        assert!(chunks.last().unwrap()["usage"].is_object() && text.ends_with("data: [DONE]\n\n"), "{text}");
    }
}

#[test]
fn usage_is_sent_to_a_chat_only_if_requested() {
    let request = json!({"messages": hello(), "stream": true});
    let mut head = http::Request::new(()).into_parts().0;
    let translator = tidegate_translate::ChatToMessages::new("anthropic/claude");
    let answer = tidegate_core::Translator::request(&translator, &mut head, request.to_string().as_bytes())
        .unwrap()
        .response;
    let text = stream(answer, &fixture("streams/anthropic_plain.sse"), &[]);
    assert!(!text.contains("\"usage\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
}

/// A part of an event would be worse than none, and the buffer must stay bounded.
#[test]
fn an_event_above_the_size_limit_breaks_the_stream() {
    for new_translator in [for_chat, for_messages] {
        let mut answer: Box<dyn ResponseTranslator> = new_translator();
        let mut out = BytesMut::new();
        let piece = vec![b'x'; 64 * 1024];
        answer.set_event_cap(1024 * 1024);
        answer.events(b"data: {\"choices\":[{\"delta\":{\"content\":\"", &mut out).unwrap();
        for _ in 0..256 {
            answer.events(&piece, &mut out).unwrap();
        }
        let failure = answer.events(b"\"}}]}\n\n", &mut out).unwrap_err();
        assert_eq!((failure.code.code(), out.len()), ("E3001", 0));
    }
}

fn cuts(length: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=length, 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

#[test]
fn a_stream_in_two_chunks_is_translated_like_one_chunk() {
    for case in streams() {
        let whole = stream(case.translator(), &case.bytes, &[]);
        for cut in 0..case.bytes.len() {
            assert_eq!(stream(case.translator(), &case.bytes, &[cut]), whole, "{} at {cut}", case.name);
        }
    }
}

fn chunked() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let piece = prop_oneof![
        3 => (0..streams().len()).prop_map(|at| streams().swap_remove(at).bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "(data|event)?: ?[\\[{a-z\":}\\]]{0,12}(\r\n|\r|\n){1,2}".prop_map(String::into_bytes),
    ];
    let bytes = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    bytes.prop_flat_map(|bytes| {
        let length = bytes.len();
        (Just(bytes), cuts(length))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_translation_of_any_bytes_does_not_depend_on_the_chunks((bytes, cuts) in chunked()) {
        for new_translator in [for_chat, for_messages] {
            prop_assert_eq!(try_stream(new_translator(), &bytes, &cuts), try_stream(new_translator(), &bytes, &[]));
        }
    }
}
