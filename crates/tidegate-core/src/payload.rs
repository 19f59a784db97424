use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use sync_wrapper::SyncWrapper;

use crate::{BoxError, UploadError};

/// A request body that can be sent again.
///
/// A body up to a cap is buffered as bytes, and [`replay`](Self::replay) clones it by reference count. A
/// longer body is streamed once, beginning with the part that was already read, and reports that it cannot be
/// replayed.
///
/// ```
/// use tidegate_core::Payload;
///
/// let payload = Payload::from("{\"model\":\"gpt-4o\"}");
/// assert!(payload.replay().is_some());
/// assert_eq!(payload.bytes().unwrap().len(), 18);
/// ```
pub struct Payload(PayloadKind);

enum PayloadKind {
    Buffered {
        data: Bytes,
        trailers: Option<Box<HeaderMap>>,
    },
    /// `length` is the size hint of what is left of the body.
    Streamed {
        body: SyncWrapper<UnsyncBoxBody<Bytes, BoxError>>,
        length: SizeHint,
    },
}

impl Payload {
    /// The default cap: 32 MiB, the largest request that the big providers accept.
    pub const DEFAULT_CAP: usize = 32 * 1024 * 1024;

    /// An empty body.
    #[must_use]
    pub const fn empty() -> Self {
        Self::buffered(Bytes::new())
    }

    const fn buffered(data: Bytes) -> Self {
        Self(PayloadKind::Buffered { data, trailers: None })
    }

    /// A body that is not buffered and is streamed once.
    pub fn streamed<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::prefixed(Bytes::new(), None, Box::pin(body))
    }

    fn prefixed<B>(prefix: Bytes, trailers: Option<Box<HeaderMap>>, body: Pin<Box<B>>) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let rest = PrefixedBody { prefix, trailers, body };
        let length = rest.size_hint();
        Self(PayloadKind::Streamed { body: SyncWrapper::new(UnsyncBoxBody::new(rest)), length })
    }

    /// Reads `body` until it ends or exceeds `cap` bytes. A payload that is already buffered is returned as
    /// it is. With a cap of zero nothing is read.
    pub fn collect<B>(body: B, cap: usize) -> Collect<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let source = match downcast::<B, Self>(body) {
            Ok(payload) if payload.is_replayable() || cap == 0 => CollectSource::Payload(Some(payload)),
            // An outer layer did not buffer the whole body, but this one may have a larger cap.
            Ok(payload) => CollectSource::Body(Some(Box::pin(downcast(payload).expect("it had this type")))),
            Err(body) if body.is_end_stream() => CollectSource::Payload(Some(Self::empty())),
            Err(body) if cap == 0 => CollectSource::Payload(Some(Self::streamed(body))),
            Err(body) => CollectSource::Body(Some(Box::pin(body))),
        };
        Collect { source, read: CollectBuffer::default(), cap }
    }

    /// A clone of the body, by reference count. `None` if the body is streamed once.
    #[must_use]
    pub fn replay(&self) -> Option<Self> {
        match &self.0 {
            PayloadKind::Buffered { data, trailers } => {
                Some(Self(PayloadKind::Buffered { data: data.clone(), trailers: trailers.clone() }))
            }
            PayloadKind::Streamed { .. } => None,
        }
    }

    /// Whether [`replay`](Self::replay) returns a body.
    #[must_use]
    pub const fn is_replayable(&self) -> bool {
        matches!(self.0, PayloadKind::Buffered { .. })
    }

    /// The bytes of a body that is buffered and not yet sent.
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            PayloadKind::Buffered { data, .. } => Some(data),
            PayloadKind::Streamed { .. } => None,
        }
    }
}

/// Converts a buffered body without trailers into its bytes. Any other body is returned as the error.
impl TryFrom<Payload> for Bytes {
    type Error = Payload;

    fn try_from(payload: Payload) -> Result<Self, Payload> {
        match payload.0 {
            PayloadKind::Buffered { data, trailers: None } => Ok(data),
            _ => Err(payload),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::empty()
    }
}

/// Shows the length and never the bytes, because they contain the prompt.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            PayloadKind::Buffered { data, .. } => write!(f, "Payload({} bytes)", data.len()),
            PayloadKind::Streamed { .. } => f.write_str("Payload(streamed once)"),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(data: Bytes) -> Self {
        Self::buffered(data)
    }
}

