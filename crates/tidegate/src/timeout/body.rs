use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::timer::AttemptTimer;
use crate::Error;

/// A response body that is bounded by the time of its attempt.
///
/// Frames pass unchanged. When the time has elapsed, the body ends in [`Elapsed`](crate::Elapsed), which does
/// not count against the provider if a frame was there to be read.
#[pin_project]
pub struct TimedBody<B> {
    /// `None` once the body was cut off, so that the connection is closed.
    #[pin]
    inner: Option<B>,
    timer: AttemptTimer,
}

impl<B> TimedBody<B> {
    pub(crate) const fn new(inner: B, timer: AttemptTimer) -> Self {
        Self { inner: Some(inner), timer }
    }
}

impl<B: Body<Error = Error>> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // The timer is polled first, so that a body that is always ready is cut off as well.
        let late = if this.timer.is_running() { this.timer.poll_elapsed(cx) } else { Poll::Pending };
        let elapsed = match (late, inner.poll_frame(cx)) {
            (Poll::Pending, Poll::Ready(frame)) => return Poll::Ready(frame),
            (Poll::Pending, Poll::Pending) => ready!(this.timer.poll_elapsed(cx)),
            (Poll::Ready(elapsed), Poll::Ready(Some(Ok(_)))) => elapsed.while_unread(),
            (Poll::Ready(_), Poll::Ready(end)) => return Poll::Ready(end),
            (Poll::Ready(elapsed), Poll::Pending) => elapsed,
        };
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

partial_debug!([B: fmt::Debug] TimedBody<B>, "TimedBody", inner, timer);
