use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::settings::Settings;
use super::{ResponseBody, ResponseFuture};
use crate::attempt::swap_in_clone;
use crate::body::buffered;
use crate::{BoxError, Error, HttpService, Payload};

/// Calls a target in its own dialect; see the [module page](crate::translate).
#[derive(Clone, Debug)]
pub struct Translate<S> {
    inner: S,
    settings: Settings,
}

impl<S> Translate<S> {
    pub(super) fn new(inner: S, settings: Settings) -> Self {
        Self { inner, settings }
    }

    wrapped_service!(inner, "this layer");

    /// Request bodies of up to this many bytes are translated, longer ones are rejected with E1005; 32 MiB by
    /// default.
    #[must_use]
    pub fn body_cap(mut self, bytes: usize) -> Self {
        self.settings.body_cap = bytes;
        self
    }

    send_method!();
}

impl<S, B> Service<Request<B>> for Translate<S>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, S::Body, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let settings = self.settings.for_uri(request.uri());
        let (head, body) = request.into_parts();
        let body = match buffered(body) {
            Ok(body) => body,
            Err(body) => {
                return ResponseFuture::collecting(swap_in_clone(&mut self.inner), head, body, settings);
            }
        };
        let request = Request::from_parts(head, body);
        if settings.is_slow(&request) {
            ResponseFuture::translating(swap_in_clone(&mut self.inner), request, settings)
        } else {
            ResponseFuture::calling(&mut self.inner, request, &settings)
        }
    }
}
