//! The time to translate a request or a response grows with its size, and not with the square of it.

use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use serde_json::{Value, json};
use tidegate_core::Translator;
use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::{UNKNOWN_TARGET, for_chat, for_messages, hello};

fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

fn fields(count: usize, value: impl Fn(usize) -> Value) -> Value {
    Value::Object((0..count).map(|at| (format!("{at:07}"), value(at))).collect())
}

/// A schema with which OpenAI and Anthropic accept `strict`.
fn strict_schema(count: usize) -> Value {
    let required = list(count, |at| format!("{:07}", count - 1 - at).into());
    let properties = fields(count, |_| json!({"type": "string"}));
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// A schema with definitions of which each refers to the next.
fn chained_schema(count: usize) -> Value {
    let definitions = fields(count, |at| json!({"$ref": format!("#/$defs/{:07}", at + 1)}));
    json!({"type": "object", "properties": {}, "additionalProperties": false, "$defs": definitions})
}

fn function(name: &str, schema: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "strict": true, "parameters": schema}})
}

fn tool(name: &str, schema: Value) -> Value {
    json!({"name": name, "strict": true, "input_schema": schema})
}

/// A chunk with a piece of the arguments of a call.
fn arguments(piece: &str) -> Value {
    let call = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": piece}});
    json!({"choices": [{"delta": {"tool_calls": [call]}}]})
}

type Case = (&'static str, fn(usize) -> Value);

const CHATS: &[Case] = &[
    ("properties", |n| json!({"messages": hello(), "tools": [function("f", strict_schema(n))]})),
    ("definitions", |n| json!({"messages": hello(), "tools": [function("f", chained_schema(n))]})),
    ("keywords", |n| json!({"messages": hello(), "tools": [function("f", fields(n, |at| at.into()))]})),
    (
        "tools",
        |n| json!({"messages": hello(), "tools": list(n, |at| function(&format!("f.{at}"), json!({})))}),
    ),
    ("messages", |n| {
        json!({"messages": list(2 * n + 1, |at| {
            json!({"role": if at % 2 == 0 { "user" } else { "assistant" }, "content": at.to_string()})
        })})
    }),
    ("calls", |n| {
        let calls = list(
            n,
            |_| json!({"id": "a|b", "type": "function", "function": {"name": "f.g", "arguments": "{}"}}),
        );
        let results = list(n, |_| json!({"role": "tool", "tool_call_id": "a|b", "content": "x"}));
        let begin =
            [json!({"role": "user", "content": "x"}), json!({"role": "assistant", "tool_calls": calls})];
        let messages = [&begin[..], results.as_array().unwrap()].concat();
        json!({"messages": messages})
    }),
    (
        "parts",
        |n| json!({"messages": [{"role": "user", "content": list(n, |_| json!({"type": "text", "text": "a"}))}]}),
    ),
    ("surrogates", |n| json!({"messages": [{"role": "user", "content": "\u{1f600}\\".repeat(n)}]})),
];

const MESSAGES: &[Case] = &[
    ("properties", |n| json!({"max_tokens": 9, "messages": hello(), "tools": [tool("f", strict_schema(n))]})),
    (
        "definitions",
        |n| json!({"max_tokens": 9, "messages": hello(), "tools": [tool("f", chained_schema(n))]}),
    ),
    (
        "keywords",
        |n| json!({"max_tokens": 9, "messages": hello(), "tools": [tool("f", fields(n, |at| at.into()))]}),
    ),
    (
        "tools",
        |n| json!({"max_tokens": 9, "messages": hello(), "tools": list(n, |at| tool(&format!("f.{at}"), json!({})))}),
    ),
    ("messages", |n| {
        json!({"max_tokens": 9, "messages": list(2 * n + 1, |at| {
            json!({"role": if at % 2 == 0 { "user" } else { "assistant" }, "content": at.to_string()})
        })})
    }),
    ("calls", |n| {
        let calls = list(
            n,
            |at| json!({"type": "tool_use", "id": "x".repeat(50) + &at.to_string(), "name": "f.g", "input": {}}),
        );
        let results = list(
            n,
            |at| json!({"type": "tool_result", "tool_use_id": "x".repeat(50) + &at.to_string(), "content": "x"}),
        );
        json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": calls},
            {"role": "user", "content": results}]})
    }),
    (
        "system",
        |n| json!({"max_tokens": 9, "messages": hello(), "system": list(n, |_| json!({"type": "text", "text": "a"}))}),
    ),
];

