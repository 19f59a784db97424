use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{Method, Request};
use http_body::Body;
use tidegate_core::AnswerForm;

use super::StreamClocks;
use super::body::ResponseBody;
use super::clocks::IdleTimers;
use super::response_judge::{ClassifyConfig, ExpectedBody, JudgeStage, ResponseJudge, Stage};
use crate::attempt::{StagePoll, Wire};
use crate::body::bytes_of;
use crate::metrics::{AttemptMetrics, TargetMetrics};
use crate::thread_shard::ByThread;
use crate::timeout::{AttemptTimer, AttemptTrail};
use crate::{BoxError, Classifier, Error, UsageMeter};

/// The wire that classifies responses.
#[derive(Clone)]
pub struct ClassifyWire {
    config: ByThread<Arc<ClassifyConfig>>,
    /// In a stack an attempt ends after this time, and with the deadlines of its request. `None` if the layer
    /// is used alone: [`TimeoutLayer`](crate::TimeoutLayer) bounds the time.
    attempt_limit: Option<Duration>,
    metrics: TargetMetrics,
}

impl ClassifyWire {
    pub(super) fn new(classifier: Arc<dyn Classifier>, clocks: StreamClocks) -> Self {
        let config = Arc::new(ClassifyConfig { classifier, clocks });
        Self {
            config: ByThread::new(config, |config| Arc::new((**config).clone())),
            attempt_limit: None,
            metrics: TargetMetrics::of(""),
        }
    }

    /// The wire of a stack: each attempt is bounded as well, as by [`TimeoutLayer`](crate::TimeoutLayer). One
    /// timer is armed for an attempt, and one body holds its response.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { attempt_limit: Some(limit), ..self }
    }

    /// Records the metrics of this target.
    pub(crate) fn metrics(self, metrics: TargetMetrics) -> Self {
        Self { metrics, ..self }
    }
}

impl<R: Body<Data = Bytes>> Wire<R> for ClassifyWire {
    type Judge = ResponseJudge;
    type Stage = Stage<R>;
    type Body = ResponseBody<R>;

    fn start<B: 'static>(&self, request: &mut Request<B>) -> ResponseJudge {
        let ClassifyConfig { classifier, clocks } = &**self.config;
        let body = bytes_of(request).map(|body| &body[..]);
        let expected = match *request.method() {
            Method::POST => classifier
                .expected_answer(request.uri(), request.headers(), body)
                .map_or(ExpectedBody::Created, ExpectedBody::Answer),
            Method::HEAD => ExpectedBody::Head,
            _ => ExpectedBody::Read,
        };
        let expects_stream = match expected {
            ExpectedBody::Answer(answer) if answer.form != AnswerForm::Unknown => {
                answer.form != AnswerForm::Document
            }
            _ => classifier.expects_stream(request.headers(), body.unwrap_or_default()),
        };
        ResponseJudge {
            config: self.config.of_thread(),
            attempt_timer: match self.attempt_limit {
                None => AttemptTimer::default(),
                limit => AttemptTimer::new(limit, request.extensions()),
            },
            expected,
            is_counted: false,
            idle_timers: expects_stream.then(|| Box::new(IdleTimers::new(*clocks))),
            trail: AttemptTrail::of(request.extensions_mut()),
            attempt_usage: UsageMeter::start_attempt(request.extensions_mut()).map(Box::new),
            metrics: AttemptMetrics::start(self.metrics),
        }
    }

    #[inline]
    fn on_response(
        judge: &mut ResponseJudge,
        head: &mut Parts,
        body: R,
        cx: &mut Context<'_>,
    ) -> JudgeStage<R>
    where
        R::Error: Into<BoxError>,
    {
        judge.on_response(head, body, cx)
    }

    fn on_error(judge: &mut ResponseJudge, error: &Error) {
        judge.record_error(error);
    }

    fn poll_overdue(judge: &mut ResponseJudge, cx: &mut Context<'_>) -> Poll<Error> {
        let error = ready!(judge.poll_out_of_time(cx));
        judge.record_error(&error);
        Poll::Ready(error)
    }

    fn poll_stage(
        judge: &mut ResponseJudge,
        head: &mut Parts,
        stage: Stage<R>,
        cx: &mut Context<'_>,
    ) -> StagePoll<ResponseBody<R>, Stage<R>>
    where
        R::Error: Into<BoxError>,
    {
        judge.poll_stage(head, stage, cx)
    }
}

partial_debug!([] ClassifyWire, "ClassifyWire");
