//! The dialects: the wire formats of the providers.

mod anthropic;
mod bedrock;
mod chat;
mod chat_error;
mod chat_variants;
mod cohere;
mod completion;
mod framing;
mod gemini;
mod limits;
mod responses;

use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

pub(super) use self::anthropic::Anthropic;
pub(super) use self::bedrock::Bedrock;
pub(super) use self::chat_variants::{AZURE, DEEPSEEK, GROQ, MISTRAL, OPENAI, OPENROUTER};
pub(super) use self::cohere::Cohere;
use self::completion::StopReasons;
pub(super) use self::completion::{Completion, StreamEvents};
pub(super) use self::framing::{EventFramer, WireEvent};
pub(super) use self::gemini::Gemini;
pub(super) use self::responses::Responses;
use super::error_spec::ErrorSpec;
use super::framing::Framing;
use super::limit::LimitState;
use super::request_info::{ApiEndpoint, RequestInfo};
use super::stop_kind::StopKind;

/// The HTTP interface of one provider.
pub(super) trait TestDialect: Send + Sync + 'static {
    /// The path of the base URL of clients.
    fn base(&self) -> &'static str;

    /// The path of a chat request for `model`.
    fn chat_path(&self, model: &str, is_stream: bool) -> String;

    fn endpoint(&self, request: &Request<()>) -> Option<ApiEndpoint>;

    /// Adds the properties that are in the path and not in the body.
    fn read_path(&self, _request: &Request<()>, _question: &mut RequestInfo) {}

    /// Whether the request carries this API key.
    fn has_key(&self, request: &Request<()>, key: &str) -> bool {
        bearer(request.headers()) == Some(key)
    }

    fn request_id_header(&self) -> &'static str;

    /// The status of overload.
    fn overloaded(&self) -> u16 {
        503
    }

    /// The rate limit headers of a response, and the retry delay of a rejection.
    fn limit_headers(&self, _standing: &LimitState, _now: SystemTime) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn error(&self, status: StatusCode, spec: &ErrorSpec, request_id: &str) -> Value;

    /// The error event of a stream after a successful head.
    fn error_event(&self, spec: &ErrorSpec, request_id: &str) -> WireEvent;

    /// The event of a stream that fails, if the dialect has one that is not an error event.
    fn failed_event(&self, spec: &ErrorSpec, request_id: &str) -> WireEvent {
        self.error_event(spec, request_id)
    }

    /// A keep-alive event without content.
    fn ping(&self) -> WireEvent;

    /// An event with data that is not JSON.
    fn malformed_event(&self) -> WireEvent;

    fn models(&self, models: &[String]) -> Value;

    fn completion(&self, completion: &Completion<'_>) -> Value;

    fn stream(&self, completion: &Completion<'_>) -> StreamEvents;
}

/// The creation time of all scripted responses. It is fixed, so that the same script gives the same bytes.
const CREATED: u64 = 1_700_000_000;

/// The API key in the header `authorization`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    text(headers, AUTHORIZATION.as_str())?.strip_prefix("Bearer ")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
