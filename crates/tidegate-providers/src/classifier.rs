use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
};
use http::response::Parts;
use http::{HeaderMap, StatusCode, Uri};
use tidegate_core::{
    AnswerForm, BodyProbe, Classifier, ExpectedAnswer, Failure, Outcome, ReportedLimits, Scan,
};

use crate::body::first_bytes::FirstBytes;
use crate::body::format::BodyFormat;
use crate::body::probe::{self, Expected};
use crate::body::usage::UsageScan;
use crate::convert;
use crate::dialect::probe_result::ProbeResult;
use crate::endpoint::{self, Endpoint};
use crate::error::body::ParsedErrorBody;
use crate::error::in_band;
use crate::error::response::ErrorResponse;
use crate::event::Event;
use crate::limits::reported;
use crate::provider::Provider;
use crate::request_fields::{RequestFlags, has_fields, requests_deferral};
use crate::stream::scanner::Scanner;
use crate::stream::sse::SseFramer;

static ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Classifies the responses of one provider by status, headers and error body.
///
/// The default is for [`Provider::Other`]. It recognises every body shape and error code that the named
/// providers use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderClassifier {
    provider: Provider,
}

impl ProviderClassifier {
    /// A classifier for the responses of `provider`.
    #[must_use]
    pub const fn new(provider: Provider) -> Self {
        Self { provider }
    }

    /// The provider of the responses that it classifies.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// The failure in a `body` that came without an error status: an error event inside a stream, or a
    /// response of 200 that contains only an error. `None` if the body is not an error.
    #[must_use]
    pub fn failure_in(&self, body: &[u8]) -> Option<Failure> {
        in_band::failure_in(self.provider, body)
    }

    /// The failure in a `body` that is known to be an error: that of a response with an error status, or,
    /// without a `status`, that of an event.
    #[must_use]
    pub fn failure_of(&self, status: Option<StatusCode>, body: &[u8]) -> Failure {
        in_band::failure_of(self.provider, status, body)
    }

    /// The message in the `body` of an error, or in the first error event of a stream, if there is one. It
    /// may quote the prompt or a key, so it is for the caller of the provider and not for logs.
    #[must_use]
    pub fn error_message(body: &[u8]) -> Option<String> {
        if FirstBytes::of(body) != FirstBytes::Events {
            let is_page = body.trim_ascii_start().starts_with(b"<");
            return ParsedErrorBody::read(body).into_message().filter(|_| !is_page);
        }
        let mut message = None;
        let mut read = |event: Event<'_>| {
            let body = ParsedErrorBody::read(event.data);
            if message.is_none() && (event.is_error || body.is_error) {
                message = body.into_message();
            }
        };
        let mut framer = SseFramer::new();
        framer.push(body, &mut read);
        framer.finish(read);
        message
    }

    /// Whether a JSON response may be an array that is streamed element by element. Only Google streams such
    /// arrays, without a content-length. The first byte of the body decides.
    fn may_stream_json(&self, head: &Parts) -> bool {
        self.streams_arrays() && !head.headers.contains_key(CONTENT_LENGTH)
    }
}

impl ProviderClassifier {
    /// Whether the provider may stream the elements of an array.
    const fn streams_arrays(&self) -> bool {
        matches!(self.provider, Provider::Gemini | Provider::Vertex)
    }
}

impl From<Provider> for ProviderClassifier {
    fn from(provider: Provider) -> Self {
        Self::new(provider)
    }
}

impl Classifier for ProviderClassifier {
    /// From status 400 up. For a 2xx response [`probe_body`](Self::probe_body) is enough.
    fn needs_body(&self, head: &Parts) -> bool {
        head.status.as_u16() >= 400
    }

    /// The body of a 2xx response is no answer: a probe has shown it, and this is the failure in it, if it is
    /// known.
    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Outcome {
        if self.needs_body(head) {
            let response = ErrorResponse::read(self.provider, Some(head.status), &head.headers, body, now);
            return response.failure(now).into();
        }
        if !head.status.is_success() {
            return Outcome::Success;
        }
        match probe::failure(body) {
            ProbeResult::Error(error) => {
                in_band::failure_of_body(self.provider, error, &head.headers, body, now).into()
            }
            ProbeResult::Filtered => Failure::content_filter().into(),
            _ => in_band::known_failure_in(self.provider, &head.headers, body, now)
                .map_or(Outcome::Success, Outcome::from),
        }
    }

