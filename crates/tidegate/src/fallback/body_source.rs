use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::target::TargetBody;
use crate::body::UnchangedBody;
use crate::{BoxError, Error};

/// The body that the frames come from.
#[pin_project(project = BodySourceProj)]
pub(super) enum BodySource<B: Body> {
    First(#[pin] UnchangedBody<B>),
    Other(TargetBody),
    /// The stream ended or broke.
    Closed,
}

impl<B: Body<Error: Into<BoxError>>> BodySource<B> {
    pub(super) fn first(body: B) -> Self {
        Self::First(UnchangedBody::new(body))
    }
}

impl<B: Body<Data = Bytes>> Body for BodySource<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.project() {
            BodySourceProj::First(body) => body.poll_frame(cx),
            BodySourceProj::Other(body) => Pin::new(body).poll_frame(cx),
            BodySourceProj::Closed => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::First(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
            Self::Closed => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::First(body) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
            Self::Closed => SizeHint::new(),
        }
    }
}
