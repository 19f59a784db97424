//! Bodies that are buffered already, copies of their requests, and the unchanged body of a response.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Request};
use http_body::{Body, Frame};
use pin_project::pin_project;
use tidegate_core::Collect;

use crate::timer::DeadlineTimer;
use crate::{BoxError, Deadline, Error, Payload, Rejection};

/// Forwards `is_end_stream` and `size_hint` to this field.
macro_rules! forward_end {
    ($field:tt) => {
        fn is_end_stream(&self) -> bool {
            self.$field.is_end_stream()
        }

        fn size_hint(&self) -> http_body::SizeHint {
            self.$field.size_hint()
        }
    };
}

/// A request while its body is being buffered, which fails when the deadline of the call passes.
pub(crate) struct CollectRequest<B> {
    /// `None` once the request is complete.
    head: Option<Parts>,
    body: Collect<B>,
    deadline_timer: DeadlineTimer,
}

impl<B> CollectRequest<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// Buffers up to `cap` bytes; a longer body is streamed.
    pub(crate) fn new(head: Parts, body: B, cap: usize) -> Self {
        let deadline_timer = DeadlineTimer::new(Deadline::of(&head.extensions));
        Self { head: Some(head), body: Payload::collect(body, cap), deadline_timer }
    }

    /// The request with its body. Not to be polled after completion. `record` records the rejection of a call
    /// with these extensions, because its deadline has passed.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        record: impl FnOnce(Rejection, &Extensions) -> Rejection,
    ) -> Poll<Result<Request<Payload>, Error>> {
        let body = Pin::new(&mut self.body).poll(cx).map_err(Error::from);
        let rejected =
            if body.is_pending() { Some(ready!(self.deadline_timer.poll_passed(cx))) } else { None };
        let head = self.head.take().expect("polled after completion");
        if let Some(rejection) = rejected {
            return Poll::Ready(Err(record(rejection, &head.extensions).into()));
        }
        body.map_ok(|body| Request::from_parts(head, body))
    }
}

/// Whether the body has no further frames. An HTTP/1 writer stops polling once it has the announced length,
/// so the `None` after the last frame may never be polled.
pub(crate) fn has_ended(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// The payload, if `body` is one that is already buffered; otherwise the body as it is.
#[inline]
pub(crate) fn buffered<B: 'static>(body: B) -> Result<Payload, B> {
    let mut slot = Some(body);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<Payload>>() {
        Some(Some(payload)) if payload.is_replayable() => Ok(std::mem::take(payload)),
        _ => Err(slot.expect("filled above")),
    }
}

/// The bytes of the body, if it is a [`Payload`] in memory.
pub(crate) fn bytes_of<B: 'static>(request: &Request<B>) -> Option<&Bytes> {
    (request.body() as &dyn Any).downcast_ref().and_then(Payload::bytes)
}

/// The body as a payload, which is streamed if `body` is not one yet.
#[inline]
pub(crate) fn as_payload<B>(body: B) -> Payload
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let mut slot = Some(body);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<Payload>>() {
        Some(payload) => payload.take().expect("filled above"),
        None => Payload::streamed(slot.expect("filled above")),
    }
}

/// A copy of the request that shares the body by reference count; `None` if the body cannot be sent again.
pub(crate) fn clone_request(request: &Request<Payload>) -> Option<Request<Payload>> {
    let mut clone = Request::new(request.body().replay()?);
    *clone.method_mut() = request.method().clone();
    *clone.uri_mut() = request.uri().clone();
    *clone.version_mut() = request.version();
    *clone.headers_mut() = request.headers().clone();
    *clone.extensions_mut() = request.extensions().clone();
    Some(clone)
}

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

    forward_end!(inner);
}

impl<B: Body + fmt::Debug> fmt::Debug for UnchangedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
