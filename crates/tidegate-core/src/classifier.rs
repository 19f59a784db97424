use std::time::SystemTime;

use http::HeaderMap;
use http::header::ACCEPT;
use http::response::Parts;

use crate::{Outcome, ReportedLimits, Scan};

/// Judges what a provider answered.
///
/// Implementations know a provider; the layers know only the [`Outcome`]. Pure: bytes and a `now` in, meaning out.
pub trait Classifier: Send + Sync + 'static {
    /// Whether the head is not enough, so that the body (a bounded part of it) has to be read first.
    fn needs_body(&self, head: &Parts) -> bool;

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

    /// What the beginning of a good answer says that is no stream: whether it is one, or only an error that comes with a
    /// good status. `beginning` is empty at first, so that the head alone may settle it, and may be cut off anywhere;
    /// it then grows as long as nothing is said, and what was said of it once is said of all that begin like it.
    ///
    /// Of an error [`classify`](Self::classify) is asked what it means. By default the head is believed.
    fn probe_body(&self, head: &Parts, beginning: &[u8]) -> BodyProbe {
        let _ = (head, beginning);
        BodyProbe::Success
    }

    /// Who finds the tokens that were counted in the body of a good answer that is no stream. Asked only when somebody
    /// wants to know ([`UsageMeter`](crate::UsageMeter)).
    fn usage_scanner(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        let _ = head;
        None
    }

    /// What the headers of an answer, good or bad, say of the provider's limits. By default, what
    /// [any provider](ReportedLimits::from_headers) may say.
    fn reported_limits(&self, headers: &HeaderMap) -> ReportedLimits {
        ReportedLimits::from_headers(headers)
    }
}

/// What the beginning of an answer says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyProbe {
    /// It is one.
    Success,
    /// Nothing yet.
    Unclear,
    /// It is none: an error, whatever the status says.
    Error,
}

/// Judges by status and headers alone; never reads a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusClassifier;

impl Classifier for StatusClassifier {
    fn needs_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, head: &Parts, _: &[u8], now: SystemTime) -> Outcome {
        Outcome::of_head(head.status, &head.headers, now)
    }
}
