use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use sync_wrapper::SyncWrapper;

use crate::{BoxError, UploadError};

/// A request body that can be sent again.
///
/// A body up to a cap is kept as bytes and cloned by reference count ([`replay`](Self::replay)). A longer one
/// streams through once, the part already read first, and says that it cannot be sent again.
///
/// ```
/// use tidegate_core::Payload;
///
/// let payload = Payload::from("{\"model\":\"gpt-4o\"}");
/// assert!(payload.replay().is_some());
/// assert_eq!(payload.bytes().unwrap().len(), 18);
/// ```
pub struct Payload(Kind);

enum Kind {
    Kept {
        data: Bytes,
        trailers: Option<Box<HeaderMap>>,
    },
    /// The length is what was known of it at the start.
    Once {
        body: SyncWrapper<UnsyncBoxBody<Bytes, BoxError>>,
        length: SizeHint,
    },
}

impl Payload {
    /// The cap when none is set: 32 MiB, the largest request that the big providers take.
    pub const DEFAULT_CAP: usize = 32 * 1024 * 1024;

    /// A body without a byte.
    #[must_use]
    pub const fn empty() -> Self {
        Self::kept(Bytes::new())
    }

    const fn kept(data: Bytes) -> Self {
        Self(Kind::Kept { data, trailers: None })
    }

    /// A body that streams through once, unread.
    pub fn streamed<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::once(Bytes::new(), None, Box::pin(body))
    }

    fn once<B>(prefix: Bytes, trailers: Option<Box<HeaderMap>>, body: Pin<Box<B>>) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let rest = Resumed { prefix, trailers, body };
        let length = rest.size_hint();
        Self(Kind::Once { body: SyncWrapper::new(UnsyncBoxBody::new(rest)), length })
    }

    /// The request, if its body is a payload that is kept already.
    ///
    /// # Errors
    ///
    /// The same request, if its body has to be [collected](Self::collect) first.
    #[expect(clippy::result_large_err, reason = "the request is handed back, not an error made")]
    pub fn in_request<B: 'static>(request: Request<B>) -> Result<Request<Self>, Request<B>> {
        let request: Request<Self> = downcast(request)?;
        if request.body().is_replayable() {
            Ok(request)
        } else {
            Err(downcast(request).expect("it came as one"))
        }
    }

    /// Reads `body` until it ends or passes `cap` bytes. A payload that is kept passes through as it is; with a
    /// cap of zero nothing is read.
    pub fn collect<B>(body: B, cap: usize) -> Collect<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let source = match downcast::<B, Self>(body) {
            Ok(payload) if payload.is_replayable() || cap == 0 => Source::Payload(Some(payload)),
            // Somebody above had no use for the whole of it; we may have.
            Ok(payload) => Source::Body(Some(Box::pin(downcast(payload).expect("it came as one")))),
            Err(body) if body.is_end_stream() => Source::Payload(Some(Self::empty())),
            Err(body) if cap == 0 => Source::Payload(Some(Self::streamed(body))),
            Err(body) => Source::Body(Some(Box::pin(body))),
        };
        Collect { source, read: Read::default(), cap }
    }

    /// The same body once more, by reference count; `None` if it cannot be sent again.
    #[must_use]
    pub fn replay(&self) -> Option<Self> {
        match &self.0 {
            Kind::Kept { data, trailers } => {
                Some(Self(Kind::Kept { data: data.clone(), trailers: trailers.clone() }))
            }
            Kind::Once { .. } => None,
        }
    }

    /// Whether [`replay`](Self::replay) gives a body.
    #[must_use]
    pub const fn is_replayable(&self) -> bool {
        matches!(self.0, Kind::Kept { .. })
    }

    /// The bytes of a body that is kept and not yet sent.
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Kept { data, .. } => Some(data),
            Kind::Once { .. } => None,
        }
    }
}

/// The bytes of a body that is all here, or the body itself: streamed once, or with trailers to follow.
impl TryFrom<Payload> for Bytes {
    type Error = Payload;

    fn try_from(payload: Payload) -> Result<Self, Payload> {
        match payload.0 {
            Kind::Kept { data, trailers: None } => Ok(data),
            _ => Err(payload),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::empty()
    }
}

/// Shows the length, never the bytes: they hold the prompt.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Kept { data, .. } => write!(f, "Payload({} bytes)", data.len()),
            Kind::Once { .. } => f.write_str("Payload(streamed once)"),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(data: Bytes) -> Self {
        Self::kept(data)
    }
}

impl From<&'static str> for Payload {
    fn from(data: &'static str) -> Self {
        Self::kept(Bytes::from_static(data.as_bytes()))
    }
}

