use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use memchr::memmem::Finder;
use pin_project::pin_project;
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
/// the inner body ends without an error, an incomplete last event is forwarded as well. An event that ends
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
    // None occurs; with this type the body is boxed as it is.
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
                None => Some(this.partial_event.split().freeze()),
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
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tidegate::ErrorCode;
    use tidegate::provider::Failure;

    use super::*;

    type Chunk = Result<&'static str, FailureKind>;

    async fn forwarded(chunks: &[Chunk], endpoint: Endpoint) -> String {
        let frames = chunks.iter().map(|chunk| match chunk {
            Ok(text) => Ok(Frame::data(Bytes::from(*text))),
            Err(kind) => Err(Failure { kind: *kind, ..Failure::new(ErrorCode::ServerError) }.into()),
        });
        let frames: Vec<Result<Frame<Bytes>, Error>> = frames.collect();
        let outcome = StreamOutcome::new();
        if let Some(Err(kind)) = chunks.last() {
            outcome.set(Failure { kind: *kind, ..Failure::new(ErrorCode::ServerError) }.into());
        }
        let frames = StreamBody::new(futures_util::stream::iter(frames));
        let body = ErrorEventBody::new(frames, endpoint, UsageMeter::new(0), Arc::default())
            .with_outcome(Some(outcome));
        String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap()
    }

    #[tokio::test]
    async fn a_complete_stream_is_forwarded_byte_for_byte_however_it_is_split() {
        let cut = [Ok("data: a\n"), Ok("\nda"), Ok("ta: b\r\n\r\ndata: c"), Ok("\n\ndata: [DONE]")];
        assert_eq!(
            forwarded(&cut, Endpoint::ChatCompletions).await,
            "data: a\n\ndata: b\r\n\r\ndata: c\n\ndata: [DONE]"
        );
    }

    #[tokio::test]
    async fn a_broken_stream_ends_in_an_error_event_after_its_last_whole_event() {
        let chunks = [Ok("data: a\n\nda"), Ok("ta: {\"half"), Err(FailureKind::Truncated)];
        let openai = forwarded(&chunks, Endpoint::ChatCompletions).await;
        let (whole, error) = openai.split_once("data: {").unwrap();
        assert_eq!(whole.trim_end(), "data: a");
        assert!(error.contains("E3001") && error.ends_with("}\n\n"), "{error}");
        let anthropic = forwarded(&chunks, Endpoint::Messages).await;
        assert!(anthropic.starts_with("data: a\n\n\n\nevent: error\ndata: {"), "{anthropic}");
    }

    /// Wherever the stream breaks, and in whatever chunks it arrives, no part of an event is forwarded.
    #[tokio::test]
    async fn half_an_event_is_dropped_before_the_error_event() {
        for line_end in ["\n", "\r\n", "\r"] {
            let event = |text: &str| format!("event: e{line_end}data: {text}{line_end}{line_end}");
            let events = [event("{\"a\":1}"), format!(": ping{line_end}{line_end}"), event("{\"b\":2}")];
            let whole: &'static str = events.concat().leak();
            let ends = [0, events[0].len(), events[0].len() + events[1].len(), whole.len()];
            for cut in 0..=whole.len() {
                // The first half of the last CRLF ends an event as well.
                let end = *ends
                    .iter()
                    .rev()
                    .find(|&&end| end <= cut || line_end == "\r\n" && end == cut + 1)
                    .unwrap();
                for split in 0..=cut {
                    let chunks = [Ok(&whole[..split]), Ok(&whole[split..cut]), Err(FailureKind::Truncated)];
                    let text = forwarded(&chunks, Endpoint::Messages).await;
                    let (before, _) = text.split_once("\n\nevent: error\n").unwrap();
                    assert_eq!(
                        before,
                        &whole[..end.min(cut)],
                        "{line_end:?}, cut at {cut}, split at {split}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn an_event_above_the_limit_is_forwarded_in_parts() {
        let long: &'static str = "x".repeat(MAX_PARTIAL_EVENT).leak();
        let chunks = [Ok("data: "), Ok(long), Ok("\n"), Ok("\n")];
        assert_eq!(forwarded(&chunks, Endpoint::Messages).await, format!("data: {long}\n\n"));
    }

    #[test]
    fn an_event_is_an_error_by_the_fields_that_the_clients_of_its_endpoint_read() {
        use Endpoint::{ChatCompletions, Messages, Responses};
        let all = [ChatCompletions, Messages, Responses];
        for (event, endpoints) in [
            (r#"{"error":{"message":"busy"}}"#, &[ChatCompletions][..]),
            (r#"{"error":"busy","type":7}"#, &[ChatCompletions]),
            (r#"{"type":"error","error":{"message":"busy"}}"#, &all),
            (r#"{"type":"err\u006fr","error": {}}"#, &all),
            (r#"{"type":"error","message":"busy"}"#, &[Responses]),
            (r#"{"type":"response.failed","response":{"error":{}}}"#, &[Responses]),
            (r#"{"type":"response.completed","response":{"error":null}}"#, &[]),
            (r#"{"error":null,"choices":[{"delta":{"content":"error"}}]}"#, &[]),
            (r#"{"error":["busy"]}"#, &[]),
            (r#"{"choices":[{"error":{}}]}"#, &[]),
            ("error", &[]),
        ] {
            let reporting = all.into_iter().filter(|endpoint| {
                reports_error(format!("event: error\ndata: {event}\n\n").as_bytes(), *endpoint)
            });
            assert_eq!(reporting.collect::<Vec<_>>(), endpoints, "{event}");
        }
    }

    /// Regression: the values of such an event were built, sixteen times as large as it is.
    #[test]
    fn an_event_of_numbers_is_read_without_memory() {
        let event = format!("data: {{\"error\":null,\"x\":[{}0]}}\n\n", "0,".repeat(100_000));
        reports_error(b"data: {\"error\":null}", Endpoint::ChatCompletions);
        let used = allocation_counter::measure(|| {
            assert!(!reports_error(event.as_bytes(), Endpoint::ChatCompletions));
        });
        assert!(used.bytes_max < 1024, "{used:?}");
    }

    /// In one frame or several, the end that pretends success is not forwarded.
    #[tokio::test]
    async fn an_error_that_clients_do_not_read_is_followed_by_one_that_they_do() {
        let token = "data: {\"choices\":[]}\n\n";
        for failed in [
            "error: {\"message\":\"busy\"}\n\n",
            "data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\n",
            "data: busy\n\n",
        ] {
            let whole: &'static str = format!("{token}{failed}data: [DONE]\n\n").leak();
            for split in 0..whole.len() {
                let chunks = [Ok(&whole[..split]), Ok(&whole[split..]), Err(FailureKind::InBand)];
                let text = forwarded(&chunks, Endpoint::ChatCompletions).await;
                assert!(!text.contains("[DONE]"), "{split}: {text}");
                let last = text.trim_end().rsplit("\n\n").next().unwrap();
                assert!(last.starts_with("data: {\"error\":{") && text.starts_with(token), "{split}: {text}");
            }
        }
        let whole = "event: x\ndata: {\"type\":\"x\"}\n\nerror: busy\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        let text = forwarded(&[Ok(whole), Err(FailureKind::InBand)], Endpoint::Messages).await;
        assert!(text.contains("event: error\ndata: {") && !text.contains("message_stop"), "{text}");
        for end in [
            "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
            "data: {\"type\":\"response.completed\",\"response\":{}}\n\n",
            "event:response.done\ndata: {\"type\":\"response.done\"}\r\n\r\n",
        ] {
            let whole: &'static str = format!("error: busy\n\n{end}").leak();
            let text = forwarded(&[Ok(whole), Err(FailureKind::InBand)], Endpoint::Responses).await;
            assert!(text.contains("event: error\ndata: {") && !text.contains("\"response."), "{text}");
        }
    }

    #[tokio::test]
    async fn a_complete_stream_keeps_its_end() {
        for end in ["data: [DONE]\n\n", "data: [DONE]"] {
            assert_eq!(
                forwarded(&[Ok("data: {}\n\n"), Ok(end)], Endpoint::ChatCompletions).await,
                format!("data: {{}}\n\n{end}")
            );
        }
    }

    #[tokio::test]
    async fn an_error_that_the_provider_reported_in_the_stream_is_not_repeated() {
        for last in ["data: {\"error\":{}}\n\n", "data: {\"error\":{}}\n", "data: {\"error\":{}}"] {
            let text = forwarded(
                &[Ok("data: a\n\n"), Ok(last), Err(FailureKind::InBand)],
                Endpoint::ChatCompletions,
            )
            .await;
            assert_eq!(text.trim_end(), "data: a\n\ndata: {\"error\":{}}");
            assert!(text.ends_with("\n\n"), "an event without an empty line is ignored: {text:?}");
        }
    }
}