    fn expects_stream(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == b"text/event-stream")
            || RequestFlags::of(body).is_stream
    }

    /// By the path of the endpoint, and where that leaves the form open by `stream` in the body. A body
    /// without fields shows no form. xAI answers a deferred request with an id. The
    /// `service_tier` `flex` and the `speed` `fast` are tiers with limits of their own.
    fn expected_answer(&self, uri: &Uri, headers: &HeaderMap, body: Option<&[u8]>) -> Option<ExpectedAnswer> {
        let is_anthropic = headers.contains_key(&ANTHROPIC_VERSION);
        let (endpoint, form) = endpoint::answer_at(uri.path(), uri.query().unwrap_or_default(), body)
            .or_else(|| {
                let is_answer = is_anthropic && endpoint::is_messages(uri.path());
                is_answer.then_some((Endpoint::Messages, AnswerForm::Unknown))
            })?;
        // A translated request may get its address behind the classification. Its path is still that of the
        // caller, and its headers are those of the target.
        let endpoint = match (endpoint, is_anthropic) {
            (Endpoint::Chat, true) => Endpoint::Messages,
            (Endpoint::Messages, false) => Endpoint::Unknown,
            (endpoint, _) => endpoint,
        };
        if self.provider == Provider::XAi && endpoint == Endpoint::Chat && body.is_some_and(requests_deferral)
        {
            return None;
        }
        let fields = body.map(RequestFlags::of);
        let form = match body {
            Some(_) if form == AnswerForm::Unknown && fields.is_some_and(|it| it.is_stream) => {
                AnswerForm::Events
            }
            Some(body) if form == AnswerForm::Unknown && has_fields(body) => AnswerForm::Document,
            _ => form,
        };
        let may_be_compressed = accepts_coding(headers);
        let is_of_other_tier = fields.is_some_and(|it| it.is_of_other_tier);
        Some(ExpectedAnswer { form, endpoint: endpoint.number(), may_be_compressed, is_of_other_tier })
    }

    /// By the first bytes that are not blank.
    ///
    /// A compressed body is not read. It is a success if the request accepts a coding: the caller unpacks it,
    /// and may find an error in it that is not counted. A coding that the request does not accept is no
    /// answer, since the caller cannot read it, unless the body is not packed at all.
    fn probe_answer(&self, head: &Parts, expected: ExpectedAnswer, beginning: &[u8]) -> BodyProbe {
        let (form, endpoint) = (expected.form, Endpoint::numbered(expected.endpoint));
        let format = BodyFormat::of(&head.headers);
        match (format, FirstBytes::of(beginning)) {
            (BodyFormat::Compressed, _) if expected.may_be_compressed => BodyProbe::Success,
            (BodyFormat::AmazonEvents, _) | (_, FirstBytes::Events) => BodyProbe::Events,
            (_, FirstBytes::Json(json)) => match json.first() {
                Some(b'[') if form == AnswerForm::OtherEvents => BodyProbe::Events,
                Some(b'[') if form != AnswerForm::Document && self.streams_arrays() => BodyProbe::Events,
                _ => probe::read(json, Expected::Answer(endpoint)).into(),
            },
            (BodyFormat::Events, FirstBytes::Unclear) if beginning.is_empty() => BodyProbe::Events,
            (_, FirstBytes::Unclear) => BodyProbe::Unclear,
            // Fields that no other server sends.
            (BodyFormat::Events, FirstBytes::Other) => BodyProbe::Events,
            (_, FirstBytes::Other) => BodyProbe::Error,
        }
    }

    fn is_answer(&self, expected: ExpectedAnswer, body: &[u8]) -> bool {
        probe::is_answer(body, Endpoint::numbered(expected.endpoint))
    }

    fn late_failure(
        &self,
        head: &Parts,
        expected: ExpectedAnswer,
        body: &[u8],
        now: SystemTime,
    ) -> Option<Failure> {
        let error = probe::late_error(body, Endpoint::numbered(expected.endpoint))?;
        Some(in_band::failure_of_body(self.provider, error, &head.headers, body, now))
    }

    fn scan_answer(
        &self,
        head: &mut Parts,
        expected: ExpectedAnswer,
        beginning: &[u8],
    ) -> Option<Box<dyn Scan>> {
        let format = BodyFormat::of(&head.headers);
        // Events that can be read are not packed.
        if format == BodyFormat::Compressed {
            head.headers.remove(CONTENT_ENCODING);
        }
        let scanner = match (format, FirstBytes::of(beginning)) {
            (BodyFormat::AmazonEvents, _) => Scanner::amazon(self.provider),
            (_, FirstBytes::Json(_)) => Scanner::json_array(self.provider),
            _ => {
                if format != BodyFormat::Events {
                    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                }
                Scanner::sse(self.provider)
            }
        };
        let endpoint = Endpoint::numbered(expected.endpoint);
        Some(Box::new(scanner.at_endpoint(endpoint).sent_at(&head.headers)))
    }

    fn events_to_document(&self, events: &[u8]) -> Option<Bytes> {
        convert::events_to_document(events)
    }

    fn document_to_events(&self, document: &[u8]) -> Option<Bytes> {
        convert::document_to_events(document)
    }

    /// Scans server-sent events and Amazon's event streams. The dialect is recognised from the stream itself,
    /// so the name of a provider with several dialects is enough. Compressed bodies are not scanned.
    ///
    /// Google streams a JSON array when the request has no `alt=sse`. The head of such a response is that of
    /// a JSON response without a content-length, and the first byte of the body shows whether it is an array.
    /// Until then such a response of Google's is held.
    fn scan(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        if self.needs_body(head) {
            return None;
        }
        let scanner = match BodyFormat::of(&head.headers) {
            BodyFormat::Events => Scanner::sse(self.provider),
            BodyFormat::AmazonEvents => Scanner::amazon(self.provider),
            BodyFormat::Json if self.may_stream_json(head) => Scanner::json(self.provider),
            _ => return None,
        };
        Some(Box::new(scanner.sent_at(&head.headers)))
    }

    /// Probes uncompressed JSON for an error before any content: an `error` at the top level or inside a
    /// choice, or a status that reports failure.
    fn probe_body(&self, head: &Parts, beginning: &[u8]) -> BodyProbe {
        match beginning {
            [] if self.is_json(head) => BodyProbe::Unclear,
            [] => BodyProbe::Success,
            beginning => probe::read(beginning, Expected::Resource).into(),
        }
    }

    fn is_filtered(&self, body: &[u8]) -> bool {
        probe::is_filtered_resource(body)
    }

    /// For uncompressed JSON.
    fn usage_scanner(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        self.is_json(head).then(|| Box::new(UsageScan::default()) as Box<dyn Scan>)
    }

    fn reported_limits(&self, headers: &HeaderMap) -> ReportedLimits {
        reported::read(self.provider, headers)
    }
}

