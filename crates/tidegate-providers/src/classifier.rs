use std::time::SystemTime;

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::response::Parts;
use http::{HeaderMap, HeaderValue};
use tidegate_core::{BodyProbe, Classifier, ErrorCode, Failure, Outcome, ReportedLimits, Scan};

use crate::error_response::ErrorResponse;
use crate::stream_flag::requests_stream;
use crate::body_probe::{self, ProbeResult};
use crate::stream::{Scanner, StreamError};
use crate::usage::UsageScan;
use crate::{Provider, reported_limits};

/// Judges the answers of one provider by status, headers and error body.
///
/// The default is for [`Provider::Other`]; it recognises every shape and word that the named ones do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderClassifier {
    provider: Provider,
}

impl ProviderClassifier {
    /// A classifier for the answers of `provider`.
    #[must_use]
    pub const fn new(provider: Provider) -> Self {
        Self { provider }
    }

    /// The provider whose answers it judges.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// The failure that `body` tells of where no status does: an error event inside a stream, or an answer of
    /// 200 that holds only an error. `None` if it is not an error.
    #[must_use]
    pub fn failure_in(&self, body: &[u8]) -> Option<Failure> {
        // Only headers can tell a moment, so no clock is needed without them.
        let (headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
        let response = ErrorResponse::read(self.provider, None, &headers, body, now);
        response.is_error().then(|| response.failure(now))
    }

    /// The failure in the `body` of an event that is known to tell of one. `exception` is what the frame around it
    /// says, in the way of Amazon's header.
    pub(crate) fn failure_of_event(&self, exception: Option<&str>, body: &[u8]) -> Failure {
        let (mut headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
        if let Some(exception) = exception.and_then(|name| HeaderValue::from_str(name).ok()) {
            headers.insert("x-amzn-errortype", exception);
        }
        ErrorResponse::read(self.provider, None, &headers, body, now).failure(now)
    }

    /// The failure in the `body` of an answer that began as one. Its status was the word of somebody who did not know yet.
    pub(crate) fn failure_of_response(
        &self,
        error: StreamError,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Failure {
        let failure = ErrorResponse::read(self.provider, None, headers, body, now).failure(now);
        match error {
            StreamError::StopReason(word, code) if failure.code == ErrorCode::Unknown => {
                Failure { provider_code: Some(word.into()), ..Failure::new(code) }
            }
            StreamError::StopReason(..) | StreamError::Event => failure,
        }
    }

    /// Whether an answer in JSON may be an array that is sent element by element. Only Google's can, and then
    /// nobody knew its length; the rest is told by its first byte.
    fn may_stream_json(&self, head: &Parts) -> bool {
        matches!(self.provider, Provider::Gemini | Provider::Vertex)
            && !head.headers.contains_key(CONTENT_LENGTH)
    }
}

impl From<Provider> for ProviderClassifier {
    fn from(provider: Provider) -> Self {
        Self::new(provider)
    }
}

impl Classifier for ProviderClassifier {
    /// From 400 up. Of an answer with 2xx no more is wanted than its [body_probe](Self::body_probe).
    fn needs_body(&self, head: &Parts) -> bool {
        head.status.as_u16() >= 400
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Outcome {
        if self.needs_body(head) {
            let response = ErrorResponse::read(self.provider, Some(head.status), &head.headers, body, now);
            return response.failure(now).into();
        }
        match body_probe::read(body) {
            ProbeResult::Error(error) if head.status.is_success() => {
                self.failure_of_response(error, &head.headers, body, now).into()
            }
            _ => Outcome::Success,
        }
    }

    fn expects_stream(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == b"text/event-stream")
            || requests_stream(body)
    }

    /// For server-sent events and Amazon's. The dialect is told by the stream itself, so a provider that speaks
    /// several needs no more than its name. What is compressed cannot be read.
    ///
    /// Google streams a JSON array to those who do not ask for `alt=sse`. By its head it is an answer in JSON that
    /// tells no length, and its first byte says whether it is one; until then such an answer of Google's is held.
    fn scan(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        match self.media_type(head)? {
            media if media.eq_ignore_ascii_case("text/event-stream") => {
                Some(Box::new(Scanner::sse(self.provider)))
            }
            media if media.eq_ignore_ascii_case("application/vnd.amazon.eventstream") => {
                Some(Box::new(Scanner::amazon(self.provider)))
            }
            media if media.eq_ignore_ascii_case("application/json") && self.may_stream_json(head) => {
                Some(Box::new(Scanner::json(self.provider)))
            }
            _ => None,
        }
    }

    /// Of JSON that is not compressed: an `error` at its top or in the place of a choice, or the word that it has
    /// failed, before any content.
    fn probe_body(&self, head: &Parts, beginning: &[u8]) -> BodyProbe {
        match beginning {
            [] if self.is_json(head) => BodyProbe::Unclear,
            [] => BodyProbe::Success,
            beginning => body_probe::read(beginning).into(),
        }
    }

    /// For JSON that is not compressed.
    fn usage_scanner(&self, head: &Parts) -> Option<Box<dyn Scan>> {
        self.is_json(head).then(|| Box::new(UsageScan::default()) as Box<dyn Scan>)
    }

    fn reported_limits(&self, headers: &HeaderMap) -> ReportedLimits {
        reported_limits::read(self.provider, headers)
    }
}

impl ProviderClassifier {
    fn is_json(&self, head: &Parts) -> bool {
        self.media_type(head).is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
    }

    /// What a good answer is, if its bytes can be read as they are.
    fn media_type<'a>(&self, head: &'a Parts) -> Option<&'a str> {
        if self.needs_body(head) {
            return None;
        }
        let value = |name: &HeaderName| head.headers.get(name)?.to_str().ok();
        let media = value(&CONTENT_TYPE)?.split(';').next()?.trim();
        let is_uncompressed = value(&CONTENT_ENCODING).is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
        is_uncompressed.then_some(media)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_scanned(provider: Provider, headers: &[(HeaderName, &'static str)]) -> bool {
        let mut response = http::Response::new(());
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        ProviderClassifier::new(provider).scan(&response.into_parts().0).is_some()
    }

    /// All that a head can say; the rest is for the first byte.
    #[test]
    fn only_googles_json_of_no_told_length_may_be_a_stream() {
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
