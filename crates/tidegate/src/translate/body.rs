use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project::pin_project;
use tidegate_core::ResponseTranslator;

use crate::body::UnchangedBody;
use crate::{BoxError, Error};

/// The body of a response: untouched, translated as a whole, or translated event by event.
#[pin_project]
pub struct ResponseBody<B: Body>(#[pin] TranslatedKind<B>);

#[pin_project(project = TranslatedKindProj)]
enum TranslatedKind<B: Body> {
    Untouched(#[pin] UnchangedBody<B>),
    Whole(Full<Bytes>),
    Events(#[pin] TranslatedEvents<B>),
}

/// A stream that is translated as it passes.
#[pin_project]
struct TranslatedEvents<B: Body> {
    /// `None` once the stream has ended or failed to be translated: the body may hold a connection.
    #[pin]
    inner: Option<UnchangedBody<B>>,
    translator: Box<dyn ResponseTranslator>,
    /// Delivered after the last bytes: trailers, or the error that broke the stream.
    final_frame: Option<Result<HeaderMap, Error>>,
}

impl<B: Body<Error: Into<BoxError>>> ResponseBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self(TranslatedKind::Untouched(UnchangedBody::new(body)))
    }

    pub(super) fn whole(body: Bytes) -> Self {
        Self(TranslatedKind::Whole(Full::new(body)))
    }

    pub(super) fn events(body: B, translator: Box<dyn ResponseTranslator>) -> Self {
        Self(TranslatedKind::Events(TranslatedEvents {
            inner: Some(UnchangedBody::new(body)),
            translator,
            final_frame: None,
        }))
    }
}

impl<B: Body<Data = Bytes>> TranslatedEvents<B> {
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
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
                    *this.final_frame = Some(Err(error));
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
        match self.project().0.project() {
            TranslatedKindProj::Untouched(body) => body.poll_frame(cx),
            TranslatedKindProj::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            TranslatedKindProj::Events(events) => events.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            TranslatedKind::Untouched(body) => body.is_end_stream(),
            TranslatedKind::Whole(body) => body.is_end_stream(),
            TranslatedKind::Events(events) => events.inner.is_none() && events.final_frame.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            TranslatedKind::Untouched(body) => body.size_hint(),
            TranslatedKind::Whole(body) => body.size_hint(),
            TranslatedKind::Events(_) => SizeHint::new(),
        }
    }
}

partial_debug!([B: Body] ResponseBody<B>, "ResponseBody");
