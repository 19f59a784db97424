use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use pin_project::pin_project;

use super::body::WholeBody;
use super::clocks::IdleTimers;
use super::scanned_body::HoldResult;
use super::service::ClassifyConfig;
use super::usage_scanner::UsageScanner;
use super::{BufferedBody, ERROR_BODY_LIMIT, ResponseBody, ScannedBody};
use crate::{AttemptUsage, BodyProbe, BoxError, Failure, Outcome, Rejection, Trail, clock};

/// Waits for the answer: the beginning of a good one, the body of a failed one, the first token of a stream.
#[pin_project]
pub struct ResponseFuture<F, B> {
    #[pin]
    state: State<F, B>,
    judge: ResponseJudge,
}

#[pin_project(project = StateProj)]
enum State<F, B> {
    /// The head is awaited.
    Calling(#[pin] F),
    /// The answer may be an error in spite of its status, and its beginning says whether it is. Boxed, like what follows:
    /// an answer that is settled by its head has no need of the room.
    Probing(Option<Box<(Parts, BufferedBody<B>)>>),
    /// The answer is a failed one, and its body says what it means.
    Reading(Option<Box<(Parts, BufferedBody<B>)>>),
    /// The answer is a stream, and is held back until it is known to be one.
    Holding(Option<Box<(Parts, Box<ScannedBody<B>>)>>),
}

pub(super) struct ResponseJudge {
    pub(super) config: Arc<ClassifyConfig>,
    /// Something was asked of a model, and not how something else fares.
    pub(super) is_generation: bool,
    /// The clocks of a stream that was asked for, from the call on.
    pub(super) timers: Option<Box<IdleTimers>>,
    pub(super) trail: Option<Trail>,
    /// Told what is used, if somebody wants to know.
    pub(super) attempt: Option<AttemptUsage>,
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(future: F, judge: ResponseJudge) -> Self {
        Self { state: State::Calling(future), judge }
    }
}

impl ResponseJudge {
    /// What a failed answer says.
    fn classify_failure(&mut self, head: &mut Parts, body: &[u8]) {
        let mut outcome = self.config.classifier.classify(head, body, SystemTime::now());
        // The status was given before it was known.
        if head.status.is_success()
            && let Outcome::Failure(failure) = outcome
        {
            self.record_failed_status(failure.code.http_status());
            outcome = in_band(failure);
        }
        self.record_outcome(head, outcome);
    }

    /// Writes down what the attempt came to: a failure where everybody finds it.
    fn record_outcome(&self, head: &mut Parts, outcome: Outcome) {
        self.record_attempt(&outcome);
        // A failed status is taken for a failure where nothing else is said.
        if outcome != Outcome::Success || head.status.as_u16() >= 400 {
            head.extensions.insert(outcome);
        }
    }

    /// A failed answer has used no tokens; what was turned down as it is, not even those of the prompt.
    fn record_failed_status(&mut self, status: StatusCode) {
        match &mut self.attempt {
            Some(attempt) if status.is_client_error() => attempt.mark_unprocessed(),
            Some(attempt) => attempt.start_response(),
            None => {}
        }
    }

    /// Whether an answer has to be looked into before it is believed. An error of more than we would read is none.
    fn needs_probe<B: Body>(&self, head: &Parts, body: &B) -> bool {
        self.is_generation
            && head.status.is_success()
            && self.config.classifier.probe_body(head, &[]) == BodyProbe::Unclear
            && body.size_hint().lower() <= ERROR_BODY_LIMIT as u64
            && !body.is_end_stream()
    }

    /// A good answer in one piece.
    fn complete<B>(&mut self, head: Parts, body: WholeBody<B>) -> Response<ResponseBody<B>> {
        self.record_attempt(&Outcome::Success);
        let usage_scanner = self.attempt.take().and_then(|attempt| {
            let scanner = self.config.classifier.usage_scanner(&head)?;
            Some(UsageScanner::new(scanner, attempt))
        });
        let body = match usage_scanner {
            Some(usage_scanner) => ResponseBody::metered(body, usage_scanner),
            None => ResponseBody::whole(body),
        };
        Response::from_parts(head, body)
    }

    fn poll_probe<B>(
        &self,
        head: &Parts,
        buffered: &mut BufferedBody<B>,
        cx: &mut Context<'_>,
    ) -> Poll<BodyProbe>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        buffered.poll_probe(cx, |beginning| self.config.classifier.probe_body(head, beginning))
    }

    fn record_attempt(&self, outcome: &Outcome) {
        if let Some(trail) = &self.trail {
            trail.attempt(outcome);
        }
    }

