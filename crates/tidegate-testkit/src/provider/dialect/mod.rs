//! How a provider says what it says.

mod anthropic;
mod openai;

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

pub(super) use self::anthropic::Anthropic;
pub(super) use self::openai::OpenAi;
use super::limit::Standing;
use super::question::{Endpoint, Question};
use super::reply::ErrorWords;

/// The shapes of one provider's HTTP.
pub(super) trait Dialect: Send + Sync + 'static {
    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint>;

    /// Whether the request carries this key.
    fn has_key(&self, headers: &HeaderMap, key: &str) -> bool;

    fn request_id_header(&self) -> &'static str;

    /// The status for "too many at once".
    fn overloaded(&self) -> u16;

    fn limit_headers(&self, standing: &Standing, now: SystemTime) -> Vec<(&'static str, String)>;

    fn error(&self, status: StatusCode, words: &ErrorWords, request_id: &str) -> Value;

    /// The error as an event of a stream that had begun well.
    fn error_event(&self, words: &ErrorWords, request_id: &str) -> Bytes;

    /// A sign of life without content.
    fn ping(&self) -> Bytes;

    /// An event with something in it that is no JSON.
    fn malformed_event(&self) -> Bytes;

    fn models(&self, models: &[String]) -> Value;

    fn answer(&self, answer: &Answer<'_>) -> Value;

    fn stream(&self, answer: &Answer<'_>) -> Events;
}

/// A good answer, before it has a shape.
pub(super) struct Answer<'a> {
    pub(super) question: &'a Question,
    pub(super) number: usize,
    pub(super) tokens: &'a [String],
    pub(super) finish_reason: Option<&'a str>,
}

impl Answer<'_> {
    fn model(&self) -> &str {
        self.question.model.as_deref().unwrap_or("scripted-model")
    }
}

/// The events of a stream.
pub(super) struct Events {
    pub(super) before: Vec<Bytes>,
    /// One for each token.
    pub(super) tokens: Vec<Bytes>,
    pub(super) after: Vec<Bytes>,
}

/// When all scripted answers were made. Fixed, so that the same script gives the same bytes.
const CREATED: u64 = 1_700_000_000;

/// An event without a name.
fn data(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

/// An event that is named by the `type` of its data.
fn named(value: &Value) -> Bytes {
    let name = value["type"].as_str().unwrap_or("message");
    format!("event: {name}\ndata: {value}\n\n").into()
}
