use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::timer::Timer;
use crate::BoxError;

/// The body of an answer, for which the clock of its attempt runs on.
///
/// Frames pass untouched. When the time runs out, the body ends in [`Elapsed`](crate::Elapsed).
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    #[pin]
    inner: B,
    timer: Timer,
    is_cut: bool,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, timer: Timer) -> Self {
        Self { inner, timer, is_cut: false }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        if *this.is_cut {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let elapsed = ready!(this.timer.poll_elapsed(cx));
        *this.is_cut = true;
        Poll::Ready(Some(Err(elapsed.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.is_cut || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
