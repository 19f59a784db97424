//! Translation of requests, responses, streams and errors between OpenAI's chat and Anthropic's messages.

mod arbitrary;
mod call_forms;
mod calls;
mod content_forms;
mod errors;
mod hostile;
mod ids;
mod interleaved;
mod linear;
mod rejected;
mod requests;
mod responses;
mod round_trip;
mod schemas;
mod split_surrogates;
mod stop_sequences;
mod streams;
mod validator;

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::{Response, StatusCode};
use serde_json::Value;
use tidegate_core::{BodyMode, Failure, ResponseTranslator, Translation, Translator, Untranslatable};
use tidegate_translate::{ChatToMessages, MessagesToChat};

/// A target with an unknown provider and model.
const UNKNOWN_TARGET: &str = "unknown/some-model";

/// The shortest conversation.
fn hello() -> Value {
    serde_json::json!([{"role": "user", "content": "Ebb?"}])
}

/// Translates a request. What is sent has to satisfy the rules of the target.
fn translate(translator: &dyn Translator, body: &Value) -> Result<Translation, Untranslatable> {
    let mut head = http::Request::new(()).into_parts().0;
    let translation = translator.request(&mut head, body.to_string().as_bytes())?;
    let sent: Value = serde_json::from_slice(&translation.body).unwrap();
    // The header contains the dialect of the target.
    let checked = if head.headers.contains_key("anthropic-version") {
        validator::messages(&sent)
    } else {
        validator::chat(&sent)
    };
    assert_eq!(checked, Ok(()), "{body}");
    Ok(translation)
}

fn body(translation: Result<Translation, Untranslatable>) -> Value {
    serde_json::from_slice(&translation.unwrap().body).unwrap()
}

fn to_messages(request: &Value) -> Value {
    body(translate(&ChatToMessages::new(UNKNOWN_TARGET), request))
}

fn to_chat(request: &Value) -> Value {
    body(translate(&MessagesToChat::new(UNKNOWN_TARGET), request))
}

/// The response translator for a chat caller that requests the usage.
fn for_chat() -> Box<dyn ResponseTranslator> {
    let request =
        serde_json::json!({"messages": hello(), "stream": true, "stream_options": {"include_usage": true}});
    translate(&ChatToMessages::new("anthropic/claude"), &request).unwrap().response
}

/// The response translator for a messages caller.
fn for_messages() -> Box<dyn ResponseTranslator> {
    for_messages_from("openai/gpt")
}

fn for_messages_from(target: &str) -> Box<dyn ResponseTranslator> {
    let request = serde_json::json!({"messages": hello(), "max_tokens": 9, "stream": true});
    translate(&MessagesToChat::new(target), &request).unwrap().response
}

/// Passes a response head to the translator.
fn head(answer: &mut dyn ResponseTranslator, status: StatusCode, media: &str) -> BodyMode {
    let response = Response::builder().status(status).header("content-type", media).body(()).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_000);
    answer.head(&mut response.into_parts().0, now).unwrap()
}

/// Translates a complete stream in chunks that end at `cuts`.
fn stream(answer: Box<dyn ResponseTranslator>, bytes: &[u8], cuts: &[usize]) -> String {
    let (text, failure) = try_stream(answer, bytes, cuts);
    assert_eq!(failure, None, "{text}");
    text
}

/// The same for a stream that may break: the events before that, and the failure.
fn try_stream(
    mut answer: Box<dyn ResponseTranslator>,
    bytes: &[u8],
    cuts: &[usize],
) -> (String, Option<Failure>) {
    assert_eq!(head(&mut *answer, StatusCode::OK, "text/event-stream"), BodyMode::Events);
    let (mut out, mut from) = (BytesMut::new(), 0);
    for &cut in cuts.iter().chain([&bytes.len()]) {
        if let Err(failure) = answer.events(&bytes[from..cut], &mut out) {
            return (String::from_utf8(out.to_vec()).unwrap(), Some(failure));
        }
        from = cut;
    }
    answer.end(&mut out);
    (String::from_utf8(out.to_vec()).unwrap(), None)
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../tidegate-providers/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The data of all events with JSON data.
fn json_events(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}
