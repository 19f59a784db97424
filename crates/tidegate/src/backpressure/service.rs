use std::mem;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::gate::AcquireResult;
use super::{Handle, ResponseBody, ResponseFuture};
use crate::rejected::record_rejection;
use crate::{BoxError, HttpService};

/// Limits the number of calls in flight; see the [module page](crate::backpressure).
#[derive(Clone, Debug)]
pub struct Backpressure<S> {
    inner: S,
    handle: Handle,
}

impl<S> Backpressure<S> {
    pub(super) fn new(inner: S, handle: Handle) -> Self {
        Self { inner, handle }
    }

    /// The limit that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl<S, B> Service<Request<B>> for Backpressure<S>
where
    S: HttpService<B> + Clone,
    B: Body,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, B> {
        match self.handle.acquire(&request) {
            AcquireResult::Admitted(mut permit) => {
                permit.begin(&self.handle, request.body());
                ResponseFuture::calling(self.inner.call(request), permit)
            }
            AcquireResult::Queued(queued) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::queued(queued, ready, request, self.handle.clone())
            }
            AcquireResult::Rejected(rejection) => ResponseFuture::rejected(record_rejection(
                rejection,
                self.handle.0.target(),
                request.extensions(),
            )),
        }
    }
}