/// Completions, for a caller of messages.
const COMPLETIONS: &[Case] = &[
    ("calls", |n| {
        let calls = list(n, |_| json!({"id": "a", "function": {"name": "f", "arguments": {"a": {}}}}));
        json!({"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]})
    }),
    ("parts", |n| json!({"choices": [{"message": {"content": list(n, |_| json!({"text": "a"}))}}]})),
    ("choices", |n| json!({"choices": list(n, |at| json!({"index": n - at, "message": {"content": "a"}}))})),
];

/// Messages, for a caller of chats.
const ANSWERS: &[Case] = &[
    ("calls", |n| {
        json!({"stop_reason": "tool_use",
        "content": list(n, |_| json!({"type": "tool_use", "id": "a", "name": "f", "input": {"input": {}}}))})
    }),
    ("texts", |n| json!({"content": list(n, |_| json!({"type": "text", "text": "a"}))})),
];

/// The chunks of a completion, for a caller of messages.
const CHUNKS: &[Case] = &[
    ("texts", |n| list(n, |_| json!({"choices": [{"delta": {"content": "a"}}]}))),
    ("white space", |n| list(n, |_| json!({"choices": [{"delta": {"content": " "}}]}))),
    ("arguments", |n| list(n, |at| arguments(if at == 0 { "{\"a\":\"" } else { "x" }))),
    ("arguments in a string", |n| list(n, |at| arguments(if at == 0 { "\"{" } else { "x" }))),
];

/// The events of a message, for a caller of chats.
const EVENTS: &[Case] = &[
    ("texts", |n| list(n, |_| json!({"type": "content_block_delta", "delta": {"text": "a"}}))),
    ("blocks", |n| {
        list(
            n,
            |at| json!({"type": "content_block_start", "index": at, "content_block": {"type": "text", "text": "a"}}),
        )
    }),
];

/// The least time of the processor for `run` in a few runs. Other work on the machine does not count, and slows a
/// run down only a little.
fn cpu_time(run: impl Fn()) -> Duration {
    #[cfg(unix)]
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(now).unwrap()
    };
    #[cfg(not(unix))]
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let once = |_| {
        let start = now();
        run();
        now() - start
    };
    (0..3).map(once).min().unwrap_or_default()
}

/// Whether ten times the size takes about ten times as long, and not a hundred times.
fn is_linear(case: fn(usize) -> Value, run: impl Fn(&[u8])) -> bool {
    let [small, large] = [400, 4_000].map(|count| case(count).to_string().into_bytes());
    cpu_time(|| run(&large)) < 25 * cpu_time(|| run(&small))
}

#[test]
fn the_time_to_translate_a_request_grows_with_its_size() {
    let head = || http::Request::new(()).into_parts().0;
    for (name, case) in CHATS {
        let translator = ChatToMessages::new("anthropic/claude-sonnet-4-5");
        assert!(is_linear(*case, |body| drop(translator.request(&mut head(), body).unwrap())), "{name}");
    }
    for (name, case) in MESSAGES {
        let translator = MessagesToChat::new(UNKNOWN_TARGET);
        assert!(is_linear(*case, |body| drop(translator.request(&mut head(), body).unwrap())), "{name}");
    }
}

#[test]
fn the_time_to_translate_a_response_grows_with_its_size() {
    for (name, case) in COMPLETIONS {
        let whole = |body: &[u8]| drop(for_messages().whole(StatusCode::OK, body).unwrap());
        assert!(is_linear(*case, whole), "{name}");
    }
    for (name, case) in ANSWERS {
        assert!(is_linear(*case, |body| drop(for_chat().whole(StatusCode::OK, body).unwrap())), "{name}");
    }
}

#[test]
fn the_time_to_translate_a_stream_grows_with_its_size() {
    let events = |body: &[u8]| {
        let events: Vec<Value> = serde_json::from_slice(body).unwrap();
        events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>()
    };
    for (name, case) in CHUNKS {
        let run = |body: &[u8]| {
            for_messages().events(events(body).as_bytes(), &mut BytesMut::new()).unwrap();
        };
        assert!(is_linear(*case, run), "{name}");
    }
    for (name, case) in EVENTS {
        let run = |body: &[u8]| for_chat().events(events(body).as_bytes(), &mut BytesMut::new()).unwrap();
        assert!(is_linear(*case, run), "{name}");
    }
}

/// Whether the time for `a` and `b` together is about that for each of them, and does not grow with their
/// product.
fn is_sum(a: usize, b: usize, body: impl Fn(usize, usize) -> Vec<u8>, run: impl Fn(&[u8])) -> bool {
    let time = |a: usize, b: usize| {
        let body = body(a, b);
        cpu_time(|| run(&body))
    };
    time(a, b) < 3 * (time(a, 1) + time(1, b))
}

/// All of the text is the beginning of the sequence.
#[test]
fn the_time_to_search_for_a_stop_sequence_does_not_grow_with_its_length() {
    let body = |text: usize, length: usize| {
        let stops = ["a".repeat(length) + "b"];
        let request = json!({"messages": hello(), "max_tokens": 9, "stop_sequences": stops}).to_string();
        let text = json!({"choices": [{"delta": {"content": "a".repeat(text)}}]});
        format!("{request}\ndata: {text}\n\n").into_bytes()
    };
    let run = |body: &[u8]| {
        let (request, events) = body.split_at(body.iter().position(|byte| *byte == b'\n').unwrap());
        let head = &mut http::Request::new(()).into_parts().0;
        let translator = MessagesToChat::new("openai/gpt-5");
        let mut response = translator.request(head, request).unwrap().response;
        response.events(&events[1..], &mut BytesMut::new()).unwrap();
    };
    assert!(is_sum(100_000, 999, body, run));
}

#[test]
fn arguments_are_read_once_however_many_calls_came_before() {
    let body = |calls: usize, length: usize| {
        let call = |at: usize| json!({"index": at, "function": {"name": "f", "arguments": "{\"a\":1}"}});
        let delta = |at: usize| json!({"choices": [{"delta": {"tool_calls": [call(at)]}}]});
        let whole = json!({"function": {"name": "f", "arguments": {"a": "x".repeat(length)}}});
        let message =
            json!({"choices": [{"message": {"tool_calls": [whole]}, "finish_reason": "tool_calls"}]});
        let events = (0..calls).map(delta).chain([message]);
        events.map(|event| format!("data: {event}\n\n")).collect::<String>().into_bytes()
    };
    let run = |body: &[u8]| for_messages().events(body, &mut BytesMut::new()).unwrap();
    assert!(is_sum(1000, 200_000, body, run));
}

#[test]
fn a_turn_is_added_in_the_same_time_however_many_calls_were_answered() {
    let body = |calls: usize, turns: usize| {
        let call = |at: usize| json!({"id": at.to_string(), "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let result = |at: usize| json!({"role": "tool", "tool_call_id": at.to_string(), "content": "x"});
        let turn = |at: usize| json!({"role": if at.is_multiple_of(2) { "assistant" } else { "user" }, "content": "x"});
        let begin = json!({"role": "assistant", "tool_calls": list(calls, call)});
        let messages = [begin].into_iter().chain((0..calls).map(result)).chain((0..2 * turns).map(turn));
        json!({"messages": messages.collect::<Value>()}).to_string().into_bytes()
    };
    let translator = ChatToMessages::new("anthropic/claude");
    let run = |body: &[u8]| {
        drop(translator.request(&mut http::Request::new(()).into_parts().0, body).unwrap());
    };
    assert!(is_sum(10_000, 10_000, body, run));
}
