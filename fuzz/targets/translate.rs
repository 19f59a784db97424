//! Requests, answers and streams of any bytes, in both directions: what is told is JSON, not much longer than what was
//! heard, and the same however it is cut.
//!
//! An input: the direction and the target, eight lengths of pieces, how long the request is, the request, and what
//! is answered to it.

#![no_main]

use std::time::SystemTime;

use bytes::BytesMut;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tidegate_core::{Failure, ResponseTranslator, BodyMode, Translator};
use tidegate_fuzz::check;
use tidegate_providers::translate::{ChatToMessages, MessagesToChat};

/// The shortest that can be asked, in both dialects.
const ASKED: [&[u8]; 2] = [
    br#"{"messages":[{"role":"user","content":"q"}],"stream_options":{"include_usage":true}}"#,
    br#"{"max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#,
];

fn translator(settings: u8) -> Box<dyn Translator> {
    match settings % 8 {
        0 => Box::new(ChatToMessages::new("anthropic/claude-3-5-sonnet")),
        2 => Box::new(ChatToMessages::new("anthropic/claude-sonnet-4-5")),
        4 => Box::new(ChatToMessages::new("anthropic/claude-opus-4-7")),
        6 => Box::new(ChatToMessages::new("somebody/some-model")),
        1 => Box::new(MessagesToChat::new("openai/gpt-5")),
        3 => Box::new(MessagesToChat::new("mistral/mistral-large")),
        5 => Box::new(MessagesToChat::new("somebody/some-model").omit_reasoning(true)),
        _ => Box::new(MessagesToChat::new("somebody/some-model")),
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Who tells what is answered.
fn interpreter(settings: u8) -> Box<dyn ResponseTranslator> {
    let mut head = http::Request::new(()).into_parts().0;
    let asked = translator(settings).request(&mut head, ASKED[usize::from(settings % 2)]);
    asked.expect("a good request").answer
}

fn begin(answer: &mut dyn ResponseTranslator, media: &str) -> BodyMode {
    let head = http::Response::builder().header("content-type", media).body(()).expect("a head");
    answer.head(&mut head.into_parts().0, SystemTime::UNIX_EPOCH).expect("a head that can be read")
}

/// All that is told of a stream in pieces of these lengths, taken by turns, and what broke it.
fn told(settings: u8, mut bytes: &[u8], lengths: &[u8]) -> (BytesMut, Option<Failure>) {
    let mut answer = interpreter(settings);
    assert_eq!(begin(&mut *answer, "text/event-stream"), BodyMode::Events);
    let mut out = BytesMut::new();
    for &length in lengths.iter().cycle() {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(length).max(1)));
        if piece.is_empty() {
            break;
        }
        if let Err(failure) = answer.events(piece, &mut out) {
            check(&failure);
            return (out, Some(failure));
        }
        bytes = rest;
    }
    answer.end(&mut out);
    (out, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&[settings, a, b, ref lengths @ ..], bytes)) = input.split_first_chunk::<11>() else { return };
    let (asked, answered) = bytes.split_at(bytes.len().min(u16::from_le_bytes([a, b]).into()));

    let mut head = http::Request::new(()).into_parts().0;
    if let Ok(translation) = translator(settings).request(&mut head, asked) {
        assert!(is_json(&translation.body), "not JSON");
        assert!(translation.body.len() <= 1024 + 16 * asked.len(), "{} bytes", translation.body.len());
    }

    for status in [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE] {
        let mut answer = interpreter(settings);
        begin(&mut *answer, "application/json");
        match answer.whole(status, answered) {
            Ok(body) => {
                assert!(is_json(&body), "not JSON");
                assert!(body.len() <= 1024 + 16 * answered.len(), "{} bytes", body.len());
            }
            Err(failure) => check(&failure),
        }
    }

    let (whole, broke) = told(settings, answered, &[255]);
    assert_eq!(told(settings, answered, lengths), (whole.clone(), broke), "in pieces of {lengths:?}");
    assert!(whole.len() <= 8192 + 64 * answered.len(), "{} bytes", whole.len());
    let text = std::str::from_utf8(&whole).expect("text");
    let mut has_ended = false;
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        assert!(!has_ended, "more after the end");
        has_ended = data == "[DONE]" || data == r#"{"type":"message_stop"}"#;
        assert!(data == "[DONE]" || is_json(data.as_bytes()), "not JSON");
    }
});
