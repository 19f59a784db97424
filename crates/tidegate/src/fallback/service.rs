use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::settings::FallbackSettings;
use super::{Handle, ResponseBody, ResponseFuture};
use crate::{BoxError, HttpService, Payload};

/// Sends a call to the next target when the current target fails; see the [module page](crate::fallback).
#[derive(Clone, Debug)]
pub struct Fallback<S> {
    inner: S,
    handle: Handle,
    settings: Arc<FallbackSettings>,
}

impl<S> Fallback<S> {
    pub(super) fn new(inner: S, handle: Handle, settings: Arc<FallbackSettings>) -> Self {
        Self { inner, handle, settings }
    }

    /// The handle of the chain that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl<S, B> Service<Request<B>> for Fallback<S>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, B> {
        match Payload::in_request(request) {
            Ok(request) => ResponseFuture::calling(&mut self.inner, request, &self.handle, &self.settings),
            Err(request) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::collecting(ready, request, self.handle.clone(), &self.settings)
            }
        }
    }
}
