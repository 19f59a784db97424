use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use pin_project::pin_project;

use crate::attempt::{AttemptBodyGuards, GuardedBody};
use crate::classify::ClassifiedBody;
use crate::{BoxError, Error, fallback};

type AttemptBody<R> = GuardedBody<ClassifiedBody<R>, AttemptBodyGuards>;

/// The body of a response. It holds permits, reservations and the admission of the circuit until it ends.
#[pin_project]
pub struct ResponseBody<R: Body<Data = Bytes>>(#[pin] fallback::ResponseBody<AttemptBody<R>>);

impl<R: Body<Data = Bytes>> ResponseBody<R> {
    #[inline]
    pub(super) fn new(body: fallback::ResponseBody<AttemptBody<R>>) -> Self {
        Self(body)
    }

    #[inline]
    pub(super) fn of_attempt(body: AttemptBody<R>) -> Self
    where
        R::Error: Into<BoxError>,
    {
        Self(fallback::ResponseBody::of_target(body))
    }

    /// The body without its type parameter, in a box.
    pub fn boxed(self) -> BoxBody<Bytes, Error>
    where
        R: Send + Sync + 'static,
    {
        BodyExt::boxed(self)
    }
}

impl<R: Body<Data = Bytes>> Body for ResponseBody<R> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.project().0.poll_frame(cx)
    }

    forward_end!(0);
}

partial_debug!([R: Body<Data = Bytes>] ResponseBody<R>, "ResponseBody");
