//! The stages of a response that its head does not classify: what is read of its body, and what follows.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_ENCODING;
use http::response::Parts;
use tidegate_core::AnswerForm;

use super::body::{ResponseBody, WholeBody};
use super::clocks::IdleTimers;
use super::event_answer::EventAnswer;
use super::own_body::{ConvertedAnswer, MAX_CONVERTED, is_open_json, label_json};
use super::response_judge::{JudgeStage, ResponseJudge, Stage, in_band};
use super::scanned_body::HoldResult;
use super::{BufferedBody, ClassifiableBody, ScannedBody};
use crate::attempt::StagePoll;
use crate::offload::DocumentWork;
use crate::{BodyProbe, Error, Failure, Outcome};

impl ResponseJudge {
    /// Polls a stage, until it is complete or its time has elapsed.
    pub(super) fn poll_stage<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        stage: Stage<B>,
        cx: &mut Context<'_>,
    ) -> StagePoll<ResponseBody<B>, Stage<B>> {
        StagePoll::Ready(match stage {
            Stage::Probing(mut body) => match self.poll_probe(head, &mut body, cx) {
                Poll::Ready(probe) => self.on_probe(head, body, probe, cx),
                Poll::Pending => return self.wait(Stage::Probing(body), cx),
            },
            Stage::Completing(mut body) => match body.poll_read(cx) {
                Poll::Ready(()) => self.on_document(head, body),
                Poll::Pending => return self.wait(Stage::Completing(body), cx),
            },
            Stage::ReadingEvents(mut events) => match events.poll_read(cx) {
                Poll::Ready(()) => self.on_conversion(self.convert_events(*events), AnswerForm::Document),
                Poll::Pending => return self.wait(Stage::ReadingEvents(events), cx),
            },
            Stage::ReadingDocument(mut body) => match body.poll_read(cx) {
                Poll::Ready(()) => self.on_conversion(self.convert_document(head, *body), AnswerForm::Events),
                Poll::Pending => return self.wait(Stage::ReadingDocument(body), cx),
            },
            Stage::Converted(mut work, form) => match Pin::new(&mut work).poll(cx) {
                Poll::Ready(answer) => {
                    let body = answer.and_then(|answer| self.on_converted(head, answer, form));
                    ControlFlow::Break(body.inspect_err(|error| self.record_error(error)))
                }
                Poll::Pending => return self.wait(Stage::Converted(work, form), cx),
            },
            Stage::Reading(mut body) => match body.poll_read_error_body(cx) {
                Poll::Ready(()) => self.on_failed_body(head, body),
                Poll::Pending => return self.wait(Stage::Reading(body), cx),
            },
            Stage::Holding(mut stream) => match stream.poll_hold(cx) {
                Poll::Ready(result) => self.on_hold_result(head, stream, result),
                Poll::Pending => return self.wait(Stage::Holding(stream), cx),
            },
        })
    }

    /// Returns a pending stage, unless its time has elapsed.
    fn wait<B: ClassifiableBody>(
        &mut self,
        stage: Stage<B>,
        cx: &mut Context<'_>,
    ) -> StagePoll<ResponseBody<B>, Stage<B>> {
        let out_of_time = match &stage {
            // If the request is for a stream, its timers run as well.
            Stage::Probing(_)
            | Stage::Completing(_)
            | Stage::ReadingEvents(_)
            | Stage::ReadingDocument(_) => self.poll_out_of_time(cx),
            // Nothing of an answer is awaited: the timers of a stream have ended.
            Stage::Converted(..) | Stage::Reading(_) => self.attempt_timer.poll_elapsed(cx).map(Error::from),
            // The stream has the timers.
            Stage::Holding(_) => Poll::Pending,
        };
        match out_of_time {
            Poll::Pending => StagePoll::Pending(stage),
            Poll::Ready(error) => StagePoll::Ready(match stage {
                Stage::ReadingEvents(mut events) => match events.can_end() {
                    true => self.on_conversion(self.convert_events(*events), AnswerForm::Document),
                    false => self.fail(error),
                },
                _ => self.fail(error),
            }),
        }
    }

    /// Probes a body of which nothing was read. The first frame may be available already, and nearly always
    /// identifies the body.
    pub(super) fn start_probe<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        body: B,
        cx: &mut Context<'_>,
    ) -> JudgeStage<B> {
        let mut body = Box::new(BufferedBody::new(body));
        match self.poll_probe(head, &mut body, cx) {
            Poll::Ready(probe) => self.on_probe(head, body, probe, cx),
            Poll::Pending => ControlFlow::Continue(Stage::Probing(body)),
        }
    }

    fn poll_probe<B>(
        &self,
        head: &Parts,
        buffered: &mut BufferedBody<B>,
        cx: &mut Context<'_>,
    ) -> Poll<BodyProbe>
    where
        B: ClassifiableBody,
    {
        let classifier = &self.config.classifier;
        buffered.poll_probe(cx, |bytes| match self.expected_answer() {
            Some(answer) => classifier.probe_answer(head, answer, bytes),
            None => classifier.probe_body(head, bytes),
        })
    }

    /// The next state once the body is identified, or the response if it is a success.
    fn on_probe<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        mut body: Box<BufferedBody<B>>,
        probe: BodyProbe,
        cx: &mut Context<'_>,
    ) -> JudgeStage<B> {
        let answer = self.expected_answer();
        let classifier = Arc::clone(&self.config.classifier);
        let is_no_answer = |answer| body.has_ended() && !classifier.is_answer(answer, &body.bytes());
        let probe = match probe {
            BodyProbe::Unclear if body.broke_off() => {
                return self.fail(body.into_error());
            }
            BodyProbe::Unclear if answer.is_some_and(is_no_answer) => BodyProbe::Error,
            BodyProbe::Unclear
                if answer.is_none() && body.has_ended() && classifier.is_filtered(&body.bytes()) =>
            {
                BodyProbe::Error
            }
            BodyProbe::Unclear => BodyProbe::Success,
            identified => identified,
        };
        match (probe, answer.map(|answer| answer.form)) {
            (BodyProbe::Error, _) => {
                return ControlFlow::Continue(Stage::Reading(body));
            }
            (BodyProbe::Success, Some(AnswerForm::Events)) => {
                body.extend_to(MAX_CONVERTED);
                return ControlFlow::Continue(Stage::ReadingDocument(body));
            }
            (BodyProbe::Events, form) => {
                let scanner = match answer {
                    Some(answer) => classifier.scan_answer(head, answer, &body.bytes()),
                    None => classifier.scan(head),
                };
                match (scanner, form) {
                    (Some(scanner), Some(AnswerForm::Document)) => {
                        let events = Box::new(EventAnswer::new(*body, scanner));
                        return ControlFlow::Continue(Stage::ReadingEvents(events));
                    }
                    (Some(scanner), _) => return ControlFlow::Continue(self.hold(*body, scanner)),
                    (None, Some(AnswerForm::Document)) => return self.fail(Failure::no_answer().into()),
                    (None, _) => {}
                }
            }
            _ if answer.is_some() => {
                // It has arrived as a whole, nearly always.
                return match body.poll_read(cx) {
                    Poll::Ready(()) => self.on_document(head, body),
                    Poll::Pending => ControlFlow::Continue(Stage::Completing(body)),
                };
            }
            _ => {}
        }
        self.pass_on_success(head, body)
    }

    /// The result of a failed response whose body was read.
    fn on_failed_body<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        body: Box<BufferedBody<B>>,
    ) -> JudgeStage<B> {
        self.classify_failure(head, &body.bytes());
        ControlFlow::Break(Ok(self.error_body(head, body)))
    }

    /// The conversion of an answer that was read to its end.
    fn on_conversion<B: ClassifiableBody>(
        &mut self,
        work: Result<DocumentWork<ConvertedAnswer>, Error>,
        form: AnswerForm,
    ) -> JudgeStage<B> {
        match work {
            Ok(work) => ControlFlow::Continue(Stage::Converted(work, form)),
            Err(error) => self.fail(error),
        }
    }

    /// The response with a stream that was held back.
    fn on_hold_result<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        mut stream: Box<ScannedBody<B>>,
        result: HoldResult,
    ) -> JudgeStage<B> {
        match result {
            HoldResult::Commit => {
                self.record_outcome(head, Outcome::Success);
                if stream.has_started() {
                    self.metrics.on_first_token();
                } else if !stream.has_ended() {
                    stream.outcome().set_unproven();
                }
                head.extensions.insert(stream.outcome());
            }
            HoldResult::Failed(failure) => self.record_outcome(head, in_band(failure)),
            HoldResult::Broken(error) => return self.fail(error),
        }
        stream.commit();
        ControlFlow::Break(Ok(ResponseBody::stream(stream, std::mem::take(&mut self.metrics))))
    }

    /// The response with an answer that was read to its end, or up to the limit.
    fn on_document<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        body: Box<BufferedBody<B>>,
    ) -> JudgeStage<B> {
        let is_open = || !self.is_counted && body.has_ended() && is_open_json(&body.bytes());
        if body.broke_off() || is_open() {
            return self.fail(body.into_error());
        }
        label_json(head);
        // A body that was read as JSON is not packed, whatever its label.
        if matches!(body.bytes().trim_ascii_start().first(), Some(b'{' | b'[')) {
            head.headers.remove(CONTENT_ENCODING);
        }
        if let Some(failure) = self.late_failure(head, &body) {
            // The model has processed the request all the same.
            self.record_usage(head, &body.bytes());
            self.record_outcome(head, in_band(failure));
            return ControlFlow::Break(Ok(self.error_body(head, body)));
        }
        self.pass_on_success(head, body)
    }

    fn pass_on_success<B: ClassifiableBody>(
        &mut self,
        head: &Parts,
        mut body: Box<BufferedBody<B>>,
    ) -> JudgeStage<B> {
        if !self.is_counted {
            body.expect_closed();
        }
        ControlFlow::Break(Ok(self.complete(head, WholeBody::Buffered(body))))
    }

    /// A stream that is held back until its first token.
    pub(super) fn hold<B: ClassifiableBody>(
        &mut self,
        body: BufferedBody<B>,
        scanner: Box<dyn tidegate_core::Scan>,
    ) -> Stage<B> {
        self.start_timers();
        let started = self.idle_timers.take();
        let idle_timers = started.map_or_else(|| IdleTimers::new(self.config.clocks), |it| *it);
        let attempt_timer = std::mem::take(&mut self.attempt_timer);
        let usage = self.attempt_usage.take().map(|usage| *usage);
        let is_of_other_tier = self.names_other_tier();
        Stage::Holding(Box::new(ScannedBody::new(
            body,
            scanner,
            idle_timers,
            attempt_timer,
            usage,
            is_of_other_tier,
        )))
    }
}
