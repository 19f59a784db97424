use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::sharded_handle::ShardedHandle;
use super::{Handle, ResponseBody, ResponseFuture};
use crate::rejected::record_rejection;
use crate::{BoxError, HttpService};

/// Rejects calls to a provider that keeps failing; see the [module page](crate::circuit_breaker).
#[derive(Clone, Debug)]
pub struct CircuitBreaker<S> {
    inner: S,
    circuit: Arc<ShardedHandle>,
}

impl<S> CircuitBreaker<S> {
    pub(super) fn new(inner: S, handle: Handle) -> Self {
        Self { inner, circuit: Arc::new(ShardedHandle::new(handle)) }
    }

    /// Returns the circuit that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.circuit.handle().clone()
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
        match self.circuit.admit(&request) {
            Ok(guard) => ResponseFuture::calling(self.inner.call(request), guard),
            Err(rejection) => ResponseFuture::rejected(record_rejection(
                rejection,
                self.circuit.handle().0.target(),
                request.extensions(),
            )),
        }
    }
}
