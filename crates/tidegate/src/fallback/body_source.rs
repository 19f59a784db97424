use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::target::TargetBody;
use crate::BoxError;

/// The body that the frames come from.
#[pin_project(project = BodySourceProj)]
pub(super) enum BodySource<B> {
    First(#[pin] B),
    Other(TargetBody),
    /// The stream ended or broke.
    Closed,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for BodySource<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            BodySourceProj::First(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
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
