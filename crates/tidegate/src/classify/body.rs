use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::counted::Counted;
use super::{BufferedBody, ScannedBody};
use crate::BoxError;

/// The body of an answer: in one piece, maybe one whose tokens are counted as it passes, or a stream that is judged as it
/// passes.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Plain(#[pin] Plain<B>),
    Counted {
        #[pin]
        body: Plain<B>,
        counted: Box<Counted>,
    },
    Stream(Box<ScannedBody<B>>),
}

/// The body of an answer in one piece.
#[pin_project(project = PlainProj)]
#[derive(Debug)]
pub(super) enum Plain<B> {
    /// As it came.
    Untouched(#[pin] B),
    /// Held back until it had been judged.
    Buffered(Box<BufferedBody<B>>),
}

impl<B> ResponseBody<B> {
    pub(super) fn plain(body: Plain<B>) -> Self {
        Self(Kind::Plain(body))
    }

    pub(super) fn counted(body: Plain<B>, counted: Counted) -> Self {
        Self(Kind::Counted { body, counted: Box::new(counted) })
    }

    pub(super) fn stream(stream: Box<ScannedBody<B>>) -> Self {
        Self(Kind::Stream(stream))
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
            KindProj::Plain(body) => body.poll_frame(cx),
            KindProj::Counted { mut body, counted } => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                counted.pass(frame.as_ref(), body.is_end_stream());
                Poll::Ready(frame)
            }
            KindProj::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Plain(body) | Kind::Counted { body, .. } => body.is_end_stream(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Plain(body) | Kind::Counted { body, .. } => body.size_hint(),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for Plain<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            PlainProj::Untouched(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            PlainProj::Buffered(held) => Pin::new(&mut **held).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Untouched(body) => body.is_end_stream(),
            Self::Buffered(held) => held.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Untouched(body) => body.size_hint(),
            Self::Buffered(held) => held.size_hint(),
        }
    }
}
