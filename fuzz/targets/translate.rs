//! Translates requests, responses and streams of arbitrary bytes in both directions. The output is JSON, has
//! a bounded length, and does not depend on how the input is split. A translated request satisfies the rules
//! of its target.
//!
//! Input: the direction and the target, eight lengths of pieces, the length of the request, the request, and
//! the response to it.

#![no_main]

use std::time::SystemTime;

use bytes::BytesMut;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;
use tidegate_core::{BodyMode, Failure, ResponseTranslator, Translator};
use tidegate_fuzz::check;
use tidegate_translate::{ChatToMessages, MessagesToChat};

// The rules that the tests check as well.
#[path = "../../crates/tidegate-translate/tests/translate/validator.rs"]
mod validator;

/// The shortest valid request, in both dialects.
const REQUESTS: [&[u8]; 2] = [
    br#"{"messages":[{"role":"user","content":"q"}],"stream_options":{"include_usage":true}}"#,
    br#"{"max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#,
];

fn translator(settings: u8) -> Box<dyn Translator> {
    match settings % 8 {
        0 => Box::new(ChatToMessages::new("anthropic/claude-3-5-sonnet")),
        2 => Box::new(ChatToMessages::new("anthropic/claude-sonnet-4-5")),
        4 => Box::new(ChatToMessages::new("anthropic/claude-opus-4-7")),
        6 => Box::new(ChatToMessages::new("unknown/some-model")),
        1 => Box::new(MessagesToChat::new("openai/gpt-5")),
        3 => Box::new(MessagesToChat::new("mistral/mistral-large")),
        5 => Box::new(MessagesToChat::new("unknown/some-model").omit_reasoning(true)),
        _ => Box::new(MessagesToChat::new("unknown/some-model")),
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// The translator of the response.
fn response_translator(settings: u8) -> Box<dyn ResponseTranslator> {
    let mut head = http::Request::new(()).into_parts().0;
    let request = translator(settings).request(&mut head, REQUESTS[usize::from(settings % 2)]);
    request.expect("a valid request").response
}

fn begin(response_translator: &mut dyn ResponseTranslator, media: &str) -> BodyMode {
    let head = http::Response::builder().header("content-type", media).body(()).expect("a head");
    response_translator
        .head(&mut head.into_parts().0, SystemTime::UNIX_EPOCH)
        .expect("a head that can be read")
}

/// The translation of a stream in pieces of these lengths, used cyclically, and the failure that ended it.
fn translate_stream(settings: u8, mut bytes: &[u8], lengths: &[u8]) -> (BytesMut, Option<Failure>) {
    let mut response_translator = response_translator(settings);
    assert_eq!(begin(&mut *response_translator, "text/event-stream"), BodyMode::Events);
    let mut out = BytesMut::new();
    for &length in lengths.iter().cycle() {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(length).max(1)));
        if piece.is_empty() {
            break;
        }
        if let Err(failure) = response_translator.events(piece, &mut out) {
            check(&failure);
            return (out, Some(failure));
        }
        bytes = rest;
    }
    response_translator.end(&mut out);
    (out, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&[settings, a, b, ref lengths @ ..], bytes)) = input.split_first_chunk::<11>() else { return };
    let (request, response) = bytes.split_at(bytes.len().min(u16::from_le_bytes([a, b]).into()));

    let mut head = http::Request::new(()).into_parts().0;
    if let Ok(translation) = translator(settings).request(&mut head, request) {
        assert!(is_json(&translation.body), "not JSON");
        assert!(translation.body.len() <= 1024 + 16 * request.len(), "{} bytes", translation.body.len());
        let sent: Value = serde_json::from_slice(&translation.body).expect("JSON");
        let checked = if settings % 2 == 0 { validator::messages(&sent) } else { validator::chat(&sent) };
        if let Err(problem) = checked {
            panic!("{problem}, from {}", String::from_utf8_lossy(request));
        }
    }

    for status in [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE] {
        let mut response_translator = response_translator(settings);
        begin(&mut *response_translator, "application/json");
        match response_translator.whole(status, response) {
            Ok(body) => {
                assert!(is_json(&body), "not JSON");
                assert!(body.len() <= 1024 + 16 * response.len(), "{} bytes", body.len());
            }
            Err(failure) => check(&failure),
        }
    }

    let (whole, broke) = translate_stream(settings, response, &[255]);
    assert_eq!(
        translate_stream(settings, response, lengths),
        (whole.clone(), broke),
        "in pieces of {lengths:?}"
    );
    assert!(whole.len() <= 8192 + 64 * response.len(), "{} bytes", whole.len());
    let text = std::str::from_utf8(&whole).expect("text");
    let mut has_ended = false;
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        assert!(!has_ended, "more after the end");
        has_ended = data == "[DONE]" || data == r#"{"type":"message_stop"}"#;
        assert!(data == "[DONE]" || is_json(data.as_bytes()), "not JSON");
    }
});