impl ProviderClassifier {
    /// Whether a response without an error status is uncompressed JSON.
    fn is_json(&self, head: &Parts) -> bool {
        !self.needs_body(head) && BodyFormat::of(&head.headers) == BodyFormat::Json
    }
}

/// Whether a request accepts a coding other than `identity`.
fn accepts_coding(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let is_refused =
                weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok()) == Some(0.0);
            !matches!(name.trim(), "" | "identity") && !is_refused
        })
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    fn is_scanned(provider: Provider, headers: &[(HeaderName, &'static str)]) -> bool {
        let mut response = http::Response::new(());
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        ProviderClassifier::new(provider).scan(&response.into_parts().0).is_some()
    }

    /// The head narrows the candidates; the first byte of the body decides.
    #[test]
    fn only_google_json_without_a_content_length_may_be_a_stream() {
        let json = (CONTENT_TYPE, "application/json; charset=UTF-8");
        for (provider, expected) in [
            (Provider::Gemini, true),
            (Provider::Vertex, true),
            (Provider::OpenAi, false),
            (Provider::Cohere, false),
            (Provider::Other, false),
        ] {
            assert_eq!(is_scanned(provider, std::slice::from_ref(&json)), expected, "{provider}");
            assert!(!is_scanned(provider, &[json.clone(), (CONTENT_LENGTH, "120")]), "{provider}");
            assert!(!is_scanned(provider, &[json.clone(), (CONTENT_ENCODING, "gzip")]), "{provider}");
            assert!(!is_scanned(provider, &[(CONTENT_TYPE, "text/plain")]), "{provider}");
            assert!(is_scanned(provider, &[(CONTENT_TYPE, "text/event-stream")]), "{provider}");
        }
    }
}
