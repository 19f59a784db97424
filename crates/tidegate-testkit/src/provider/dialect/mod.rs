//! How a provider says what it says.

mod answer;
mod anthropic;
mod bedrock;
mod chat;
mod chat_error;
mod cohere;
mod flavours;
mod framing;
mod gemini;
mod limits;
mod responses;

use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use self::answer::StopWords;
pub(super) use self::answer::{Answer, Events, Stop};
pub(super) use self::anthropic::Anthropic;
pub(super) use self::bedrock::Bedrock;
pub(super) use self::cohere::Cohere;
pub(super) use self::flavours::{AZURE, DEEPSEEK, GROQ, MISTRAL, OPENAI, OPENROUTER};
pub(super) use self::framing::{Event, Framer, Framing};
pub(super) use self::gemini::Gemini;
pub(super) use self::responses::Responses;
use super::limit::Standing;
use super::question::{Endpoint, Question};
use super::reply::ErrorWords;

/// The shapes of one provider's HTTP.
pub(super) trait Dialect: Send + Sync + 'static {
    /// The path of what clients call the base URL.
    fn base(&self) -> &'static str;

    /// Where `model` is asked.
    fn chat_path(&self, model: &str, is_stream: bool) -> String;

    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint>;

    /// Adds what the path says and the body does not.
    fn read_path(&self, _request: &Request<()>, _question: &mut Question) {}

    /// Whether the request carries this key.
    fn has_key(&self, request: &Request<()>, key: &str) -> bool {
        bearer(request.headers()) == Some(key)
    }

    fn request_id_header(&self) -> &'static str;

    /// The status for "too many at once".
    fn overloaded(&self) -> u16 {
        503
    }

    /// What is left of a limit, and on a refusal when to come back, as far as headers tell it.
    fn limit_headers(&self, _standing: &Standing, _now: SystemTime) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn error(&self, status: StatusCode, words: &ErrorWords, request_id: &str) -> Value;

    /// The error as an event of a stream that had begun well.
    fn error_event(&self, words: &ErrorWords, request_id: &str) -> Event;

    /// An answer that ends because the provider failed, where that is not told by an error event.
    fn failed_event(&self, words: &ErrorWords, request_id: &str) -> Event {
        self.error_event(words, request_id)
    }

    /// A sign of life without content.
    fn ping(&self) -> Event;

    /// An event with something in it that is no JSON.
    fn malformed_event(&self) -> Event;

    fn models(&self, models: &[String]) -> Value;

    fn answer(&self, answer: &Answer<'_>) -> Value;

    fn stream(&self, answer: &Answer<'_>) -> Events;
}

/// When all scripted answers were made. Fixed, so that the same script gives the same bytes.
const CREATED: u64 = 1_700_000_000;

/// The key in the usual header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    text(headers, AUTHORIZATION.as_str())?.strip_prefix("Bearer ")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