impl From<&'static str> for Payload {
    fn from(data: &'static str) -> Self {
        Self::buffered(Bytes::from_static(data.as_bytes()))
    }
}

impl From<String> for Payload {
    fn from(data: String) -> Self {
        Self::buffered(data.into())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(data: Vec<u8>) -> Self {
        Self::buffered(data.into())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            PayloadKind::Buffered { data, .. } if !data.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))))
            }
            PayloadKind::Buffered { trailers, .. } => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            PayloadKind::Streamed { body, length } => {
                let frame = ready!(Pin::new(body.get_mut()).poll_frame(cx));
                if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                    *length = without(*length, data.len() as u64);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, PayloadKind::Buffered { data, trailers: None } if data.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            PayloadKind::Buffered { data, .. } => SizeHint::with_exact(data.len() as u64),
            PayloadKind::Streamed { length, .. } => *length,
        }
    }
}

/// The size hint after `read` bytes were read.
fn without(length: SizeHint, read: u64) -> SizeHint {
    let mut left = SizeHint::new();
    left.set_lower(length.lower().saturating_sub(read));
    if let Some(upper) = length.upper() {
        left.set_upper(upper.saturating_sub(read));
    }
    left
}

/// The future that [`Payload::collect`] returns. It resolves to a [`Payload`], or to the error of the body.
///
/// A body that is not a payload yet is boxed once, so that it can be streamed beyond the cap.
pub struct Collect<B> {
    source: CollectSource<B>,
    read: CollectBuffer,
    cap: usize,
}

enum CollectSource<B> {
    Payload(Option<Payload>),
    Body(Option<Pin<Box<B>>>),
}

/// The part of the body that has been read. A body of one frame is kept without a copy.
#[derive(Default)]
struct CollectBuffer {
    first: Bytes,
    rest: BytesMut,
    trailers: Option<Box<HeaderMap>>,
}

impl CollectBuffer {
    fn len(&self) -> usize {
        self.first.len().max(self.rest.len())
    }

    fn push(&mut self, mut data: impl Buf) {
        if self.len() == 0 {
            self.first = data.copy_to_bytes(data.remaining());
            return;
        }
        if self.rest.is_empty() {
            self.rest.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            self.rest.extend_from_slice(chunk);
            let read = chunk.len();
            data.advance(read);
        }
    }

    fn take(&mut self) -> (Bytes, Option<Box<HeaderMap>>) {
        let Self { first, rest, trailers } = std::mem::take(self);
        (if rest.is_empty() { first } else { rest.freeze() }, trailers)
    }
}

impl<B> Future for Collect<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Output = Result<Payload, BoxError>;

    /// # Panics
    ///
    /// If polled again after it has completed.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { source, read, cap } = &mut *self;
        let slot = match source {
            CollectSource::Payload(payload) => {
                return Poll::Ready(Ok(payload.take().expect("polled after completion")));
            }
            CollectSource::Body(slot) => slot,
        };
        let body = slot.as_mut().expect("polled after completion");
        while read.len() <= *cap {
            let frame = match ready!(body.as_mut().poll_frame(cx)) {
                Some(frame) => frame.map_err(UploadError::new)?,
                None => {
                    let (data, trailers) = read.take();
                    return Poll::Ready(Ok(Payload(PayloadKind::Buffered { data, trailers })));
                }
            };
            match frame.into_data() {
                Ok(data) => read.push(data),
                Err(frame) => read.trailers = frame.into_trailers().ok().map(Box::new),
            }
        }
        let (prefix, trailers) = read.take();
        let body = slot.take().expect("checked above");
        Poll::Ready(Ok(Payload::prefixed(prefix, trailers, body)))
    }
}

/// A body that was too long to buffer: the part that was already read, followed by the rest.
struct PrefixedBody<B> {
    prefix: Bytes,
    trailers: Option<Box<HeaderMap>>,
    body: Pin<Box<B>>,
}

impl<B> Body for PrefixedBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.prefix.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.prefix)))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(*trailers))));
        }
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        let copy = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(copy)).map_err(|error| UploadError::new(error).into())
        }))
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, prefix) = (self.body.size_hint(), self.prefix.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(prefix));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(prefix));
        }
        hint
    }
}

