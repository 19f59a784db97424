use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::BodyGuard;
use crate::body::has_ended;
use crate::{BoxError, Error, Outcome};

/// A response body that holds the guard of its attempt until it ends: at its last frame, at an error, or when it is
/// dropped.
///
/// Frames, trailers and `size_hint` pass unchanged.
#[pin_project]
pub struct GuardedBody<B: Body, G> {
    // Dropped before the guard, so that what the body holds is free when the guard releases its own.
    #[pin]
    inner: B,
    guard: Option<G>,
    // The conversion is chosen where the error type is known. A bound on `B::Error` here would be part of the proof that
    // a future with this body is `Send`, and that proof fails for an error type with a `dyn Error` inside.
    into_error: fn(B::Error) -> Error,
}

impl<B, G> GuardedBody<B, G>
where
    B: Body<Error: Into<BoxError>>,
    G: BodyGuard,
{
    /// `guard` is `None` if the body has ended already.
    pub(super) fn new(inner: B, guard: Option<G>) -> Self {
        Self { inner, guard, into_error: Error::boxed }
    }
}

/// The guard that `body` needs, unless it has ended already.
pub(super) fn until_end<G: BodyGuard>(guard: G, body: &impl Body) -> Option<G> {
    if has_ended(body) {
        guard.on_end(None);
        return None;
    }
    Some(guard)
}

impl<B: Body, G: BodyGuard> Body for GuardedBody<B, G> {
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx)).map(|frame| frame.map_err(*this.into_error));
        let is_end = match &frame {
            Some(Ok(_)) => has_ended(&*this.inner),
            Some(Err(_)) | None => true,
        };
        if is_end && let Some(guard) = this.guard.take() {
            match &frame {
                Some(Err(error)) => guard.on_end(Some(&Outcome::of_error(error))),
                Some(Ok(_)) | None => guard.on_end(None),
            }
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

impl<B: Body + fmt::Debug, G: fmt::Debug> fmt::Debug for GuardedBody<B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody").field("inner", &self.inner).field("guard", &self.guard).finish()
    }
}
