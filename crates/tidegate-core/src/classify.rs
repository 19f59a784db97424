use std::time::SystemTime;

use http::HeaderMap;
use http::header::ACCEPT;
use http::response::Parts;

use crate::{Announced, Outcome, Scan};

/// Judges what a provider answered.
///
/// Implementations know a provider; the layers know only the [`Outcome`]. Pure: bytes and a `now` in, meaning out.
pub trait Classify: Send + Sync + 'static {
    /// Whether the head is not enough, so that the body (a bounded part of it) has to be read first.
    fn wants_body(&self, head: &Parts) -> bool;

    /// The outcome of the answer. `body` is empty unless it was wanted, and may be cut off anywhere.
    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Outcome;

    /// Whether the caller asked for a stream, so that it can be missed before it has begun. `body` is the request's,
    /// as far as it is at hand. By default the `Accept` header says so.
    fn expects_stream(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let _ = body;
        headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == b"text/event-stream")
    }

    /// Who reads the body of a good answer, if it is a stream whose meaning is known.
    fn scan(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        let _ = head;
        None
    }

    /// Who finds the tokens that were counted in the body of a good answer that is no stream. Asked only when somebody
    /// wants to know ([`Meter`](crate::Meter)).
    fn meter(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        let _ = head;
        None
    }

    /// What the headers of an answer, good or bad, say of the provider's limits. By default, what
    /// [any provider](Announced::from_headers) may say.
    fn announced(&self, headers: &HeaderMap) -> Announced {
        Announced::from_headers(headers)
    }
}

/// Judges by status and headers alone; never reads a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusClassifier;

impl Classify for StatusClassifier {
    fn wants_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, head: &Parts, _: &[u8], now: SystemTime) -> Outcome {
        Outcome::of_head(head.status, &head.headers, now)
    }
}
