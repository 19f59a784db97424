use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::timer::AttemptTimer;
use crate::BoxError;

/// The body of an answer, for which the clock of its attempt runs on.
///
/// Frames pass untouched. When the time runs out, the body ends in [`Elapsed`](crate::Elapsed).
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    /// Gone once it has been cut, and the connection with it.
    #[pin]
    inner: Option<B>,
    timer: AttemptTimer,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, timer: AttemptTimer) -> Self {
        Self { inner: Some(inner), timer }
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
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // A body that always has something must not outlive its time either.
        let is_late = this.timer.is_running() && this.timer.poll_elapsed(cx).is_ready();
        if !is_late && let Poll::Ready(frame) = inner.poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let elapsed = ready!(this.timer.poll_elapsed(cx));
        this.inner.set(None);
        Poll::Ready(Some(Err(elapsed.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
