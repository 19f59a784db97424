use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use memchr::memmem::Finder;
use pin_project::pin_project;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidegate::provider::{Elapsed, ErrorBody, FailureKind, StreamOutcome, UsageMeter};
use tidegate::{Error, Outcome, Payload};

use super::Redactor;
use super::responses_progress::{ResponsesProgress, is_complete};
use crate::endpoint::Endpoint;
use crate::error_format::error_body;
use crate::open_calls::EndReason;

/// A stream body that ends in an error event of the caller's dialect when the inner body fails.
///
/// The bytes are forwarded unchanged, but in whole events: half an event would run into the error event. When
/// the inner body ends without an error, an incomplete last event is forwarded as well, with the empty line that it
/// may lack. An event that ends
/// the stream is forwarded only if no failure follows it: a provider may report a failure in a way that
/// clients do not read, and end the stream as if it were complete.
#[pin_project]
#[derive(Debug)]
pub(super) struct ErrorEventBody<B> {
    #[pin]
    inner: B,
    endpoint: Endpoint,
    /// Counts the tokens that were received.
    meter: UsageMeter,
    redactor: Arc<Redactor>,
    responses: ResponsesProgress,
    /// The beginning of an incomplete event.
    partial_event: BytesMut,
    /// Whether clients read an error among the events of the last frame.
    has_reported: bool,
    /// The outcome of the stream, which is known before the error is: the provider may take its time to end
    /// the body.
    outcome: Option<StreamOutcome>,
    has_ended: bool,
}

/// The most bytes of an event that are buffered: as large as an answer may be. A longer event is forwarded in
/// parts.
const MAX_PARTIAL_EVENT: usize = Payload::DEFAULT_CAP;

impl<B> ErrorEventBody<B> {
    pub(super) fn new(inner: B, endpoint: Endpoint, meter: UsageMeter, redactor: Arc<Redactor>) -> Self {
        Self {
            inner,
            endpoint,
            meter,
            redactor,
            responses: ResponsesProgress::default(),
            partial_event: BytesMut::new(),
            has_reported: false,
            outcome: None,
            has_ended: false,
        }
    }

    /// Sets the outcome of the stream.
    pub(super) fn with_outcome(self, outcome: Option<StreamOutcome>) -> Self {
        Self { outcome, ..self }
    }
}

impl<B: Body<Data = Bytes, Error = Error>> Body for ErrorEventBody<B> {
    type Data = Bytes;
    // No error occurs; with this type the body is boxed without a conversion.
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        while !*this.has_ended {
            let last = match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers have no meaning for readers of events.
                    let Ok(data) = frame.into_data() else { continue };
                    let Some(mut events) = whole_events(this.partial_event, data) else { continue };
                    let outcome = this.outcome.as_ref().map(StreamOutcome::outcome);
                    // An event that reports an error has decided the outcome.
                    let is_decided = outcome.is_none_or(|outcome| outcome.is_some());
                    *this.has_reported = is_decided && reports_error(&events, *this.endpoint);
                    let has_failed = outcome.flatten().is_some_and(|outcome| outcome.failure().is_some());
                    if has_failed || *this.has_reported {
                        events = this.redactor.redact(events);
                    }
                    if has_failed && let Some(end) = terminator(&events, *this.endpoint) {
                        events.truncate(end);
                    }
                    if events.is_empty() {
                        continue;
                    }
                    if *this.endpoint == Endpoint::Responses {
                        this.responses.observe(&events);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(events))));
                }
                Some(Err(error)) => {
                    let body = broken_stream(&error, this.meter.read().output);
                    let responses = (*this.endpoint == Endpoint::Responses).then_some(this.responses);
                    let is_in_band = is_in_band(&error);
                    Some(if is_in_band && reports_error(this.partial_event, *this.endpoint) {
                        end_of_error_event(this.partial_event, responses, &body)
                    } else if is_in_band && *this.has_reported {
                        this.partial_event.clear();
                        end_of_error_event(this.partial_event, responses, &body)
                    } else {
                        error_event(&body, *this.endpoint, responses)
                    })
                }
                None => Some(last_event(this.partial_event)),
            };
            *this.has_ended = true;
            let last = last.filter(|last| !last.is_empty());
            return Poll::Ready(last.map(|last| Ok(Frame::data(this.redactor.redact(last)))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// Returns all complete events that were received, and keeps the beginning of the next one in
/// `partial_event`.
fn whole_events(partial_event: &mut BytesMut, data: Bytes) -> Option<Bytes> {
    // Most frames consist of whole events, and are forwarded without a copy.
    if partial_event.is_empty() && (data.ends_with(b"\n\n") || end_of_events(&data, 0) == data.len()) {
        return Some(data);
    }
    let buffered = partial_event.len();
    partial_event.extend_from_slice(&data);
    // An empty line ends within the new bytes, and may begin up to three bytes before.
    let end = end_of_events(partial_event, buffered.saturating_sub(3));
    match (end, partial_event.len() > MAX_PARTIAL_EVENT) {
        (_, true) => Some(partial_event.split().freeze()),
        (0, false) => None,
        (end, false) => Some(partial_event.split_to(end).freeze()),
    }
}

/// The position after the last empty line that ends after `from`; 0 if there is none. `bytes` begin at the
/// beginning of a line.
fn end_of_events(bytes: &[u8], from: usize) -> usize {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let mut before = bytes.len();
    while let Some(last) = bytes[from..before].iter().rposition(is_line_end) {
        let last = from + last;
        before = last - usize::from(bytes[..=last].ends_with(b"\r\n"));
        if bytes[..before].last().is_none_or(is_line_end) {
            return last + 1;
        }
        if before <= from {
            break;
        }
    }
    0
}

/// The position of the event that ends the stream, if it is the last one of `events`.
fn terminator(events: &[u8], endpoint: Endpoint) -> Option<usize> {
    let events = events.trim_ascii_end();
    let start = end_of_events(events, 0);
    let last = &events[start..];
    let contains = |text: &[u8]| last.windows(text.len()).any(|window| window == text);
    // The last event is short in every dialect but that of the Responses API, which has the whole response in
    // it.
    let is_end = match endpoint {
        Endpoint::Messages => last.len() < 256 && contains(b"message_stop"),
        Endpoint::Responses => is_complete(last),
        _ => last.ends_with(b"[DONE]"),
    };
    is_end.then_some(start)
}

/// Whether clients of `endpoint` read one of `events` as an error.
fn reports_error(events: &[u8], endpoint: Endpoint) -> bool {
    // Without this word it is none, not even a failed response. Most events are no JSON to be parsed twice.
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("error"));
    if WORD.find(events).is_none() {
        return false;
    }
    let lines = events.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.filter_map(|line| line.strip_prefix(b"data:")).any(|data| {
        let Ok(event) = serde_json::from_slice::<ErrorFields<'_>>(data) else { return false };
        let is_kind = |kinds: &[&str]| event.kind.as_deref().is_some_and(|kind| kinds.contains(&kind));
        let begins_with = |first: &[char]| event.error.is_some_and(|error| error.get().starts_with(first));
        match endpoint {
            Endpoint::Messages => is_kind(&["error"]) && begins_with(&['{']),
            Endpoint::Responses => is_kind(&["error", "response.failed"]),
            _ => begins_with(&['{', '"']),
        }
    })
}

/// The fields by which clients recognize an error event. Nothing is built of the others, nor of an error: an
/// event may be as long as an answer.
#[derive(Deserialize)]
struct ErrorFields<'a> {
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A text, or `None` for any other value.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(value.get()).ok())
}

