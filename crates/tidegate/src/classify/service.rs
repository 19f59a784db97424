use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tidegate_core::AnswerForm;
use tower_service::Service;

use super::clocks::IdleTimers;
use super::response_judge::{ClassifyConfig, Expected, ResponseJudge};
use super::{ResponseBody, ResponseFuture, StreamClocks};
use crate::send::{SendFuture, send};
use crate::timeout::AttemptTimer;
use crate::{Classifier, Error, HttpService, Payload, Trail, UsageMeter, clock};

/// Classifies each response; see the [module page](crate::classify).
#[derive(Clone)]
pub struct Classify<S> {
    inner: S,
    config: Arc<ClassifyConfig>,
    attempt: AttemptLimit,
}

/// Whether the service bounds the time of an attempt, too.
#[derive(Clone, Copy, Debug)]
enum AttemptLimit {
    /// The layer is used alone: [`TimeoutLayer`](crate::TimeoutLayer) bounds the time.
    None,
    /// The service is the wire of a stack: the attempt ends with the deadlines of its request, and after this time.
    Within(Option<Duration>),
}

impl<S> Classify<S> {
    pub(super) fn new(inner: S, classifier: Arc<dyn Classifier>, clocks: StreamClocks) -> Self {
        let config = Arc::new(ClassifyConfig { classifier, clocks });
        Self { inner, config, attempt: AttemptLimit::None }
    }

    /// The wire of a stack: the same, and each attempt is bounded as by [`TimeoutLayer`](crate::TimeoutLayer). One timer
    /// is armed for an attempt, and one body holds its response.
    pub(crate) fn within(self, limit: Option<Duration>) -> Self {
        Self { attempt: AttemptLimit::Within(limit), ..self }
    }

    /// The wrapped service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service, without the classification.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Sends one request through a clone of this service, which is made ready first.
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> SendFuture<Self, Request<B>, <Self as Service<Request<B>>>::Future>
    where
        Self: Service<Request<B>> + Clone,
    {
        send(self, request)
    }

    fn judge<B: 'static>(&self, request: &Request<B>) -> ResponseJudge {
        let body = (request.body() as &dyn Any).downcast_ref().and_then(Payload::bytes);
        let ClassifyConfig { classifier, clocks } = &*self.config;
        let body = body.map(|body| &body[..]);
        let expected = match *request.method() {
            Method::POST => classifier
                .expected_answer(request.uri(), request.headers(), body)
                .map_or(Expected::Created, Expected::Answer),
            Method::HEAD => Expected::Head,
            _ => Expected::Read,
        };
        let expects_stream = match expected {
            Expected::Answer(answer) if answer.form != AnswerForm::Unknown => {
                answer.form != AnswerForm::Document
            }
            _ => classifier.expects_stream(request.headers(), body.unwrap_or_default()),
        };
        ResponseJudge {
            config: Arc::clone(&self.config),
            timer: match self.attempt {
                AttemptLimit::None => AttemptTimer::default(),
                AttemptLimit::Within(limit) => AttemptTimer::new(limit, request.extensions()),
            },
            expected,
            is_counted: false,
            timers: expects_stream.then(|| Box::new(IdleTimers::since(clock::now(), *clocks))),
            trail: Trail::of(request.extensions()).cloned(),
            attempt: UsageMeter::of(request.extensions()).map(|meter| Box::new(meter.attempt())),
        }
    }
}

impl<S, B> Service<Request<B>> for Classify<S>
where
    S: HttpService<B, Body: Body<Data = Bytes>>,
    B: 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, S::Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
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
