use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::BoxError;

/// A body that tells its watch how it ended: once, at the last frame, at an error, or by being dropped.
///
/// Frames, trailers and `size_hint` pass untouched.
#[pin_project]
#[derive(Debug)]
pub struct Watched<B, W> {
    // Dropped before the watch, so that whatever the body holds is free when the watch gives back its own.
    #[pin]
    inner: B,
    watch: Option<W>,
}

/// Waits for the end of a body. Dropped without a word, it means that the caller left.
pub(crate) trait Watch {
    /// The body ended, with its last frame or with an error.
    fn ended(self, end: Result<(), &BoxError>);
}

impl<B, W> Watched<B, W> {
    /// Watches over `inner`; a body that has already ended says so at once.
    pub(crate) fn new(inner: B, watch: W) -> Self
    where
        B: Body,
        W: Watch,
    {
        if has_ended(&inner) {
            watch.ended(Ok(()));
            return Self { inner, watch: None };
        }
        Self { inner, watch: Some(watch) }
    }

    /// Nobody watches: the end is known already, or of no interest.
    pub(crate) fn unwatched(inner: B) -> Self {
        Self { inner, watch: None }
    }
}

/// HTTP/1 writers stop polling once they have all that was announced, so waiting for `None` is not enough.
fn has_ended(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl<B, W> Body for Watched<B, W>
where
    B: Body<Error: Into<BoxError>>,
    W: Watch,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
        let end = match &frame {
            Some(Err(error)) => Some(Err(error)),
            None => Some(Ok(())),
            Some(Ok(_)) if has_ended(&*this.inner) => Some(Ok(())),
            Some(Ok(_)) => None,
        };
        if let Some(end) = end
            && let Some(watch) = this.watch.take()
        {
            watch.ended(end);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
