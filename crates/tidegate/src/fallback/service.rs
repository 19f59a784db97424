use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::settings::FallbackSettings;
use super::{FallbackOverride, Handle, ResponseBody, ResponseFuture};
use crate::attempt::swap_in_clone;
use crate::body::buffered;
use crate::{BoxError, Error, HttpService, Payload};

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

    wrapped_service!(inner, "the fallbacks");

    send_method!();

    /// Whether this call consists of the call to the first target: there are no further targets, last resorts
    /// or hedges, and it has no answer of its own.
    pub(crate) fn is_idle(&self, extensions: &Extensions) -> bool {
        self.handle.is_idle() && !FallbackOverride::has_answer(extensions)
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
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, S::Future, B> {
        let (head, body) = request.into_parts();
        match buffered(body) {
            Ok(body) => {
                let request = Request::from_parts(head, body);
                if self.is_idle(request.extensions()) {
                    return ResponseFuture::without_fallback(self.inner.call(request));
                }
                ResponseFuture::calling(&mut self.inner, request, self.handle.clone(), &self.settings)
            }
            Err(body) => {
                let ready = swap_in_clone(&mut self.inner);
                let request = Request::from_parts(head, body);
                ResponseFuture::collecting(ready, request, self.handle.clone(), &self.settings)
            }
        }
    }
}
