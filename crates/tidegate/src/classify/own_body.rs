//! Bodies of our own in the place of those of the provider: answers in the other form, and error bodies.

use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::response::Parts;
use tidegate_core::{ErrorBody, JsonDepth, StopReason, StreamState};

use super::BufferedBody;
use super::body::{ClassifiableBody, ResponseBody, WholeBody};
use super::response_judge::{ResponseJudge, in_band_failure};
use crate::{BodyProbe, Error, Failure, Outcome};

/// The longest answer that is converted from one form to the other.
pub(super) const MAX_CONVERTED: usize = 16 * 1024 * 1024;

impl ResponseJudge {
    /// An answer in the form that was requested, from a complete one in the other form.
    pub(super) fn convert<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        body: BufferedBody<B>,
        probe: BodyProbe,
    ) -> Result<ResponseBody<B>, Error> {
        if body.broke_off() {
            return Err(body.into_error());
        }
        if !body.is_whole() {
            return Err(Failure::no_answer().into());
        }
        let classifier = &self.config.classifier;
        let bytes = body.bytes();
        let converted = if probe == BodyProbe::Events {
            let answer = self.expected_answer().ok_or_else(Failure::no_answer)?;
            let mut scanner = classifier.scan_answer(head, answer, &bytes).ok_or_else(Failure::no_answer)?;
            scanner.push(&bytes);
            scanner.finish();
            match scanner.state() {
                StreamState { failure: Some(failure), .. } => {
                    return Err(in_band_failure(failure.clone()).into());
                }
                StreamState { has_started: false, stop: Some(StopReason::ContentFilter), usage, .. } => {
                    if let (Some(attempt), Some(usage)) = (&mut self.attempt, usage) {
                        attempt.set_usage(*usage, true);
                    }
                    return Err(Failure::content_filter().into());
                }
                StreamState { has_finished: false, .. } => return Err(body.into_error()),
                _ => classifier.events_to_document(&bytes),
            }
        } else {
            classifier.document_to_events(&bytes)
        };
        let converted = converted.ok_or_else(Failure::no_answer)?;
        if probe == BodyProbe::Events {
            head.headers.remove(CONTENT_TYPE);
            label_json(head);
        } else {
            // The usage is read from the document, while the head is still that of one.
            label_json(head);
            self.record_usage(head, &bytes);
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        }
        remove_body_headers(head);
        Ok(self.complete(head, WholeBody::Own(converted)))
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
