use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project::pin_project;
use tidegate_core::ResponseTranslator;

use crate::{BoxError, Error};

/// The body of a response: untouched, translated as a whole, or translated event by event.
#[pin_project]
pub struct ResponseBody<B: Body> {
    #[pin]
    kind: TranslatedKind<B>,
    into_error: fn(B::Error) -> Error,
}

#[pin_project(project = TranslatedKindProj)]
enum TranslatedKind<B> {
    Untouched(#[pin] B),
    Whole(Full<Bytes>),
    Events(#[pin] TranslatedEvents<B>),
}

/// A stream that is translated as it passes.
#[pin_project]
struct TranslatedEvents<B> {
    /// `None` once the stream has ended or failed to be translated: the body may hold a connection.
    #[pin]
    inner: Option<B>,
    translator: Box<dyn ResponseTranslator>,
    /// Delivered after the last bytes: trailers, or the error that broke the stream.
    final_frame: Option<Result<HeaderMap, Error>>,
}

impl<B: Body<Error: Into<BoxError>>> ResponseBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self::new(TranslatedKind::Untouched(body))
    }

    pub(super) fn whole(body: Bytes) -> Self {
        Self::new(TranslatedKind::Whole(Full::new(body)))
    }

    pub(super) fn events(body: B, translator: Box<dyn ResponseTranslator>) -> Self {
        Self::new(TranslatedKind::Events(TranslatedEvents {
            inner: Some(body),
            translator,
            final_frame: None,
        }))
    }

    fn new(kind: TranslatedKind<B>) -> Self {
        Self { kind, into_error: Error::boxed }
    }
}

impl<B: Body<Data = Bytes>> TranslatedEvents<B> {
    fn poll_frame(
        self: Pin<&mut Self>,
        into_error: fn(B::Error) -> Error,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        while let Some(inner) = this.inner.as_mut().as_pin_mut() {
            let mut out = BytesMut::new();
            let has_ended = match ready!(inner.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match this.translator.events(&data, &mut out) {
                        Ok(()) => false,
                        Err(failure) => {
                            *this.final_frame = Some(Err(failure.into()));
                            true
                        }
                    },
                    Err(frame) => {
                        *this.final_frame = frame.into_trailers().ok().map(Ok);
                        this.translator.end(&mut out);
                        true
                    }
                },
                // No end is synthesized for a broken stream.
                Some(Err(error)) => {
                    *this.final_frame = Some(Err(into_error(error)));
                    true
                }
                None => {
                    this.translator.end(&mut out);
                    true
                }
            };
            if has_ended {
                this.inner.set(None);
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
            }
        }
        Poll::Ready(this.final_frame.take().map(|result| result.map(Frame::trailers)))
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.project();
        match this.kind.project() {
            TranslatedKindProj::Untouched(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(*this.into_error)))
            }
            TranslatedKindProj::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            TranslatedKindProj::Events(events) => events.poll_frame(*this.into_error, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            TranslatedKind::Untouched(body) => body.is_end_stream(),
            TranslatedKind::Whole(body) => body.is_end_stream(),
            TranslatedKind::Events(events) => events.inner.is_none() && events.final_frame.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            TranslatedKind::Untouched(body) => body.size_hint(),
            TranslatedKind::Whole(body) => body.size_hint(),
            TranslatedKind::Events(_) => SizeHint::new(),
        }
    }
}

partial_debug!([B: Body] ResponseBody<B>, "ResponseBody");