/// Converts `value` into a `To`, if it has that type. It does not allocate.
#[inline]
fn downcast<From: 'static, To: 'static>(value: From) -> Result<To, From> {
    let mut slot = Some(value);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<To>>().and_then(Option::take) {
        Some(value) => Ok(value),
        None => Err(slot.expect("only a successful downcast takes the value")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Full, StreamBody};
    use proptest::prelude::*;

    use super::*;

    /// A body of these frames without a size hint.
    fn frames(frames: Vec<Bytes>) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
        let mut frames = frames.into_iter();
        StreamBody::new(Iter(move || frames.next().map(|data| Ok(Frame::data(data)))))
    }

    struct Iter<F>(F);

    impl<F: FnMut() -> Option<T> + Unpin, T> futures_core::Stream for Iter<F> {
        type Item = T;
        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
            Poll::Ready((self.0)())
        }
    }

    async fn text(payload: Payload) -> Bytes {
        payload.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_short_body_is_buffered_and_replayed_without_a_copy() {
        let data = Bytes::from_static(b"prompt");
        let payload = Payload::collect(Full::new(data.clone()), 6).await.unwrap();
        let again = payload.replay().unwrap();
        assert_eq!(again.bytes().unwrap().as_ptr(), data.as_ptr());
        assert_eq!(payload.size_hint().exact(), Some(6));
        assert_eq!(text(payload).await, data);
        assert_eq!(text(again).await, data);
    }

    #[tokio::test]
    async fn a_long_body_is_streamed_once_and_is_not_replayable() {
        let payload = Payload::collect(Full::new(Bytes::from_static(b"longer than four")), 4).await.unwrap();
        assert!(!payload.is_replayable() && payload.replay().is_none());
        assert_eq!(payload.size_hint().exact(), Some(16));
        assert_eq!(text(payload).await, "longer than four");
    }

    #[tokio::test]
    async fn a_body_that_one_layer_did_not_buffer_can_be_buffered_by_another() {
        let once = Payload::collect(Full::new(Bytes::from_static(b"prompt")), 0).await.unwrap();
        assert!(!once.is_replayable());
        let kept = Payload::collect(once, 6).await.unwrap();
        assert_eq!(kept.bytes().unwrap(), "prompt");
        let empty = Payload::collect(Full::new(Bytes::new()), 0).await.unwrap();
        assert!(empty.is_replayable());
    }

    #[tokio::test]
    async fn a_buffered_payload_stays_buffered() {
        let payload = Payload::collect(Payload::from("kept"), 0).await.unwrap();
        assert!(payload.is_replayable());
    }

    #[tokio::test]
    async fn an_error_of_the_body_is_returned() {
        let mut first = true;
        let body = StreamBody::new(Iter(move || {
            std::mem::replace(&mut first, false).then(|| Err::<Frame<Bytes>, BoxError>("reset".into()))
        }));
        let error = Payload::collect(body, 10).await.unwrap_err();
        assert_eq!(error.to_string(), "request body broke off");
        assert_eq!(error.source().unwrap().to_string(), "reset");
    }

    #[test]
    fn debug_does_not_show_the_prompt() {
        assert_eq!(format!("{:?}", Payload::from("secret")), "Payload(6 bytes)");
    }

    proptest! {
        /// Regression: a layer that had begun to read the body of another one announced the read part twice.
        #[test]
        fn several_layers_announce_what_is_left_of_a_body(
            begun in prop::collection::vec(any::<u8>(), 0..50),
            rest in prop::collection::vec(any::<u8>(), 0..50),
            caps in prop::array::uniform3(0usize..120),
        ) {
            let mut left = (begun.len() + rest.len()) as u64;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut payload = Payload::prefixed(begun.into(), None, Box::pin(Full::new(Bytes::from(rest))));
                for cap in caps {
                    payload = Payload::collect(payload, cap).await.unwrap();
                    assert_eq!(payload.size_hint().exact(), Some(left));
                }
                while let Some(frame) = payload.frame().await {
                    left -= frame.unwrap().into_data().unwrap().len() as u64;
                    assert_eq!(payload.size_hint().exact(), Some(left));
                }
                assert_eq!(left, 0);
            });
        }

        #[test]
        fn any_body_and_any_cap_give_the_same_bytes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10),
            cap in 1usize..100,
        ) {
            let whole = chunks.concat();
            let chunks = chunks.into_iter().map(Bytes::from).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let payload = Payload::collect(frames(chunks), cap).await.unwrap();
                assert_eq!(payload.is_replayable(), whole.len() <= cap);
                assert_eq!(text(payload).await, whole);
            });
        }
    }
}
