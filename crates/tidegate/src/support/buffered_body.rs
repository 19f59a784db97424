use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tidegate_core::JsonDepth;
use tokio::time::Sleep;

use crate::body::UnchangedBody;
use crate::{BodyProbe, BoxError, Error, ErrorCode, Failure, FailureKind};

/// The most bytes of an error body that are read before it is classified.
pub const ERROR_BODY_LIMIT: usize = 64 * 1024;

/// The time limit for reading an error body. The status has already determined that the response failed.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of buffered frames is limited as well, because each frame uses memory of its own: to one for
/// every so many bytes of the limit, and to 1024 for an error body. A provider that sends one whitespace byte
/// per second to keep the connection alive reaches that after seventeen minutes.
const BYTES_PER_FRAME: usize = 64;

/// The limit on the number of frames is no lower than this.
const MIN_FRAME_LIMIT: usize = 1024;

/// A body of which the first part was read before it is passed on: up to its end or a limit, or until it was
/// identified. It yields the same frames again.
///
/// The inner body is boxed, so that it can be read in the future and then move into the response.
pub struct BufferedBody<B: Body> {
    /// The first data frame; most bodies have only one.
    first: Bytes,
    frames: VecDeque<Frame<Bytes>>,
    buffered_len: usize,
    /// The number of frames that were read. It is limited too, so that reading ends even if all frames are
    /// empty.
    frames_read: usize,
    /// Reading stops once so many bytes are buffered.
    limit: usize,
    error: Option<Error>,
    has_ended: bool,
    /// The nesting of a JSON document that has to be closed at the end, if the connection does not count its
    /// bytes.
    open: Option<JsonDepth>,
    read_timeout: Option<Pin<Box<Sleep>>>,
    inner: Pin<Box<UnchangedBody<B>>>,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> BufferedBody<B> {
    /// Wraps a body of which nothing has been read. It is read up to [`ERROR_BODY_LIMIT`].
    pub(crate) fn new(inner: B) -> Self {
        Self::with_limit(inner, ERROR_BODY_LIMIT)
    }

    /// Wraps a body of which nothing has been read. It is read to its end if it has at most `max_len` bytes;
    /// then it [is whole](Self::is_whole).
    pub(crate) fn up_to(inner: B, max_len: usize) -> Self {
        Self::with_limit(inner, max_len.saturating_add(1))
    }

    fn with_limit(inner: B, limit: usize) -> Self {
        Self {
            first: Bytes::new(),
            frames: VecDeque::new(),
            buffered_len: 0,
            frames_read: 0,
            limit,
            error: None,
            has_ended: false,
            open: None,
            read_timeout: None,
            inner: Box::pin(UnchangedBody::new(inner)),
        }
    }
}

impl<B: Body<Data = Bytes>> BufferedBody<B> {
    /// Reads until the end, an error or the limit.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_scan(cx, |_| {})
    }

    /// Reads until the end, an error or the limit, and passes all data that it reads to `scan`.
    pub(crate) fn poll_scan(&mut self, cx: &mut Context<'_>, mut scan: impl FnMut(&Bytes)) -> Poll<()> {
        while !self.is_enough() {
            ready!(self.poll_more(cx, &mut scan));
        }
        Poll::Ready(())
    }

