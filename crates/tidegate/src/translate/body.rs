use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project::pin_project;
use tidegate_core::ResponseTranslator;

use crate::BoxError;

/// The body of an answer: untouched, translated when it was whole, or translated event by event.
#[pin_project]
pub struct ResponseBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
enum Kind<B> {
    Untouched(#[pin] B),
    Whole(Full<Bytes>),
    Events(#[pin] Events<B>),
}

/// A stream, translated as it passes.
#[pin_project]
struct Events<B> {
    /// `None` when it has ended, or is not worth reading on: it may hold a connection.
    #[pin]
    inner: Option<B>,
    answer: Box<dyn ResponseTranslator>,
    /// What follows the last bytes: trailers, or the error that broke the stream.
    last: Option<Result<HeaderMap, BoxError>>,
}

impl<B> ResponseBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self(Kind::Untouched(body))
    }

    pub(super) fn whole(body: Bytes) -> Self {
        Self(Kind::Whole(Full::new(body)))
    }

    pub(super) fn events(body: B, answer: Box<dyn ResponseTranslator>) -> Self {
        Self(Kind::Events(Events { inner: Some(body), answer, last: None }))
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Events<B> {
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        while let Some(inner) = this.inner.as_mut().as_pin_mut() {
            let mut out = BytesMut::new();
            let has_ended = match ready!(inner.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match this.answer.events(&data, &mut out) {
                        Ok(()) => false,
                        Err(failure) => {
                            *this.last = Some(Err(failure.into()));
                            true
                        }
                    },
                    Err(frame) => {
                        *this.last = frame.into_trailers().ok().map(Ok);
                        this.answer.end(&mut out);
                        true
                    }
                },
                // Nothing is made up at a broken end.
                Some(Err(error)) => {
                    *this.last = Some(Err(error.into()));
                    true
                }
                None => {
                    this.answer.end(&mut out);
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
        Poll::Ready(this.last.take().map(|last| last.map(Frame::trailers)))
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().0.project() {
            KindProj::Untouched(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProj::Whole(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProj::Events(events) => events.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Untouched(body) => body.is_end_stream(),
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Events(events) => events.inner.is_none() && events.last.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Untouched(body) => body.size_hint(),
            Kind::Whole(body) => body.size_hint(),
            Kind::Events(_) => SizeHint::new(),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Untouched(_) => "untouched",
            Kind::Whole(_) => "whole",
            Kind::Events(_) => "events",
        };
        write!(f, "ResponseBody({kind})")
    }
}