/// Whether the provider reported the error in the stream itself.
fn is_in_band(error: &Error) -> bool {
    let outcome = Outcome::of_error(&**error);
    outcome
        .failure()
        .is_some_and(|failure| matches!(failure.kind, FailureKind::InBand | FailureKind::ModelOutput))
}

/// What is left at the end of the body. Clients ignore a last event without its empty line, so one that lacks only
/// that is completed.
fn last_event(partial_event: &mut BytesMut) -> Bytes {
    let lines = partial_event[..].split(|byte| matches!(byte, b'\n' | b'\r'));
    let data = lines.filter_map(|line| line.strip_prefix(b"data:")).collect::<Vec<_>>().join(&b'\n');
    if data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<IgnoredAny>(&data).is_ok() {
        partial_event.extend_from_slice(b"\n\n");
    }
    partial_event.split().freeze()
}

/// The rest of the provider's own error event, and the empty line that ends it. Without that line clients
/// ignore the event. A response of which the provider reported only the error is marked as failed as well.
fn end_of_error_event(
    partial_event: &mut BytesMut,
    responses: Option<&mut ResponsesProgress>,
    body: &ErrorBody,
) -> Bytes {
    partial_event.extend_from_slice(b"\n\n");
    if let Some(responses) = responses {
        responses.observe(partial_event);
        if let Some(event) = responses.failed_event(body.code(), body.message()) {
            partial_event.extend_from_slice(event.as_bytes());
        }
    }
    partial_event.split().freeze()
}

/// The error of a stream that broke after `tokens` tokens.
fn broken_stream(error: &Error, tokens: u64) -> ErrorBody {
    let mut body = ErrorBody::of_error(&**error);
    if let Some(reason) = error.downcast_ref::<EndReason>() {
        body = ErrorBody::new(reason.code(), reason.to_string());
    }
    let place = match tokens {
        0 => "before the first token".to_owned(),
        1 => "after 1 token".to_owned(),
        tokens => format!("after {tokens} tokens"),
    };
    let has_message = error.is::<Elapsed>() || error.is::<EndReason>();
    let message = match Outcome::of_error(&**error).failure() {
        _ if has_message => format!("the stream broke {place}: {error}"),
        Some(failure) if matches!(failure.kind, FailureKind::Transport | FailureKind::Truncated) => {
            format!("the stream broke {place}")
        }
        _ => format!("the stream broke {place}: {}", body.message()),
    };
    ErrorBody::new(body.code(), message)
}

/// The error event for a stream that broke off. It begins with an empty line, which ends the previous event.
fn error_event(body: &ErrorBody, endpoint: Endpoint, responses: Option<&mut ResponsesProgress>) -> Bytes {
    let error = error_body(body, endpoint.dialect(), None);
    let event = match (endpoint, responses) {
        (Endpoint::Messages, _) => format!("\n\nevent: error\ndata: {error}\n\n"),
        (_, Some(responses)) => {
            format!("\n\n{}", responses.error_event(&error["error"], body.code()))
        }
        _ => format!("\n\ndata: {error}\n\n"),
    };
    event.into()
}

#[cfg(test)]
mod tests;
