use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::ERROR_BODY_LIMIT;
use crate::BoxError;

/// The status has said the most important thing: a body that does not come in this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body that was read, to its end or to [`ERROR_BODY_LIMIT`], before it was passed on: the same frames again.
///
/// What lies below is boxed, so that it can be read in one place and move to another: one allocation per
/// failed answer.
#[derive(Debug)]
pub struct Held<B> {
    frames: VecDeque<Frame<Bytes>>,
    length: usize,
    error: Option<BoxError>,
    has_ended: bool,
    patience: Option<Pin<Box<Sleep>>>,
    rest: Pin<Box<B>>,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Held<B> {
    /// Nothing has been read yet.
    pub(super) fn new(rest: B) -> Self {
        Self {
            frames: VecDeque::new(),
            length: 0,
            error: None,
            has_ended: false,
            patience: None,
            rest: Box::pin(rest),
        }
    }

    /// Reads until there is enough to judge: the end, an error, the limit, or silence.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.error.is_none() && !self.has_ended && self.length < ERROR_BODY_LIMIT {
            let Poll::Ready(next) = self.rest.as_mut().poll_frame(cx) else {
                let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
                return patience.as_mut().poll(cx);
            };
            match next {
                // Bounded in bytes, and so in frames.
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(Ok(frame)) => {
                    self.length += frame.data_ref().map_or(0, Bytes::len);
                    self.frames.push_back(frame);
                    self.has_ended = self.rest.is_end_stream();
                }
                Some(Err(error)) => self.error = Some(error.into()),
                None => self.has_ended = true,
            }
        }
        Poll::Ready(())
    }

    /// What has been read, at most [`ERROR_BODY_LIMIT`] bytes of it. One frame is not copied.
    pub(super) fn text(&self) -> Bytes {
        let mut data = self.frames.iter().filter_map(Frame::data_ref);
        let mut text = match (data.next(), data.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only.clone(),
            (Some(first), Some(second)) => {
                let mut text = BytesMut::with_capacity(self.length);
                [first, second].into_iter().chain(data).for_each(|data| text.extend_from_slice(data));
                text.freeze()
            }
        };
        text.truncate(ERROR_BODY_LIMIT);
        text
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for Held<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.frames.pop_front() {
            self.length -= frame.data_ref().map_or(0, Bytes::len);
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = self.error.take() {
            self.has_ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let frame = ready!(self.rest.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.error.is_none() && (self.has_ended || self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.length as u64;
        if self.has_ended {
            return SizeHint::with_exact(held);
        }
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}
