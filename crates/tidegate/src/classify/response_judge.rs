//! The judgement of one response: the decisions at its head, and what is recorded of it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http_body::{Body, Frame};
use tidegate_core::{AnswerForm, ExpectedAnswer};

use super::body::{ResponseBody, UsageScanner, WholeBody};
use super::clocks::IdleTimers;
use super::event_answer::EventAnswer;
use super::own_body::ConvertedAnswer;
use super::{BufferedBody, ClassifiableBody, ERROR_BODY_LIMIT, ScannedBody, StreamClocks};
use crate::attempt::NextStage;
use crate::metrics::AttemptMetrics;
use crate::offload::DocumentWork;
use crate::timeout::{AttemptTimer, AttemptTrail};
use crate::{AttemptUsage, BodyProbe, Classifier, Error, ErrorCode, Failure, FailureKind, Outcome, clock};

/// The settings shared by a service and its clones. Each thread has a copy with a reference count of its own.
// Two cache lines, because processors prefetch them in pairs.
#[derive(Clone)]
#[repr(align(128))]
pub(super) struct ClassifyConfig {
    pub(super) classifier: Arc<dyn Classifier>,
    pub(super) clocks: StreamClocks,
}

/// The body of a response whose outcome is not known yet. Boxed, so that responses that are classified by
/// their head keep the future small.
pub enum Stage<B: Body> {
    /// The response may be an error in spite of its status: its first bytes are probed.
    Probing(Box<BufferedBody<B>>),
    /// The answer is a document: it is read to its end, or up to [`ERROR_BODY_LIMIT`], since one that breaks
    /// off is a failure like any other, which may be retried.
    Completing(Box<BufferedBody<B>>),
    /// The answer is in events, and a document was requested: it is read to its end.
    ReadingEvents(Box<EventAnswer<B>>),
    /// The answer is a document, and events were requested: it is read to its end.
    ReadingDocument(Box<BufferedBody<B>>),
    /// The complete answer is converted to this form.
    Converted(DocumentWork<ConvertedAnswer>, AnswerForm),
    /// The response failed: its body is read to classify it.
    Reading(Box<BufferedBody<B>>),
    /// The response is a stream, which is held back until the commit point.
    Holding(Box<ScannedBody<B>>),
}

/// The next stage, or the result of the call.
pub(super) type JudgeStage<B> = NextStage<ResponseBody<B>, Stage<B>>;

/// What the response to a request has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpectedBody {
    /// The answer of a model. A success has to show it.
    Answer(ExpectedAnswer),
    /// Any response to a POST, which may be an error with the status of a success.
    Created,
    /// The state of another object: a GET.
    Read,
    /// A head without its body: the response to a HEAD.
    Head,
}

/// Classifies the response of one attempt, and records its outcome and usage.
pub struct ResponseJudge {
    pub(super) config: Arc<ClassifyConfig>,
    pub(super) expected: ExpectedBody,
    /// Whether the connection counts the bytes of the body, so that it reports one that is cut short.
    pub(super) is_counted: bool,
    /// Bounds the attempt, if the service is the wire of a stack.
    pub(super) attempt_timer: AttemptTimer,
    /// The idle timers of the attempt, if the request is for a stream.
    pub(super) idle_timers: Option<Box<IdleTimers>>,
    pub(super) trail: AttemptTrail,
    /// Records the usage, if the request has a meter. Boxed, since few requests have one.
    pub(super) attempt_usage: Option<Box<AttemptUsage>>,
    pub(super) metrics: AttemptMetrics,
}

