use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{ResponseBody, ResponseFuture};
use crate::{BoxError, Classify, HttpService, Trail};

/// Judges what came back; see the [module page](crate::classify).
#[derive(Clone)]
pub struct Classified<S> {
    inner: S,
    classifier: Arc<dyn Classify>,
}

impl<S> Classified<S> {
    pub(super) fn new(inner: S, classifier: Arc<dyn Classify>) -> Self {
        Self { inner, classifier }
    }
}

impl<S, B> Service<Request<B>> for Classified<S>
where
    S: HttpService<B, Body: Body<Data = Bytes>>,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, S::Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let trail = Trail::of(request.extensions()).cloned();
        ResponseFuture::new(self.inner.call(request), Arc::clone(&self.classifier), trail)
    }
}

impl<S: fmt::Debug> fmt::Debug for Classified<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classified").field("inner", &self.inner).finish_non_exhaustive()
    }
}
