use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::Redactor;

/// A body in which whole keys of providers are masked, also those that are split between frames. Its length
/// does not change.
///
/// The end of a frame is held back while a key may begin in it.
#[pin_project]
#[derive(Debug)]
pub(super) struct RedactedBody<B: Body> {
    #[pin]
    inner: B,
    redactor: Arc<Redactor>,
    held: Bytes,
    /// What follows the bytes that were held: trailers, or an error.
    next: Option<Result<Frame<Bytes>, B::Error>>,
    has_ended: bool,
}

impl<B: Body> RedactedBody<B> {
    pub(super) fn new(inner: B, redactor: Arc<Redactor>) -> Self {
        Self { inner, redactor, held: Bytes::new(), next: None, has_ended: false }
    }
}

impl<B: Body<Data = Bytes>> Body for RedactedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        if let Some(next) = this.next.take() {
            return Poll::Ready(Some(next));
        }
        if *this.has_ended {
            return Poll::Ready(None);
        }
        loop {
            let next = match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let mut data = this.redactor.mask(joined(std::mem::take(this.held), data));
                        if !this.inner.is_end_stream() {
                            *this.held = data.split_off(data.len() - this.redactor.held_back(&data));
                        }
                        if data.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Err(trailers) => Some(Ok(trailers)),
                },
                other => other,
            };
            *this.has_ended = next.is_none();
            if this.held.is_empty() {
                return Poll::Ready(next);
            }
            *this.next = next;
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.held)))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.next.is_none() && (self.has_ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, held) = (self.inner.size_hint(), self.held.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

fn joined(held: Bytes, data: Bytes) -> Bytes {
    if held.is_empty() {
        return data;
    }
    let mut joined = BytesMut::from(held);
    joined.extend_from_slice(&data);
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const KEY: &str = "sk-proj-4fT9qLmZ07vWn2RkYhbE";

    type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

    fn body(frames: Frames) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let redactor = Arc::new(Redactor::new([KEY, "short-key", "sk-proj-4fT9qLmZ07vWn2RkYhbF"]));
        RedactedBody::new(StreamBody::new(futures_util::stream::iter(frames)), redactor)
    }

    #[tokio::test]
    async fn a_key_is_masked_wherever_it_is_split_and_all_else_is_unchanged() {
        let text = format!(": {KEY} sk-proj-4fT9 short-key{KEY}{KEY}\n\nsk-pro");
        let expected = text.replace(KEY, &"*".repeat(KEY.len()));
        for first in 0..text.len() {
            for second in first..text.len() {
                let parts = [&text[..first], &text[first..second], &text[second..]];
                let frames =
                    parts.iter().map(|part| Ok(Frame::data(Bytes::copy_from_slice(part.as_bytes()))));
                let collected = body(frames.collect()).collect().await.unwrap().to_bytes();
                assert_eq!(collected, expected, "split at {first} and {second}");
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_a_line_is_held_and_trailers_follow_it() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "1".parse().unwrap());
        let frames = vec![
            Ok(Frame::data(Bytes::from("data: a\n\n"))),
            Ok(Frame::data(Bytes::from("b\nthe sk"))),
            Ok(Frame::trailers(trailers)),
        ];
        let mut body = body(frames);
        let mut received = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            received.push(frame.into_data().map_err(|frame| frame.is_trailers()));
        }
        let data = |text: &'static str| Ok(Bytes::from(text));
        assert_eq!(received, [data("data: a\n\n"), data("b\n"), data("the sk"), Err(true)]);
        assert!(body.is_end_stream() || body.size_hint().lower() == 0);
    }
}
