//! What the targets share: how an input is read, and what holds of every failure.
//!
//! An input begins with a few settings, a byte or two each; what follows is what a provider sent. So a recorded
//! reply with settings in front of it is a good first input.

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

/// The provider of this number; any number will do.
pub fn provider(number: u8) -> Provider {
    PROVIDERS[usize::from(number) % PROVIDERS.len()]
}

/// A moment up to the year 2106.
pub fn moment(seconds: [u8; 4]) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u32::from_le_bytes(seconds).into())
}

/// Lines of `name: value` up to an empty line, and what comes after it. A line that is no header is left out.
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

/// No wait is longer than a day, and the provider's word is short and can be printed.
pub fn check(failure: &Failure) {
    assert!(failure.wait().is_none_or(|wait| wait <= RetryHint::MAX_WAIT), "{failure:?}");
    if let Some(word) = &failure.provider_code {
        assert!(word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
    }
}
