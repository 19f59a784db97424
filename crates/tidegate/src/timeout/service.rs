use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tower_service::Service;

use super::timer::AttemptTimer;
use super::{ResponseBody, ResponseFuture};
use crate::{BoxError, Deadline, HttpService, Trail};

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
}

impl<S, B> Service<Request<B>> for Timeout<S>
where
    S: HttpService<B>,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> ResponseFuture<S::Future> {
        let deadline = Deadline::of(request.extensions());
        let body_deadline = deadline.and_then(|earlier| {
            Deadline::of_body(request.extensions()).filter(|body_deadline| *body_deadline != earlier)
        });
        let timer = AttemptTimer::new(self.attempt, deadline, body_deadline);
        let trail = Trail::of(request.extensions()).cloned();
        ResponseFuture::new(self.inner.call(request), timer, trail)
    }
}
