use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::shares::Shares;
use super::{Handle, ResponseBody, ResponseFuture};
use crate::refusal::refuse;
use crate::{BoxError, HttpService};

/// Stops calling a provider that keeps failing; see the [module page](crate::circuit_breaker).
#[derive(Clone, Debug)]
pub struct CircuitBreaker<S> {
    inner: S,
    shares: Arc<Shares>,
}

impl<S> CircuitBreaker<S> {
    pub(super) fn new(inner: S, handle: Handle) -> Self {
        Self { inner, shares: Arc::new(Shares::new(handle)) }
    }

    /// The circuit that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.shares.handle().clone()
    }
}

impl<S, B> Service<Request<B>> for CircuitBreaker<S>
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
        match self.shares.admit(&request) {
            Ok(lease) => ResponseFuture::calling(self.inner.call(request), lease),
            Err(rejection) => ResponseFuture::refused(refuse(
                rejection,
                self.shares.handle().0.target(),
                request.extensions(),
            )),
        }
    }
}
