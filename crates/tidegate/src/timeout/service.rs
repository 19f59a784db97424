use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tower_service::Service;

use super::timer::AttemptTimer;
use super::{ResponseBody, ResponseFuture};
use crate::send::{SendFuture, send};
use crate::{Error, HttpService, Trail};

/// Bounds the time of every attempt; see the [module page](crate::timeout).
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    attempt: Option<Duration>,
}

impl<S> Timeout<S> {
    pub(super) fn new(inner: S, attempt: Option<Duration>) -> Self {
        Self { inner, attempt }
    }

    /// The wrapped service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service, without this layer.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Sends one request through a clone of this service, which is made ready first.
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> SendFuture<Self, Request<B>, <Self as Service<Request<B>>>::Future>
    where
        Self: Service<Request<B>> + Clone,
    {
        send(self, request)
    }
}

impl<S, B> Service<Request<B>> for Timeout<S>
where
    S: HttpService<B>,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> ResponseFuture<S::Future> {
        let timer = AttemptTimer::new(self.attempt, request.extensions());
        let trail = Trail::of(request.extensions()).cloned();
        ResponseFuture::new(self.inner.call(request), timer, trail)
    }
}
