use std::time::SystemTime;

use bytes::Bytes;
use http::header::ACCEPT;
use http::response::Parts;
use http::{HeaderMap, Uri};

use crate::{Failure, Outcome, ReportedLimits, Scan};

/// Classifies the response of a provider as an [`Outcome`].
///
/// Implementations contain the knowledge about a provider; the layers use the [`Outcome`] alone.
/// Implementations are pure: the result depends on the bytes and on `now` only.
pub trait Classifier: Send + Sync + 'static {
    /// Whether the head does not determine the outcome, so that a bounded part of the body has to be read
    /// first.
    ///
    /// Called for responses with a status of 400 or above. The body of any other is read where
    /// [`probe_body`](Self::probe_body) or [`probe_answer`](Self::probe_answer) requests it.
    fn needs_body(&self, head: &Parts) -> bool;

    /// The outcome of the response. `body` is empty unless [`needs_body`](Self::needs_body) returned `true`,
    /// or [`probe_answer`](Self::probe_answer) or [`probe_body`](Self::probe_body) has shown that it is a
    /// failure in spite of its status. It may be cut off anywhere.
    ///
    /// A response that was shown to be a failure is one: if the result is not, it is a
    /// [failure without an answer](Failure::no_answer), E3001.
    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Outcome;

    /// Whether the caller requested a stream, so that timers for a stream can run before the response begins.
    ///
    /// `headers` and `body` are those of the request; `body` is empty if it is not buffered. By default the
    /// `Accept` header decides.
    fn expects_stream(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let _ = body;
        headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == b"text/event-stream")
    }

    /// The answer that a POST request is for, if a model answers at this URI.
    ///
    /// A successful response to such a request has to show an answer of this endpoint, and in this form:
    /// [`probe_answer`](Self::probe_answer) reads it. The responses of all other requests are classified by
    /// [`scan`](Self::scan) and [`probe_body`](Self::probe_body). `body` is `None` if it is not buffered. By
    /// default no path is known.
    fn expected_answer(&self, uri: &Uri, headers: &HeaderMap, body: Option<&[u8]>) -> Option<ExpectedAnswer> {
        let _ = (uri, headers, body);
        None
    }

    /// What the beginning of a successful response shows, if the request is [for an
    /// answer](Self::expected_answer) like this. The bytes decide, and not the `content-type` alone.
    ///
    /// Called like [`probe_body`](Self::probe_body). [`BodyProbe::Events`] for an empty `beginning` only
    /// means that the head announces events.
    fn probe_answer(&self, head: &Parts, expected: ExpectedAnswer, beginning: &[u8]) -> BodyProbe {
        let _ = expected;
        self.probe_body(head, beginning)
    }

    /// Whether a complete body that [`probe_answer`](Self::probe_answer) has left unclear contains the
    /// answer.
    fn is_answer(&self, expected: ExpectedAnswer, body: &[u8]) -> bool {
        let _ = (expected, body);
        true
    }

    /// The failure that a complete answer reports behind its content, which alone made it a success.
    fn late_failure(
        &self,
        head: &Parts,
        expected: ExpectedAnswer,
        body: &[u8],
        now: SystemTime,
    ) -> Option<Failure> {
        let _ = (head, expected, body, now);
        None
    }

    /// A scanner for the events of an answer; `beginning` is as in [`probe_answer`](Self::probe_answer). A
    /// stream that ends without an answer is a failure in its state. A `content-type` that is not that of the
    /// events is corrected.
    fn scan_answer(
        &self,
        head: &mut Parts,
        expected: ExpectedAnswer,
        beginning: &[u8],
    ) -> Option<Box<dyn Scan>> {
        let _ = (expected, beginning);
        self.scan(head)
    }

    /// The events of a complete stream as one JSON document, for a request without a stream.
    fn events_to_document(&self, events: &[u8]) -> Option<Bytes> {
        let _ = events;
        None
    }

    /// One JSON document as the events of a complete stream, for a request of a stream.
    fn document_to_events(&self, document: &[u8]) -> Option<Bytes> {
        let _ = document;
        None
    }

    /// A scanner for the body of a successful response, if the body is a stream in a known format.
    fn scan(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        let _ = head;
        None
    }

    /// Whether the beginning of a successful response that is not a stream shows a real response, or an error
    /// that was sent with a success status.
    ///
    /// `beginning` is empty in the first call, so that the head alone may decide. It may be cut off anywhere,
    /// and grows with every call as long as the result is [`BodyProbe::Unclear`]. A result other than that
    /// must hold for every continuation of `beginning`. An error is then passed to
    /// [`classify`](Self::classify). By default every such response is a success.
    ///
    /// Called for a POST alone, and a body that is announced as longer than 64 KiB is not read for it.
    fn probe_body(&self, head: &Parts, beginning: &[u8]) -> BodyProbe {
        let _ = (head, beginning);
        BodyProbe::Success
    }

    /// Whether a complete body that [`probe_body`](Self::probe_body) has left unclear is an answer without
    /// content, because a content filter stopped it. It is then passed to [`classify`](Self::classify) like
    /// an error.
    fn is_filtered(&self, body: &[u8]) -> bool {
        let _ = body;
        false
    }

    /// A scanner that finds the token usage in the body of a successful response that is not a stream. Called
    /// only if the request has a [`UsageMeter`](crate::UsageMeter).
    fn usage_scanner(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        let _ = head;
        None
    }

    /// The rate limits that the headers of a response, successful or not, report. By default, those in the
    /// headers that are [common to all providers](ReportedLimits::from_headers).
    fn reported_limits(&self, headers: &HeaderMap) -> ReportedLimits {
        ReportedLimits::from_headers(headers)
    }
}

/// The answer that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedAnswer {
    /// Its form.
    pub form: AnswerForm,
    /// The endpoint, as a number that the classifier chooses and reads again. Zero where any answer is one.
    pub endpoint: u8,
    /// Whether the request accepts a compressed answer, which cannot be read.
    pub may_be_compressed: bool,
    /// Whether the request names a service tier with limits and capacity of its own. Their lack shows nothing
    /// about the tier that other calls share: it is [not counted](crate::FailureKind::NotProcessed).
    pub is_of_other_tier: bool,
}

impl ExpectedAnswer {
    /// Any answer in this form, not compressed.
    #[must_use]
    pub const fn new(form: AnswerForm) -> Self {
        Self { form, endpoint: 0, may_be_compressed: false, is_of_other_tier: false }
    }
}

/// The form in which a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// The request does not show it: its body is not buffered, or is not that of the endpoint.
    Unknown,
    /// One JSON document.
    Document,
    /// A stream of server-sent events.
    Events,
    /// A stream of events in another framing: Google's JSON array, or Amazon's messages. A document is not
    /// converted into it.
    OtherEvents,
}

/// What the beginning of a response body shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyProbe {
    /// The body is a real response.
    Success,
    /// The body is a stream of events.
    Events,
    /// More of the body is needed.
    Unclear,
    /// The body is an error, whatever the status.
    Error,
}

/// Classifies by status and headers alone, and never reads a body.
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