    fn fail<T>(&mut self, error: BoxError) -> Poll<Result<T, BoxError>> {
        // What is told by a stream has been told; and what a layer below us refused was never sent.
        if let Some(attempt) = self.attempt.take()
            && Rejection::find(&*error).is_some()
        {
            attempt.withdraw();
        }
        self.record_attempt(&Outcome::of_error(&*error));
        Poll::Ready(Err(error))
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let judge = this.judge;
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling(future) => {
                    let Poll::Ready(result) = future.poll(cx) else {
                        let Some(timers) = &mut judge.timers else { return Poll::Pending };
                        let elapsed = ready!(timers.poll_elapsed(cx));
                        return judge.fail(elapsed.into());
                    };
                    let (mut head, body) = match result {
                        Ok(response) => response.into_parts(),
                        Err(error) => return judge.fail(error.into()),
                    };
                    if head.status.as_u16() >= 400 {
                        judge.record_failed_status(head.status);
                        if judge.config.classifier.needs_body(&head) {
                            this.state.set(State::Reading(Some(Box::new((head, BufferedBody::new(body))))));
                            continue;
                        }
                        judge.classify_failure(&mut head, &[]);
                    } else if let Some(scanner) = judge.config.classifier.scan(&head) {
                        let timers = judge.timers.take();
                        let now = clock::now();
                        let new_timers = || IdleTimers::since(now, judge.config.clocks);
                        let mut timers = timers.map_or_else(new_timers, |timers| *timers);
                        timers.on_head(now);
                        let stream = Box::new(ScannedBody::new(body, scanner, timers, judge.attempt.take()));
                        this.state.set(State::Holding(Some(Box::new((head, stream)))));
                        continue;
                    } else if judge.needs_probe(&head, &body) {
                        let mut buffered = BufferedBody::new(body);
                        // Its first piece may be there already, and nearly always says enough.
                        if judge.poll_probe(&head, &mut buffered, cx) == Poll::Ready(BodyProbe::Success) {
                            return Poll::Ready(Ok(
                                judge.complete(head, WholeBody::Buffered(Box::new(buffered)))
                            ));
                        }
                        this.state.set(State::Probing(Some(Box::new((head, buffered)))));
                        continue;
                    } else {
                        return Poll::Ready(Ok(judge.complete(head, WholeBody::Untouched(body))));
                    }
                    let body = ResponseBody::whole(WholeBody::Untouched(body));
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Probing(answer) => {
                    let (head, buffered) = &mut **answer.as_mut().expect("polled after completion");
                    let Poll::Ready(probe) = judge.poll_probe(head, buffered, cx) else {
                        // A stream was asked for, and is missed for as long as nothing else has come.
                        let Some(timers) = &mut judge.timers else { return Poll::Pending };
                        let elapsed = ready!(timers.poll_elapsed(cx));
                        return judge.fail(elapsed.into());
                    };
                    let answer = answer.take().expect("checked above");
                    if probe == BodyProbe::Error {
                        this.state.set(State::Reading(Some(answer)));
                        continue;
                    }
                    let (head, buffered) = *answer;
                    if probe == BodyProbe::Unclear {
                        return judge.fail(buffered.into_error());
                    }
                    return Poll::Ready(Ok(judge.complete(head, WholeBody::Buffered(Box::new(buffered)))));
                }
                StateProj::Reading(answer) => {
                    let (_, buffered) = &mut **answer.as_mut().expect("polled after completion");
                    ready!(buffered.poll_read(cx));
                    let (mut head, buffered) = *answer.take().expect("just read");
                    judge.classify_failure(&mut head, &buffered.bytes());
                    let body = ResponseBody::whole(WholeBody::Buffered(Box::new(buffered)));
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Holding(answer) => {
                    let (_, stream) = &mut **answer.as_mut().expect("polled after completion");
                    let result = ready!(stream.poll_hold(cx));
                    let (mut head, stream) = *answer.take().expect("just held");
                    match result {
                        HoldResult::Commit => {
                            judge.record_outcome(&mut head, Outcome::Success);
                            head.extensions.insert(stream.outcome());
                        }
                        HoldResult::Failed(failure) => judge.record_outcome(&mut head, in_band(failure)),
                        HoldResult::Broken(error) => return judge.fail(error),
                    }
                    return Poll::Ready(Ok(Response::from_parts(head, ResponseBody::stream(stream))));
                }
            }
        }
    }
}

/// A failure that came where an answer should have been.
fn in_band(failure: Failure) -> Outcome {
    match failure.kind {
        crate::FailureKind::Response => Failure { kind: crate::FailureKind::InBand, ..failure }.into(),
        _ => failure.into(),
    }
}
