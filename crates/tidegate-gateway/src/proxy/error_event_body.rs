use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tidegate::provider::{ErrorBody, FailureKind};
use tidegate::{Error, Outcome};

use crate::endpoint::Endpoint;

/// A stream body that ends in an error event of the caller's dialect when the inner body fails.
///
/// The bytes are forwarded unchanged, but in whole lines: an incomplete line would run into the error event.
/// When the inner body ends without an error, an incomplete last line is forwarded as well.
#[pin_project]
#[derive(Debug)]
pub(super) struct ErrorEventBody<B> {
    #[pin]
    inner: B,
    endpoint: Endpoint,
    /// The beginning of an incomplete line.
    partial_line: BytesMut,
    has_ended: bool,
}

/// The most bytes of a line that are buffered. A longer line is forwarded in parts.
const MAX_PARTIAL_LINE: usize = 256 * 1024;

impl<B> ErrorEventBody<B> {
    pub(super) fn new(inner: B, endpoint: Endpoint) -> Self {
        Self { inner, endpoint, partial_line: BytesMut::new(), has_ended: false }
    }
}

impl<B: Body<Data = Bytes, Error = Error>> Body for ErrorEventBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        while !*this.has_ended {
            let last = match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match whole_lines(this.partial_line, data) {
                        Some(lines) => return Poll::Ready(Some(Ok(Frame::data(lines)))),
                        None => continue,
                    },
                    // Trailers have no meaning for readers of events.
                    Err(_) => continue,
                },
                Some(Err(error)) if is_in_band(&error) => Some(end_of_error_event(this.partial_line)),
                Some(Err(error)) => Some(error_event(&error, *this.endpoint)),
                None => Some(this.partial_line.split().freeze()),
            };
            *this.has_ended = true;
            return Poll::Ready(last.filter(|last| !last.is_empty()).map(|last| Ok(Frame::data(last))));
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

/// Returns all complete lines that were received, and keeps the incomplete last one in `partial_line`.
fn whole_lines(partial_line: &mut BytesMut, data: Bytes) -> Option<Bytes> {
    let end = data.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    // Most frames consist of whole lines, and are forwarded without a copy.
    if partial_line.is_empty() && end == data.len() {
        return Some(data);
    }
    let buffered = partial_line.len();
    partial_line.extend_from_slice(&data);
    match (end, partial_line.len() > MAX_PARTIAL_LINE) {
        (_, true) => Some(partial_line.split().freeze()),
        (0, false) => None,
        (end, false) => Some(partial_line.split_to(buffered + end).freeze()),
    }
}

/// Whether the provider reported the error in the stream itself.
fn is_in_band(error: &Error) -> bool {
    let outcome = Outcome::of_error(&**error);
    outcome.failure().is_some_and(|failure| failure.kind == FailureKind::InBand)
}

/// The rest of the provider's own error event, and the empty line that ends it. Without that line clients
/// ignore the event.
fn end_of_error_event(partial_line: &mut BytesMut) -> Bytes {
    partial_line.extend_from_slice(b"\n\n");
    partial_line.split().freeze()
}

/// The error event for a stream that broke off. It begins with an empty line, which ends the previous event.
fn error_event(error: &Error, endpoint: Endpoint) -> Bytes {
    let body = ErrorBody::of_error(&**error);
    let (code, message) = (body.code(), body.message());
    let event = match endpoint {
        Endpoint::Messages => {
            let error = serde_json::json!({
                "type": "error", "error": {"type": anthropic_type(code), "message": message},
            });
            format!("\n\nevent: error\ndata: {error}\n\n")
        }
        Endpoint::Responses => {
            let error =
                serde_json::json!({"type": "error", "code": code.code(), "message": message, "param": null});
            format!("\n\nevent: error\ndata: {error}\n\n")
        }
        Endpoint::ChatCompletions | Endpoint::Embeddings => {
            let error = serde_json::json!({
                "error": {"message": message, "type": "server_error", "param": null, "code": code.code()},
            });
            format!("\n\ndata: {error}\n\n")
        }
    };
    event.into()
}

/// The error type of Anthropic's API for `code`.
fn anthropic_type(code: tidegate::ErrorCode) -> &'static str {
    match code {
        tidegate::ErrorCode::Timeout => "timeout_error",
        tidegate::ErrorCode::Overloaded => "overloaded_error",
        _ => "api_error",
    }
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
        let body = ErrorEventBody::new(StreamBody::new(futures_util::stream::iter(frames)), endpoint);
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
    async fn a_broken_stream_ends_in_an_error_event_after_its_last_whole_line() {
        let chunks = [Ok("data: a\n\nda"), Ok("ta: {\"half"), Err(FailureKind::Truncated)];
        let openai = forwarded(&chunks, Endpoint::ChatCompletions).await;
        let (whole, error) = openai.split_once("data: {").unwrap();
        assert_eq!(whole.trim_end(), "data: a");
        assert!(error.contains("E3001") && error.ends_with("}\n\n"), "{error}");
        let anthropic = forwarded(&chunks, Endpoint::Messages).await;
        assert!(anthropic.starts_with("data: a\n\n\n\nevent: error\ndata: {"), "{anthropic}");
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