impl ResponseJudge {
    /// The result of a response that its head classifies, or the stage of any other.
    #[inline]
    pub(super) fn on_response<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        body: B,
        cx: &mut Context<'_>,
    ) -> JudgeStage<B> {
        // A provider that changes the protocol of the connection does not answer.
        if head.status.is_informational() {
            return self.fail(Failure::no_answer().into());
        }
        self.read_length(head, &body);
        if head.status.as_u16() >= 400 {
            return self.on_failed_status(head, body);
        }
        let Some(answer) = self.expected_answer() else {
            return match self.config.classifier.scan(head) {
                Some(scanner) => ControlFlow::Continue(self.hold(BufferedBody::new(body), scanner)),
                None => match self.probe_head(head, &body) {
                    BodyProbe::Unclear => self.start_probe(head, body, cx),
                    BodyProbe::Error => {
                        ControlFlow::Continue(Stage::Reading(Box::new(BufferedBody::new(body))))
                    }
                    BodyProbe::Success | BodyProbe::Events => {
                        ControlFlow::Break(Ok(self.complete(head, WholeBody::untouched(body))))
                    }
                },
            };
        };
        if !head.status.is_success() {
            self.record_outcome(head, Failure::no_answer().into());
            return self.pass_on(body);
        }
        match self.config.classifier.probe_answer(head, answer, &[]) {
            BodyProbe::Success => {
                return ControlFlow::Break(Ok(self.complete(head, WholeBody::untouched(body))));
            }
            BodyProbe::Events => _ = self.start_timers(),
            BodyProbe::Unclear | BodyProbe::Error => {}
        }
        self.start_probe(head, body, cx)
    }

    #[cold]
    fn on_failed_status<B: ClassifiableBody>(&mut self, head: &mut Parts, body: B) -> JudgeStage<B> {
        self.record_failed_status(head.status);
        if self.config.classifier.needs_body(head) {
            return ControlFlow::Continue(Stage::Reading(Box::new(BufferedBody::new(body))));
        }
        self.classify_failure(head, &[]);
        self.pass_on(body)
    }

    /// Ready once the time of the attempt has elapsed, or the stream that was requested is missing for too
    /// long.
    pub(super) fn poll_out_of_time(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let elapsed = ready!(match &mut self.idle_timers {
            Some(timers) => timers.poll_elapsed(&mut self.attempt_timer, cx),
            None => self.attempt_timer.poll_elapsed(cx),
        });
        Poll::Ready(elapsed.into())
    }

    /// The result of an attempt that ended in `error`.
    pub(super) fn fail<B: Body>(&mut self, error: Error) -> JudgeStage<B> {
        self.record_error(&error);
        ControlFlow::Break(Err(error))
    }

    /// Records an attempt that ended in `error`.
    #[cold]
    pub(super) fn record_error(&mut self, error: &Error) {
        let outcome = Outcome::of_error(error);
        let is_not_processed =
            outcome.failure().is_some_and(|failure| failure.kind == FailureKind::NotProcessed);
        // A stream has recorded its usage already. A request that an inner layer rejected was never sent.
        if let Some(usage) = self.attempt_usage.take()
            && (is_not_processed || error.rejection().is_some())
        {
            usage.withdraw();
        }
        self.record_attempt(&outcome);
    }

    /// Passes on a failed response whose body is not needed.
    fn pass_on<B: ClassifiableBody>(&mut self, body: B) -> JudgeStage<B> {
        ControlFlow::Break(Ok(self.whole(WholeBody::untouched(body), None)))
    }

    /// Classifies a failed response and records its outcome.
    pub(super) fn classify_failure(&mut self, head: &mut Parts, body: &[u8]) {
        let mut outcome = self.config.classifier.classify(head, body, SystemTime::now());
        // The provider sent the status before it knew the result.
        if head.status.is_success() {
            let failure = outcome.failure().cloned().unwrap_or_else(Failure::no_answer);
            self.record_failed_status(failure.code.http_status());
            // The model has processed the request all the same.
            if failure.kind == FailureKind::ContentFilter {
                self.record_usage(head, body);
            }
            outcome = in_band(failure);
        }
        self.record_outcome(head, outcome);
    }

    /// The failure behind the content of an answer that was read to its end.
    pub(super) fn late_failure<B: ClassifiableBody>(
        &self,
        head: &Parts,
        body: &BufferedBody<B>,
    ) -> Option<Failure> {
        let answer = self.expected_answer().filter(|_| body.is_whole())?;
        self.config.classifier.late_failure(head, answer, &body.bytes(), SystemTime::now())
    }

    /// Records the outcome of the attempt in the trail and in the metrics, and a failure in the extensions of
    /// the response.
    pub(super) fn record_outcome(&mut self, head: &mut Parts, mut outcome: Outcome) {
        if let Outcome::Failure(failure) = &mut outcome
            && self.is_of_other_tier(head, failure.code)
        {
            failure.kind = FailureKind::NotProcessed;
        }
        self.record_attempt(&outcome);
        // Without an outcome in the extensions, an error status is treated as a failure by the outer layers.
        if outcome != Outcome::Success || head.status.as_u16() >= 400 {
            head.extensions.insert(outcome);
        }
    }

    /// Whether a failure is that of a service tier which the request has named, and other calls do not use. A server
    /// that is down, or an account without credit, is so for all calls.
    fn is_of_other_tier(&self, head: &Parts, code: ErrorCode) -> bool {
        // OpenAI and Groq report a tier without capacity with these.
        let has_no_capacity = code == ErrorCode::Overloaded && matches!(head.status.as_u16(), 429 | 498);
        self.names_other_tier() && (code == ErrorCode::RateLimited || has_no_capacity)
    }

    /// Whether the request names a service tier with limits and capacity of its own.
    pub(super) fn names_other_tier(&self) -> bool {
        self.expected_answer().is_some_and(|answer| answer.is_of_other_tier)
    }

    /// Records the usage of a failed response: no output tokens, and for a client error no prompt tokens
    /// either.
    fn record_failed_status(&mut self, status: StatusCode) {
        match &mut self.attempt_usage {
            Some(usage) if status.is_client_error() => usage.mark_unprocessed(),
            Some(usage) => usage.start_response(),
            None => {}
        }
    }

    /// What the head of a response shows, and whether its body must be probed before it counts as a success. A
    /// body that is larger than the part that would be read is not an error body.
    fn probe_head<B: Body>(&self, head: &Parts, body: &B) -> BodyProbe {
        if self.expected != ExpectedBody::Created || !head.status.is_success() {
            return BodyProbe::Success;
        }
        let may_be_error = || body.size_hint().lower() <= ERROR_BODY_LIMIT as u64 && !body.is_end_stream();
        match self.config.classifier.probe_body(head, &[]) {
            BodyProbe::Unclear if !may_be_error() => BodyProbe::Success,
            probe => probe,
        }
    }

    /// The answer that the response has to show.
    pub(super) fn expected_answer(&self) -> Option<ExpectedAnswer> {
        match self.expected {
            ExpectedBody::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// Reads how the length of the body is known. A `content-length` that is not that of the body is removed:
    /// an answer in chunks would be cut off there.
    fn read_length<B: Body>(&mut self, head: &mut Parts, body: &B) {
        let exact = body.size_hint().exact();
        self.is_counted = exact.is_some();
        if head.headers.is_empty() {
            return;
        }
        let is_of_another_body =
            self.expected == ExpectedBody::Head || head.status == StatusCode::NOT_MODIFIED;
        if let Some(length) = head.headers.get(CONTENT_LENGTH)
            && !is_of_another_body
            && exact
                .is_none_or(|exact| length.to_str().ok().and_then(|text| text.parse().ok()) != Some(exact))
        {
            head.headers.remove(CONTENT_LENGTH);
        }
    }

    /// The head announces a stream: its idle timers run.
    pub(super) fn start_timers(&mut self) -> &mut IdleTimers {
        let clocks = self.config.clocks;
        let timers = self.idle_timers.get_or_insert_with(|| Box::new(IdleTimers::new(clocks)));
        timers.on_head(clock::now());
        timers
    }

    /// Completes a successful response that is not a stream.
    #[inline]
    pub(super) fn complete<B: ClassifiableBody>(
        &mut self,
        head: &Parts,
        body: WholeBody<B>,
    ) -> ResponseBody<B> {
        self.record_attempt(&Outcome::Success);
        let usage_scanner = self.usage_scanner(head);
        self.whole(body, usage_scanner)
    }

    /// Scans the usage of the body that follows, if the request has a meter.
    fn usage_scanner(&mut self, head: &Parts) -> Option<UsageScanner> {
        let usage = self.attempt_usage.take()?;
        let scanner = self.config.classifier.usage_scanner(head)?;
        Some(UsageScanner::new(scanner, *usage))
    }

    /// Records the usage in a complete document.
    pub(super) fn record_usage(&mut self, head: &Parts, document: &[u8]) {
        if let Some(mut scanner) = self.usage_scanner(head) {
            scanner.on_frame(Some(&Ok(Frame::data(Bytes::copy_from_slice(document)))), true);
        }
    }

    /// A response body that is not a stream. Its time is that of the attempt, unless all of it has arrived.
    pub(super) fn whole<B: ClassifiableBody>(
        &mut self,
        body: WholeBody<B>,
        scanner: Option<UsageScanner>,
    ) -> ResponseBody<B> {
        let timer = match body.has_arrived() {
            true => AttemptTimer::default(),
            false => std::mem::take(&mut self.attempt_timer).for_body(),
        };
        ResponseBody::whole(body, scanner, timer, std::mem::take(&mut self.metrics))
    }

    fn record_attempt(&mut self, outcome: &Outcome) {
        self.metrics.on_outcome(outcome);
        self.trail.record(outcome);
    }
}

/// Marks a failure that arrived in the body of a successful status.
pub(super) fn in_band(failure: Failure) -> Outcome {
    in_band_failure(failure).into()
}

pub(super) fn in_band_failure(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Response => Failure { kind: FailureKind::InBand, ..failure },
        _ => failure,
    }
}
