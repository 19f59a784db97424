use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::counted::Counted;
use super::{Held, Judged};
use crate::BoxError;

/// The body of an answer: untouched, held back until it had been judged, a stream that is judged as it passes, or an
/// answer in one piece whose tokens are counted as it passes.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Untouched(#[pin] B),
    Held(Box<Held<B>>),
    Stream(Box<Judged<B>>),
    Counted {
        #[pin]
        body: B,
        counted: Box<Counted>,
    },
}

impl<B> ResponseBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self(Kind::Untouched(body))
    }

    pub(super) fn held(held: Held<B>) -> Self {
        Self(Kind::Held(Box::new(held)))
    }

    pub(super) fn stream(stream: Box<Judged<B>>) -> Self {
        Self(Kind::Stream(stream))
    }

    pub(super) fn counted(body: B, counted: Counted) -> Self {
        Self(Kind::Counted { body, counted: Box::new(counted) })
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
            KindProj::Held(held) => Pin::new(&mut **held).poll_frame(cx),
            KindProj::Stream(stream) => Pin::new(stream).poll_frame(cx),
            KindProj::Counted { mut body, counted } => {
                let frame = ready!(body.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
                counted.pass(frame.as_ref(), body.is_end_stream());
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Untouched(body) => body.is_end_stream(),
            Kind::Held(held) => held.is_end_stream(),
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::Counted { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Untouched(body) => body.size_hint(),
            Kind::Held(held) => held.size_hint(),
            Kind::Stream(stream) => stream.size_hint(),
            Kind::Counted { body, .. } => body.size_hint(),
        }
    }
}
