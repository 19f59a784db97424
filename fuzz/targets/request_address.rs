//! Whatever headers and body a request has, its address replaces the model alone, and no credential, no
//! header of the connection and no header of another dialect is left.
//!
//! Input: the dialect, lines of headers, an empty line, and the body.

#![no_main]

use bytes::Bytes;
use http::Request;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::Payload;
use tidegate::chain::{ProviderSettings, TargetAddress, is_provider_header};
use tidegate_fuzz::headers;

fuzz_target!(|input: &[u8]| {
    let Some((&number, rest)) = input.split_first() else { return };
    let (headers, body) = headers(rest);
    let (settings, path, key, other) = match number % 2 {
        0 => (
            ProviderSettings::openai("http://p.test/v1"),
            "/v1/chat/completions",
            "authorization",
            "anthropic-",
        ),
        _ => (ProviderSettings::anthropic("http://p.test/v1"), "/v1/messages", "x-api-key", "openai-"),
    };
    let address = TargetAddress::new("p/m", &settings.api_key("our-key").only_headers([]));
    let body = Bytes::copy_from_slice(body);
    let mut request = Request::post(path).body(Payload::from(body.clone())).expect("a request");
    *request.headers_mut() = headers;
    if address.address(&mut request).is_err() {
        return;
    }
    for (name, value) in request.headers() {
        assert!(name == key || is_provider_header(name) && !name.as_str().starts_with(other), "{name}");
        assert!(name != key || value.as_bytes().ends_with(b"our-key"), "{value:?}");
    }
    // Fields that are not read may have escapes that are no text.
    let Ok(mut before) = serde_json::from_slice::<Value>(&body) else { return };
    let sent: Value = serde_json::from_slice(request.body().bytes().expect("in memory")).expect("JSON");
    before["model"] = "m".into();
    assert_eq!(sent, before);
});
