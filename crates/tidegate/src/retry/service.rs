use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::shared::RetryShared;
use super::{GatesBelow, Handle, ResponseFuture};
use crate::{BoxError, HttpService, Payload};

/// Retries failed attempts; see the [module page](crate::retry).
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    shared: Arc<RetryShared<S>>,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, handle: Handle, gates_below: GatesBelow) -> Self {
        Self { inner, shared: Arc::new(RetryShared::new(handle, gates_below)) }
    }

    /// The handle of the statistics that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.shared.handle.clone()
    }
}

impl<S, B> Service<Request<B>> for Retry<S>
where
    S: HttpService<Payload> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<S::Body>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, B> {
        let shared = Arc::clone(&self.shared);
        match Payload::in_request(request) {
            Ok(request) => ResponseFuture::calling(&mut self.inner, request, shared),
            Err(request) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::collecting(ready, request, shared)
            }
        }
    }
}
