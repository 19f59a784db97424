//! Bodies of our own in the place of those of the provider: answers in the other form, and error bodies.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::response::Parts;
use tidegate_core::{AnswerForm, ErrorBody, JsonDepth, StopReason, StreamState, Usage};

use super::BufferedBody;
use super::body::{ClassifiableBody, ResponseBody, WholeBody};
use super::event_answer::EventAnswer;
use super::response_judge::{ResponseJudge, in_band_failure};
use crate::buffered_body::truncated;
use crate::offload::DocumentWork;
use crate::{Error, Failure, Outcome};

/// The longest answer that is converted from one form to the other.
pub(super) const MAX_CONVERTED: usize = 16 * 1024 * 1024;

/// The result of a conversion.
pub struct ConvertedAnswer {
    body: Result<Bytes, Error>,
    /// The failure that the original answer reports, which is the body then.
    failure: Option<Failure>,
    /// The usage in the original answer, unless that of the body will be scanned.
    usage: Option<Usage>,
}

impl ResponseJudge {
    /// Converts an answer in events to a document, on another thread if it is large.
    pub(super) fn convert_events<B: ClassifiableBody>(
        &self,
        events: EventAnswer<B>,
    ) -> Result<DocumentWork<ConvertedAnswer>, Error> {
        let (bytes, scanner) = events.into_parts()?;
        let classifier = Arc::clone(&self.config.classifier);
        Ok(DocumentWork::new(bytes.len(), move || {
            let StreamState { has_started, has_finished, failure, stop, usage } = scanner.state();
            let is_filtered = !has_started && *stop == Some(StopReason::ContentFilter);
            let filtered = || is_filtered.then(Failure::content_filter);
            let failure = failure.clone().map(in_band_failure).or_else(filtered);
            let body = match failure {
                Some(_) => Ok(bytes),
                None if !has_finished => Err(truncated()),
                None => classifier.events_to_document(&bytes).ok_or_else(|| Failure::no_answer().into()),
            };
            let is_unscanned = failure.is_some() || body.is_err();
            Ok(ConvertedAnswer { usage: usage.filter(|_| is_unscanned), body, failure })
        }))
    }

    /// Converts a complete document to a stream of events, on another thread if it is large.
    pub(super) fn convert_document<B: ClassifiableBody>(
        &self,
        head: &mut Parts,
        body: BufferedBody<B>,
    ) -> Result<DocumentWork<ConvertedAnswer>, Error> {
        if body.broke_off() {
            return Err(body.into_error());
        }
        if !body.is_whole() {
            return Err(Failure::no_answer().into());
        }
        let answer = self.expected_answer().ok_or_else(Failure::no_answer)?;
        let bytes = body.into_bytes();
        let classifier = Arc::clone(&self.config.classifier);
        // The usage is read from the document, as which the head labels it until it is converted.
        label_json(head);
        let scanner = self.attempt_usage.as_ref().and_then(|_| classifier.usage_scanner(head));
        let (head, now) = (head.clone(), SystemTime::now());
        Ok(DocumentWork::new(bytes.len(), move || {
            let failure = classifier.late_failure(&head, answer, &bytes, now).map(in_band_failure);
            let body = match failure {
                Some(_) => Ok(bytes.clone()),
                None => classifier.document_to_events(&bytes).ok_or_else(|| Failure::no_answer().into()),
            };
            let usage = scanner.filter(|_| body.is_ok()).and_then(|mut scanner| {
                scanner.push(&bytes);
                scanner.finish();
                scanner.state().usage
            });
            Ok(ConvertedAnswer { body, failure, usage })
        }))
    }

    /// The response with a converted answer.
    pub(super) fn on_converted<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        answer: ConvertedAnswer,
        form: AnswerForm,
    ) -> Result<ResponseBody<B>, Error> {
        if let (Some(attempt_usage), Some(usage)) = (&mut self.attempt_usage, answer.usage) {
            attempt_usage.set_usage(usage, true);
        }
        let body = answer.body?;
        if let Some(failure) = answer.failure {
            self.record_outcome(head, failure.into());
            return Ok(self.whole(WholeBody::Own(body), None));
        }
        let media = if form == AnswerForm::Document { "application/json" } else { "text/event-stream" };
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        remove_body_headers(head);
        Ok(self.complete(head, WholeBody::Own(body)))
    }

    /// The body of a failed response. One that is cut short is replaced by an error body of our own, so that
    /// the caller gets the status and the code, and not a broken connection.
    pub(super) fn error_body<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        body: Box<BufferedBody<B>>,
    ) -> ResponseBody<B> {
        let is_cut = !self.is_counted && body.has_ended() && is_open_json(&body.bytes());
        if !body.broke_off() && !is_cut {
            return self.whole(WholeBody::Buffered(body), None);
        }
        let error = match head.extensions.get::<Outcome>().and_then(Outcome::failure) {
            Some(failure) => ErrorBody::of_error(failure),
            None => ErrorBody::of_error(&body.into_error()),
        };
        remove_body_headers(head);
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = self.whole(WholeBody::Own(error.to_json().into()), None);
        head.extensions.insert(error);
        body
    }
}

/// Whether `body` is a JSON document that is not closed.
pub(super) fn is_open_json(body: &[u8]) -> bool {
    let json = body.trim_ascii_start();
    matches!(json.first(), Some(b'{' | b'[')) && JsonDepth::of(json).is_open()
}

/// Labels a body that is JSON as such.
pub(super) fn label_json(head: &mut Parts) {
    let is_json = |media: &HeaderValue| {
        media == "application/json" || media.to_str().is_ok_and(|media| media.contains("json"))
    };
    if !head.headers.get(CONTENT_TYPE).is_some_and(is_json) {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// Removes the headers that describe a body which is replaced.
fn remove_body_headers(head: &mut Parts) {
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG] {
        head.headers.remove(name);
    }
}
