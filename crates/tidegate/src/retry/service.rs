use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::common::Common;
use super::{Ahead, Handle, ResponseFuture};
use crate::{BoxError, HttpService, Payload};

/// Asks again when that makes sense; see the [module page](crate::retry).
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    common: Arc<Common<S>>,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, handle: Handle, ahead: Ahead) -> Self {
        Self { inner, common: Arc::new(Common::new(handle, ahead)) }
    }

    /// The statistics that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.common.handle.clone()
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
        let common = Arc::clone(&self.common);
        match Payload::in_request(request) {
            Ok(request) => ResponseFuture::calling(&mut self.inner, request, common),
            Err(request) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::collecting(ready, request, common)
            }
        }
    }
}
