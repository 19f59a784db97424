use std::mem;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::gate::Entry;
use super::{Handle, ResponseBody, ResponseFuture};
use crate::refusal::refuse;
use crate::{BoxError, HttpService};

/// Bounds how many calls are in flight; see the [module page](crate::backpressure).
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
        match self.handle.enter(&request) {
            Entry::Admitted(mut permit) => {
                permit.begin(&self.handle, request.body());
                ResponseFuture::calling(self.inner.call(request), permit)
            }
            Entry::Queued(queued) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::queued(queued, ready, request, self.handle.clone())
            }
            Entry::Refused(rejection) => {
                ResponseFuture::refused(refuse(rejection, self.handle.0.target(), request.extensions()))
            }
        }
    }
}
