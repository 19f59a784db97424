use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::ERROR_BODY_LIMIT;
use crate::{BodyProbe, BoxError, ErrorCode, Failure, FailureKind};

/// The status has said the most important thing: a body that does not come in this time is not waited for.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Each frame takes room as well. Who sends a blank a second to keep the line open has seventeen minutes.
const MAX_FRAMES: usize = 1024;

/// A body that was read before it was passed on, to its end, to [`ERROR_BODY_LIMIT`] or 1024 frames, or until it was known what it is:
/// the same frames again.
///
/// What lies below is boxed, so that it can be read in one place and move to another.
pub struct BufferedBody<B> {
    /// Most are in one piece.
    first: Bytes,
    frames: VecDeque<Frame<Bytes>>,
    buffered_len: usize,
    error: Option<BoxError>,
    has_ended: bool,
    read_timeout: Option<Pin<Box<Sleep>>>,
    inner: Pin<Box<B>>,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> BufferedBody<B> {
    /// Nothing has been read yet.
    pub(super) fn new(inner: B) -> Self {
        Self {
            first: Bytes::new(),
            frames: VecDeque::new(),
            buffered_len: 0,
            error: None,
            has_ended: false,
            read_timeout: None,
            inner: Box::pin(inner),
        }
    }

    /// Reads until there is enough to judge: the end, an error, the limit, or silence.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_enough() {
            if self.poll_more(cx).is_pending() {
                let read_timeout =
                    self.read_timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(READ_TIMEOUT)));
                return read_timeout.as_mut().poll(cx);
            }
        }
        Poll::Ready(())
    }

    /// Reads until its beginning says what it is, as `probe` knows; of what says nothing up to its end or the limit
    /// nothing bad is known. Unclear is what [broke off](Self::into_error) before that. To be asked again is no harm.
    ///
    /// It has no clock of its own: some keep a connection alive with blanks for as long as the model thinks.
    pub(super) fn poll_probe(
        &mut self,
        cx: &mut Context<'_>,
        probe: impl Fn(&[u8]) -> BodyProbe,
    ) -> Poll<BodyProbe> {
        let mut probed = 0;
        loop {
            let is_pending = !self.is_enough() && self.poll_more(cx).is_pending();
            let is_enough = self.is_enough();
            // Looked at again where there is nothing else to do, or as much again: a body in crumbs costs no more.
            if self.buffered_len > probed && (is_pending || is_enough || self.buffered_len >= 2 * probed) {
                probed = self.buffered_len;
                match probe(&self.bytes()) {
                    BodyProbe::Unclear => {}
                    decided => return Poll::Ready(decided),
                }
            }
            if is_enough {
                return Poll::Ready(match self.error {
                    None => BodyProbe::Success,
                    Some(_) => BodyProbe::Unclear,
                });
            }
            if is_pending {
                return Poll::Pending;
            }
        }
    }

    /// The error in which it broke off.
    pub(super) fn into_error(self) -> BoxError {
        self.error.unwrap_or_else(|| {
            Failure { kind: FailureKind::Truncated, ..Failure::new(ErrorCode::ServerError) }.into()
        })
    }

    fn is_enough(&self) -> bool {
        let is_full = self.buffered_len >= ERROR_BODY_LIMIT || self.frames.len() >= MAX_FRAMES;
        is_full || self.error.is_some() || self.has_ended
    }

    /// Reads what comes next, the end included.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.inner.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.buffer(frame);
                self.has_ended = self.inner.is_end_stream();
            }
            Some(Err(error)) => self.error = Some(error.into()),
            None => self.has_ended = true,
        }
        Poll::Ready(())
    }

    fn buffer(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            // Bounded in bytes, and so in frames.
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                self.buffered_len += data.len();
                match self.buffered_len == data.len() && self.frames.is_empty() {
                    true => self.first = data,
                    false => self.frames.push_back(Frame::data(data)),
                }
            }
            Err(other) => self.frames.push_back(other),
        }
    }

    /// What has been read, at most [`ERROR_BODY_LIMIT`] bytes of it. One frame is not copied.
    pub(super) fn bytes(&self) -> Cow<'_, [u8]> {
        let limit = |bytes: &[u8]| bytes.len().min(ERROR_BODY_LIMIT);
        if self.buffered_len == self.first.len() {
            return Cow::Borrowed(&self.first[..limit(&self.first)]);
        }
        let mut bytes = Vec::with_capacity(self.buffered_len);
        bytes.extend_from_slice(&self.first);
        self.frames.iter().filter_map(Frame::data_ref).for_each(|data| bytes.extend_from_slice(data));
        bytes.truncate(limit(&bytes));
        Cow::Owned(bytes)
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for BufferedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.first.is_empty() {
            self.buffered_len -= self.first.len();
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        if let Some(frame) = self.frames.pop_front() {
            self.buffered_len -= frame.data_ref().map_or(0, Bytes::len);
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = self.error.take() {
            self.has_ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.buffered_len == 0
            && self.frames.is_empty()
            && self.error.is_none()
            && (self.has_ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let buffered = self.buffered_len as u64;
        if self.has_ended {
            return SizeHint::with_exact(buffered);
        }
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(buffered));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(buffered));
        }
        hint
    }
}

impl<B> fmt::Debug for BufferedBody<B> {
    /// Nothing of what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("length", &self.buffered_len)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}
