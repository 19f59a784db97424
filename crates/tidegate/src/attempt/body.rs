use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame};
use pin_project::pin_project;

use super::BodyGuard;
use crate::body::has_ended;
use crate::{Error, Outcome};

/// A response body that holds the guard of its attempt until it ends: at its last frame, at an error, or when
/// it is dropped.
///
/// Frames, trailers and `size_hint` pass unchanged.
#[pin_project]
pub struct GuardedBody<B, G> {
    // Dropped before the guard, so that what the body holds is free when the guard releases its own.
    #[pin]
    inner: B,
    guard: Option<G>,
}

impl<B: Body, G: BodyGuard> GuardedBody<B, G> {
    #[inline]
    pub(super) fn new(inner: B, guard: G) -> Self {
        let mut guard = Some(guard);
        if has_ended(&inner)
            && let Some(guard) = guard.take()
        {
            guard.on_end(None);
        }
        Self { inner, guard }
    }

    pub(super) const fn unguarded(inner: B) -> Self {
        Self { inner, guard: None }
    }
}

impl<B: Body<Error = Error>, G: BodyGuard> Body for GuardedBody<B, G> {
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let Some(guard) = this.guard.as_mut() else { return Poll::Ready(frame) };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            guard.on_data(data.remaining());
        }
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

    forward_end!(inner);
}

partial_debug!([B: fmt::Debug, G: fmt::Debug] GuardedBody<B, G>, "GuardedBody", inner, guard);
