use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{BoxError, Error};

/// The response body of the inner service, with the error type of the layers.
#[pin_project]
pub struct UnchangedBody<B: Body> {
    #[pin]
    inner: B,
    into_error: fn(B::Error) -> Error,
}

impl<B: Body<Error: Into<BoxError>>> UnchangedBody<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, into_error: Error::boxed }
    }
}

impl<B: Body> Body for UnchangedBody<B> {
    type Data = B::Data;
    type Error = Error;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let this = self.project();
        this.inner.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(*this.into_error)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body + fmt::Debug> fmt::Debug for UnchangedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
