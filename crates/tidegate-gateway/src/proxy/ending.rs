use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tidegate::{BoxError, ErrorBody, FailureKind, Outcome};

use crate::endpoint::Endpoint;

/// A stream that never ends without a word: when it breaks, an error event of the caller's dialect is its last.
///
/// The bytes pass as they come, but only whole lines: half a line followed by an error would be read as one. A
/// clean end passes on whatever there is.
#[pin_project]
#[derive(Debug)]
pub(super) struct Ending<B> {
    #[pin]
    inner: B,
    endpoint: Endpoint,
    /// The beginning of a line whose end has not come.
    half: BytesMut,
    has_ended: bool,
}

/// A longer line passes in pieces.
const MAX_HALF: usize = 256 * 1024;

impl<B> Ending<B> {
    pub(super) fn new(inner: B, endpoint: Endpoint) -> Self {
        Self { inner, endpoint, half: BytesMut::new(), has_ended: false }
    }
}

impl<B: Body<Data = Bytes, Error = BoxError>> Body for Ending<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        while !*this.has_ended {
            let last = match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match whole_lines(this.half, data) {
                        Some(lines) => return Poll::Ready(Some(Ok(Frame::data(lines)))),
                        None => continue,
                    },
                    // Trailers are of no use to those who read events.
                    Err(_) => continue,
                },
                Some(Err(error)) if is_told(&error) => Some(last_word(this.half)),
                Some(Err(error)) => Some(event_of(&error, *this.endpoint)),
                None => Some(this.half.split().freeze()),
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

/// What has come up to the end of a line; the rest waits for its own.
fn whole_lines(half: &mut BytesMut, data: Bytes) -> Option<Bytes> {
    let end = data.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    // Nearly always a piece is whole lines, and passes without a copy.
    if half.is_empty() && end == data.len() {
        return Some(data);
    }
    let waiting = half.len();
    half.extend_from_slice(&data);
    match (end, half.len() > MAX_HALF) {
        (_, true) => Some(half.split().freeze()),
        (0, false) => None,
        (end, false) => Some(half.split_to(waiting + end).freeze()),
    }
}

/// Whether the provider has told its error in the stream itself.
fn is_told(error: &BoxError) -> bool {
    let outcome = Outcome::of_error(&**error);
    outcome.failure().is_some_and(|failure| failure.cause == FailureKind::InBand)
}

/// What is left of the provider's own error event, and the empty line without which nobody would read it.
fn last_word(half: &mut BytesMut) -> Bytes {
    half.extend_from_slice(b"\n\n");
    half.split().freeze()
}

/// The error event for a stream that broke. It begins with an empty line, which ends the event before it.
fn event_of(error: &BoxError, endpoint: Endpoint) -> Bytes {
    let envelope = ErrorBody::of_error(&**error);
    let (code, message) = (envelope.code(), envelope.message());
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

/// Anthropic's own word for what the code says.
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
    use tidegate::{ErrorCode, Failure};

    use super::*;

    type Piece = Result<&'static str, FailureKind>;

    async fn told(pieces: &[Piece], endpoint: Endpoint) -> String {
        let frames = pieces.iter().map(|piece| match piece {
            Ok(text) => Ok(Frame::data(Bytes::from(*text))),
            Err(cause) => Err(Failure { cause: *cause, ..Failure::new(ErrorCode::ServerError) }.into()),
        });
        let frames: Vec<Result<Frame<Bytes>, BoxError>> = frames.collect();
        let body = Ending::new(StreamBody::new(futures_util::stream::iter(frames)), endpoint);
        String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap()
    }

    #[tokio::test]
    async fn a_good_stream_passes_byte_for_byte_however_it_is_cut() {
        let cut = [Ok("data: a\n"), Ok("\nda"), Ok("ta: b\r\n\r\ndata: c"), Ok("\n\ndata: [DONE]")];
        assert_eq!(
            told(&cut, Endpoint::ChatCompletions).await,
            "data: a\n\ndata: b\r\n\r\ndata: c\n\ndata: [DONE]"
        );
    }

    #[tokio::test]
    async fn a_broken_stream_ends_in_an_error_event_after_its_last_whole_line() {
        let pieces = [Ok("data: a\n\nda"), Ok("ta: {\"half"), Err(FailureKind::Truncated)];
        let openai = told(&pieces, Endpoint::ChatCompletions).await;
        let (whole, error) = openai.split_once("data: {").unwrap();
        assert_eq!(whole.trim_end(), "data: a");
        assert!(error.contains("E3001") && error.ends_with("}\n\n"), "{error}");
        let anthropic = told(&pieces, Endpoint::Messages).await;
        assert!(anthropic.starts_with("data: a\n\n\n\nevent: error\ndata: {"), "{anthropic}");
    }

    #[tokio::test]
    async fn a_provider_that_told_its_error_is_not_repeated() {
        for last in ["data: {\"error\":{}}\n\n", "data: {\"error\":{}}\n", "data: {\"error\":{}}"] {
            let told =
                told(&[Ok("data: a\n\n"), Ok(last), Err(FailureKind::InBand)], Endpoint::ChatCompletions)
                    .await;
            assert_eq!(told.trim_end(), "data: a\n\ndata: {\"error\":{}}");
            assert!(told.ends_with("\n\n"), "an event without an empty line is read by nobody: {told:?}");
        }
    }
}