    /// Reads until the end, an error or the limit, and no longer than an error body is waited for.
    pub(crate) fn poll_read_error_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_read(cx).is_ready() {
            return Poll::Ready(());
        }
        let read_timeout =
            self.read_timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(READ_TIMEOUT)));
        read_timeout.as_mut().poll(cx)
    }

    /// Reads until `probe` identifies the body. The result is `Unclear` only if its end or the limit comes
    /// first. It may be polled again.
    ///
    /// There is no time limit: some providers keep a connection alive with whitespace for as long as the
    /// model computes.
    pub(crate) fn poll_probe(
        &mut self,
        cx: &mut Context<'_>,
        probe: impl Fn(&[u8]) -> BodyProbe,
    ) -> Poll<BodyProbe> {
        let mut probed = 0;
        loop {
            let is_pending = !self.is_enough() && self.poll_more(cx, |_| {}).is_pending();
            let is_enough = self.is_enough();
            // Probed again only when the body is pending or has doubled in size, so that a body in many small
            // frames costs no more than one in a single frame.
            if self.buffered_len > probed && (is_pending || is_enough || self.buffered_len >= 2 * probed) {
                probed = self.buffered_len;
                match probe(&self.bytes()) {
                    BodyProbe::Unclear => {}
                    decided => return Poll::Ready(decided),
                }
            }
            if is_enough {
                return Poll::Ready(BodyProbe::Unclear);
            }
            if is_pending {
                return Poll::Pending;
            }
        }
    }

    /// Whether the whole body is buffered.
    pub(crate) fn is_whole(&self) -> bool {
        self.has_ended && self.error.is_none() && self.is_within_limit()
    }

    /// Whether the limit has not been reached.
    pub(crate) fn is_within_limit(&self) -> bool {
        self.buffered_len < self.limit
    }

    /// Whether the body ended or broke off, so that no more than the buffered bytes will arrive.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended || self.error.is_some()
    }

    /// Whether the body broke off.
    pub(crate) fn broke_off(&self) -> bool {
        self.error.is_some()
    }

    /// Reads up to `max_len` bytes from here on; then it [is whole](Self::is_whole).
    pub(crate) fn extend_to(&mut self, max_len: usize) {
        self.limit = max_len.saturating_add(1);
    }

    /// Takes the error with which the body broke off, if it did.
    pub(crate) fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// The error with which the body broke off.
    pub(crate) fn into_error(self) -> Error {
        self.error.unwrap_or_else(truncated)
    }

    /// Ends the body in an error if it is JSON that is not closed.
    pub(crate) fn expect_closed(&mut self) {
        self.open = Some(JsonDepth::new());
    }

    /// The next frame: one that was buffered, or one of the inner body.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
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
        self.inner.as_mut().poll_frame(cx)
    }

    fn is_enough(&self) -> bool {
        let is_full = self.buffered_len >= self.limit
            || self.frames.len() >= (self.limit / BYTES_PER_FRAME).max(MIN_FRAME_LIMIT)
            || self.frames_read >= self.limit.max(ERROR_BODY_LIMIT);
        is_full || self.error.is_some() || self.has_ended
    }

    /// Reads the next frame or the end.
    fn poll_more(&mut self, cx: &mut Context<'_>, scan: impl FnOnce(&Bytes)) -> Poll<()> {
        match ready!(self.inner.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.frames_read += 1;
                frame.data_ref().map(scan);
                self.buffer(frame);
                self.has_ended = self.inner.is_end_stream();
            }
            Some(Err(error)) => self.error = Some(error),
            None => self.has_ended = true,
        }
        Poll::Ready(())
    }

    fn buffer(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            // Empty frames are dropped: they carry nothing.
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                self.buffered_len += data.len();
                if self.buffered_len == data.len() && self.frames.is_empty() {
                    self.first = data
                } else {
                    self.frames.push_back(Frame::data(compact(data)))
                }
            }
            Err(other) => self.frames.push_back(other),
        }
    }

    /// The bytes that have been read, at most as many as the limit. A single frame is not copied.
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        let limit = |bytes: &[u8]| bytes.len().min(self.limit);
        if self.buffered_len == self.first.len() {
            return Cow::Borrowed(&self.first[..limit(&self.first)]);
        }
        let mut bytes = Vec::with_capacity(self.buffered_len);
        bytes.extend_from_slice(&self.first);
        self.frames.iter().filter_map(Frame::data_ref).for_each(|data| bytes.extend_from_slice(data));
        bytes.truncate(limit(&bytes));
        Cow::Owned(bytes)
    }

    /// The bytes that have been read, without the rest of the body.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.bytes() {
            Cow::Borrowed(bytes) => self.first.slice_ref(bytes),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for BufferedBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(mut open) = self.open else { return self.poll_next(cx) };
        let frame = ready!(self.poll_next(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    open.push(data);
                    self.open = Some(open);
                }
            }
            None if open.is_open() => {
                (self.open, self.has_ended) = (None, true);
                return Poll::Ready(Some(Err(truncated())));
            }
            Some(Err(_)) | None => {}
        }
        Poll::Ready(frame)
    }

    /// A document that is cut short still has to be reported.
    fn is_end_stream(&self) -> bool {
        self.buffered_len == 0
            && self.frames.is_empty()
            && self.error.is_none()
            && (self.has_ended || self.inner.is_end_stream())
            && !self.open.is_some_and(|open| open.is_open())
    }

    fn size_hint(&self) -> SizeHint {
        // A length would be an end before it is certain that the document is closed.
        if self.open.is_some() {
            return SizeHint::new();
        }
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

/// The length below which data is copied before it is kept. The data of a connection is a slice of its read
/// buffer, of 8 KiB and more, and any slice keeps the whole buffer in memory.
const COMPACT_BELOW: usize = 4096;

/// The same data, without a buffer that is much larger.
pub(crate) fn compact(data: Bytes) -> Bytes {
    if data.len() < COMPACT_BELOW { Bytes::copy_from_slice(&data) } else { data }
}

/// The error of a body that ended too early.
pub(crate) fn truncated() -> Error {
    Failure { kind: FailureKind::Truncated, ..Failure::new(ErrorCode::ServerError) }.into()
}

partial_debug!([B: Body] BufferedBody<B>, "BufferedBody", buffered_len, has_ended);
