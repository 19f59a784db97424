use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::clocks::IdleTimers;
use super::future::ResponseJudge;
use super::{ResponseBody, ResponseFuture, StreamClocks};
use crate::{BoxError, Classifier, HttpService, Payload, Trail, UsageMeter, clock};

/// Classifies each response; see the [module page](crate::classify).
#[derive(Clone)]
pub struct Classify<S> {
    inner: S,
    config: Arc<ClassifyConfig>,
}

/// The settings shared by a service and its clones.
pub(super) struct ClassifyConfig {
    pub(super) classifier: Arc<dyn Classifier>,
    pub(super) clocks: StreamClocks,
}

impl<S> Classify<S> {
    pub(super) fn new(inner: S, classifier: Arc<dyn Classifier>, clocks: StreamClocks) -> Self {
        Self { inner, config: Arc::new(ClassifyConfig { classifier, clocks }) }
    }

    fn judge<B: 'static>(&self, request: &Request<B>) -> ResponseJudge {
        let body = (request.body() as &dyn Any).downcast_ref().and_then(Payload::bytes);
        let ClassifyConfig { classifier, clocks } = &*self.config;
        let expects_stream = classifier.expects_stream(request.headers(), body.map_or(&[], |body| body));
        ResponseJudge {
            config: Arc::clone(&self.config),
            is_generation: request.method() == Method::POST,
            timers: expects_stream.then(|| Box::new(IdleTimers::since(clock::now(), *clocks))),
            trail: Trail::of(request.extensions()).cloned(),
            attempt: UsageMeter::of(request.extensions()).map(UsageMeter::attempt),
        }
    }
}

impl<S, B> Service<Request<B>> for Classify<S>
where
    S: HttpService<B, Body: Body<Data = Bytes>>,
    B: 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, S::Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let judge = self.judge(&request);
        ResponseFuture::new(self.inner.call(request), judge)
    }
}

impl<S: fmt::Debug> fmt::Debug for Classify<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classify")
            .field("inner", &self.inner)
            .field("clocks", &self.config.clocks)
            .finish_non_exhaustive()
    }
}