impl From<String> for Payload {
    fn from(data: String) -> Self {
        Self::kept(data.into())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(data: Vec<u8>) -> Self {
        Self::kept(data.into())
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
            Kind::Kept { data, .. } if !data.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))))
            }
            Kind::Kept { trailers, .. } => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Kind::Once { body, .. } => Pin::new(body.get_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Kept { data, trailers: None } if data.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Kept { data, .. } => SizeHint::with_exact(data.len() as u64),
            Kind::Once { length, .. } => *length,
        }
    }
}

/// Becomes the [`Payload`] of a body, or the error that the body ended in.
///
/// A body that is not a payload yet is boxed once, so that it can go on streaming past the cap.
pub struct Collect<B> {
    source: Source<B>,
    read: Read,
    cap: usize,
}

enum Source<B> {
    Payload(Option<Payload>),
    Body(Option<Pin<Box<B>>>),
}

/// What has been read so far. A body of one frame is kept without a copy.
#[derive(Default)]
struct Read {
    first: Bytes,
    rest: BytesMut,
    trailers: Option<Box<HeaderMap>>,
}

impl Read {
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
            Source::Payload(payload) => {
                return Poll::Ready(Ok(payload.take().expect("polled after completion")));
            }
            Source::Body(slot) => slot,
        };
        let body = slot.as_mut().expect("polled after completion");
        while read.len() <= *cap {
            let frame = match ready!(body.as_mut().poll_frame(cx)) {
                Some(frame) => frame.map_err(UploadError::new)?,
                None => {
                    let (data, trailers) = read.take();
                    return Poll::Ready(Ok(Payload(Kind::Kept { data, trailers })));
                }
            };
            match frame.into_data() {
                Ok(data) => read.push(data),
                Err(frame) => read.trailers = frame.into_trailers().ok().map(Box::new),
            }
        }
        let (prefix, trailers) = read.take();
        let body = slot.take().expect("checked above");
        Poll::Ready(Ok(Payload::once(prefix, trailers, body)))
    }
}

/// The rest of a body that was too long to keep, the part already read first.
struct Resumed<B> {
    prefix: Bytes,
    trailers: Option<Box<HeaderMap>>,
    body: Pin<Box<B>>,
}

impl<B> Body for Resumed<B>
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

/// `value` as a `To`, if that is what it is; no allocation.
fn downcast<From: 'static, To: 'static>(value: From) -> Result<To, From> {
    let mut slot = Some(value);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<To>>().and_then(Option::take) {
        Some(value) => Ok(value),
        None => Err(slot.expect("only a successful downcast takes it")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Full, StreamBody};
    use proptest::prelude::*;

    use super::*;

    /// A body of these frames, of which nothing is known in advance.
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
    async fn a_short_body_is_kept_and_replayed_without_a_copy() {
        let data = Bytes::from_static(b"prompt");
        let payload = Payload::collect(Full::new(data.clone()), 6).await.unwrap();
        let again = payload.replay().unwrap();
        assert_eq!(again.bytes().unwrap().as_ptr(), data.as_ptr());
        assert_eq!(payload.size_hint().exact(), Some(6));
        assert_eq!(text(payload).await, data);
        assert_eq!(text(again).await, data);
    }

    #[tokio::test]
    async fn a_long_body_streams_through_once_and_says_so() {
        let payload = Payload::collect(Full::new(Bytes::from_static(b"longer than four")), 4).await.unwrap();
        assert!(!payload.is_replayable() && payload.replay().is_none());
        assert_eq!(payload.size_hint().exact(), Some(16));
        assert_eq!(text(payload).await, "longer than four");
    }

    #[tokio::test]
    async fn what_one_layer_did_not_keep_another_may() {
        let once = Payload::collect(Full::new(Bytes::from_static(b"prompt")), 0).await.unwrap();
        assert!(!once.is_replayable());
        let kept = Payload::collect(once, 6).await.unwrap();
        assert_eq!(kept.bytes().unwrap(), "prompt");
        let empty = Payload::collect(Full::new(Bytes::new()), 0).await.unwrap();
        assert!(empty.is_replayable());
    }

    #[tokio::test]
    async fn a_payload_stays_what_it_is() {
        let payload = Payload::collect(Payload::from("kept"), 0).await.unwrap();
        assert!(payload.is_replayable());
    }

    #[tokio::test]
    async fn an_error_of_the_body_is_passed_on() {
        let mut first = true;
        let body = StreamBody::new(Iter(move || {
            std::mem::replace(&mut first, false).then(|| Err::<Frame<Bytes>, BoxError>("reset".into()))
        }));
        let error = Payload::collect(body, 10).await.unwrap_err();
        assert_eq!(error.to_string(), "request body broke off");
        assert_eq!(error.source().unwrap().to_string(), "reset");
    }

    #[test]
    fn debug_never_shows_the_prompt() {
        assert_eq!(format!("{:?}", Payload::from("secret")), "Payload(6 bytes)");
    }

    proptest! {
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
