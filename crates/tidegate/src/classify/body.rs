use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::usage_scanner::UsageScanner;
use super::{BufferedBody, ScannedBody};
use crate::BoxError;

/// The body of a classified response: a whole body, optionally scanned for its usage as it passes, or a
/// stream that is scanned as it passes.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] BodyKind<B>);

#[pin_project(project = BodyKindProj)]
#[derive(Debug)]
enum BodyKind<B> {
    Whole(#[pin] WholeBody<B>),
    Metered {
        #[pin]
        body: WholeBody<B>,
        scanner: Box<UsageScanner>,
    },
    Stream(Box<ScannedBody<B>>),
}

/// The body of a response that is not a stream.
#[pin_project(project = WholeBodyProj)]
#[derive(Debug)]
pub(super) enum WholeBody<B> {
    /// Passed on as received.
    Untouched(#[pin] B),
    /// Read until the response was classified, then passed on.
    Buffered(Box<BufferedBody<B>>),
}

impl<B> ResponseBody<B> {
    pub(super) fn whole(body: WholeBody<B>) -> Self {
        Self(BodyKind::Whole(body))
    }

    pub(super) fn metered(body: WholeBody<B>, scanner: UsageScanner) -> Self {
        Self(BodyKind::Metered { body, scanner: Box::new(scanner) })
    }

    pub(super) fn stream(stream: Box<ScannedBody<B>>) -> Self {
        Self(BodyKind::Stream(stream))
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
            BodyKindProj::Whole(body) => body.poll_frame(cx),
            BodyKindProj::Metered { mut body, scanner } => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                scanner.on_frame(frame.as_ref(), body.is_end_stream());
                Poll::Ready(frame)
            }
            BodyKindProj::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Whole(body) | BodyKind::Metered { body, .. } => body.is_end_stream(),
            BodyKind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Whole(body) | BodyKind::Metered { body, .. } => body.size_hint(),
            BodyKind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for WholeBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            WholeBodyProj::Untouched(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            WholeBodyProj::Buffered(buffered) => Pin::new(&mut **buffered).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Untouched(body) => body.is_end_stream(),
            Self::Buffered(buffered) => buffered.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Untouched(body) => body.size_hint(),
            Self::Buffered(buffered) => buffered.size_hint(),
        }
    }
}
