//! Shared parts of the targets: parsing of the input, and the invariants of every failure.
//!
//! An input begins with a few settings of one or two bytes each. The rest is the provider's response. A
//! recorded response with settings in front is therefore a good seed.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_core::{Failure, RetryHint};
use tidegate_providers::Provider;

const PROVIDERS: [Provider; 15] = [
    Provider::OpenAi,
    Provider::Azure,
    Provider::Anthropic,
    Provider::Gemini,
    Provider::Vertex,
    Provider::Mistral,
    Provider::Groq,
    Provider::DeepSeek,
    Provider::Cohere,
    Provider::Together,
    Provider::OpenRouter,
    Provider::Bedrock,
    Provider::Cerebras,
    Provider::XAi,
    Provider::Other,
];

/// Maps any number to a provider.
pub fn provider(number: u8) -> Provider {
    PROVIDERS[usize::from(number) % PROVIDERS.len()]
}

/// A time up to the year 2106.
pub fn time(seconds: [u8; 4]) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u32::from_le_bytes(seconds).into())
}

/// Parses lines of `name: value` up to an empty line, and returns the rest. Lines that are not headers are
/// skipped.
pub fn headers(mut bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let line = &bytes[..end];
        bytes = &bytes[end + 1..];
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, bytes)
}

/// Asserts that the wait is at most a day, and that the provider's code is short and printable.
pub fn check(failure: &Failure) {
    assert!(failure.wait().is_none_or(|wait| wait <= RetryHint::MAX_WAIT), "{failure:?}");
    if let Some(code) = &failure.provider_code {
        assert!(code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic()), "{code:?}");
    }
}
