use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use http::response::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use pin_project::pin_project;

use super::ClassifiableBody;
use super::body::WholeBody;
use super::clocks::IdleTimers;
use super::scanned_body::HoldResult;
use super::service::ClassifyConfig;
use super::usage_scanner::UsageScanner;
use super::{BufferedBody, ERROR_BODY_LIMIT, ResponseBody, ScannedBody};
use crate::timeout::AttemptTimer;
use crate::{AttemptUsage, BodyProbe, BoxError, Elapsed, Error, Failure, Outcome, Trail, clock};

/// Response future of [`Classify`](super::Classify): waits for the response head, and then for the first
/// bytes of a successful response, the body of a failed one, or the first token of a stream.
#[pin_project]
pub struct ResponseFuture<F, B: Body> {
    #[pin]
    state: State<F, B>,
    judge: ResponseJudge,
}

#[pin_project(project = StateProj)]
enum State<F, B: Body> {
    /// Waiting for the response head.
    Calling(#[pin] F),
    /// The response may be an error in spite of its status: its first bytes are probed. Boxed like the states
    /// below, so that responses that are classified by their head keep the future small.
    Probing(Option<Box<(Parts, BufferedBody<B>)>>),
    /// The response failed: its body is read to classify it.
    Reading(Option<Box<(Parts, BufferedBody<B>)>>),
    /// The response is a stream, which is held back until the commit point.
    Holding(Option<Box<(Parts, Box<ScannedBody<B>>)>>),
}

/// Classifies the response of one attempt, and records its outcome and usage.
pub(super) struct ResponseJudge {
    pub(super) config: Arc<ClassifyConfig>,
    /// Whether the request is a POST, to which a model responds; a GET reads the state of another object.
    pub(super) is_generation: bool,
    /// Bounds the attempt, if the service is the wire of a stack.
    pub(super) timer: AttemptTimer,
    /// The idle timers since the call, if the request is for a stream.
    pub(super) timers: Option<Box<IdleTimers>>,
    pub(super) trail: Option<Trail>,
    /// Records the usage, if the request has a meter.
    pub(super) attempt: Option<AttemptUsage>,
}

impl<F, B: Body> ResponseFuture<F, B> {
    pub(super) fn new(future: F, judge: ResponseJudge) -> Self {
        Self { state: State::Calling(future), judge }
    }
}

impl ResponseJudge {
    /// Classifies a failed response and records its outcome.
    fn classify_failure(&mut self, head: &mut Parts, body: &[u8]) {
        let mut outcome = self.config.classifier.classify(head, body, SystemTime::now());
        // The provider sent the status before it knew the result.
        if head.status.is_success()
            && let Outcome::Failure(failure) = outcome
        {
            self.record_failed_status(failure.code.http_status());
            outcome = in_band(failure);
        }
        self.record_outcome(head, outcome);
    }

    /// Records the outcome of the attempt in the trail, and a failure in the extensions of the response.
    fn record_outcome(&self, head: &mut Parts, outcome: Outcome) {
        self.record_attempt(&outcome);
        // Without an outcome in the extensions, an error status is treated as a failure by the outer layers.
        if outcome != Outcome::Success || head.status.as_u16() >= 400 {
            head.extensions.insert(outcome);
        }
    }

    /// Records the usage of a failed response: no output tokens, and for a client error no prompt tokens
    /// either.
    fn record_failed_status(&mut self, status: StatusCode) {
        match &mut self.attempt {
            Some(attempt) if status.is_client_error() => attempt.mark_unprocessed(),
            Some(attempt) => attempt.start_response(),
            None => {}
        }
    }

    /// Whether the body must be probed before the response counts as a success. A body that is larger than
    /// the part that would be read is not an error body.
    fn needs_probe<B: Body>(&self, head: &Parts, body: &B) -> bool {
        self.is_generation
            && head.status.is_success()
            && self.config.classifier.probe_body(head, &[]) == BodyProbe::Unclear
            && body.size_hint().lower() <= ERROR_BODY_LIMIT as u64
            && !body.is_end_stream()
    }

    /// Completes a successful response that is not a stream.
    fn complete<B: ClassifiableBody>(
        &mut self,
        head: Parts,
        body: WholeBody<B>,
    ) -> Response<ResponseBody<B>> {
        self.record_attempt(&Outcome::Success);
        let usage_scanner = self.attempt.take().and_then(|attempt| {
            let scanner = self.config.classifier.usage_scanner(&head)?;
            Some(UsageScanner::new(scanner, attempt))
        });
        let mut body = self.whole(body);
        if let Some(usage_scanner) = usage_scanner {
            body.meter(usage_scanner);
        }
        Response::from_parts(head, body)
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
        buffered.poll_probe(cx, |bytes| self.config.classifier.probe_body(head, bytes))
    }

    /// Ready once the time of the attempt has elapsed, or the stream that was requested is missing for too long.
    fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        match &mut self.timers {
            Some(timers) => timers.poll_elapsed(&mut self.timer, cx),
            None => self.timer.poll_elapsed(cx),
        }
    }

    /// A response body that is not a stream.
    fn whole<B: ClassifiableBody>(&mut self, body: WholeBody<B>) -> ResponseBody<B> {
        ResponseBody::whole(body, std::mem::take(&mut self.timer).for_body())
    }

    fn record_attempt(&self, outcome: &Outcome) {
        if let Some(trail) = &self.trail {
            trail.attempt(outcome);
        }
    }

    fn fail<T>(&mut self, error: Error) -> Poll<Result<T, Error>> {
        let outcome = Outcome::of_error(&error);
        let is_not_processed =
            outcome.failure().is_some_and(|failure| failure.kind == crate::FailureKind::NotProcessed);
        // A stream has recorded its usage already. A request that an inner layer rejected was never sent.
        if let Some(attempt) = self.attempt.take()
            && (is_not_processed || error.rejection().is_some())
        {
            attempt.withdraw();
        }
        self.record_attempt(&outcome);
        Poll::Ready(Err(error))
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: ClassifiableBody,
    E: Into<BoxError> + 'static,
{
    type Output = Result<Response<ResponseBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let judge = this.judge;
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling(future) => {
                    let Poll::Ready(result) = future.poll(cx) else {
                        let elapsed = ready!(judge.poll_elapsed(cx));
                        return judge.fail(elapsed.into());
                    };
                    let (mut head, body) = match result {
                        Ok(response) => response.into_parts(),
                        Err(error) => return judge.fail(Error::new(error)),
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
                        let stream = Box::new(ScannedBody::new(
                            body,
                            scanner,
                            timers,
                            std::mem::take(&mut judge.timer),
                            judge.attempt.take(),
                        ));
                        this.state.set(State::Holding(Some(Box::new((head, stream)))));
                        continue;
                    } else if judge.needs_probe(&head, &body) {
                        let mut buffered = BufferedBody::new(body);
                        // The first frame may be available already, and nearly always identifies the body.
                        if judge.poll_probe(&head, &mut buffered, cx) == Poll::Ready(BodyProbe::Success) {
                            return Poll::Ready(Ok(
                                judge.complete(head, WholeBody::Buffered(Box::new(buffered)))
                            ));
                        }
                        this.state.set(State::Probing(Some(Box::new((head, buffered)))));
                        continue;
                    } else {
                        return Poll::Ready(Ok(judge.complete(head, WholeBody::untouched(body))));
                    }
                    let body = judge.whole(WholeBody::untouched(body));
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Probing(response) => {
                    let (head, buffered) = &mut **response.as_mut().expect("polled after completion");
                    let Poll::Ready(probe) = judge.poll_probe(head, buffered, cx) else {
                        // If the request is for a stream, its timers run until the response is identified.
                        let elapsed = ready!(judge.poll_elapsed(cx));
                        return judge.fail(elapsed.into());
                    };
                    let response = response.take().expect("checked above");
                    if probe == BodyProbe::Error {
                        this.state.set(State::Reading(Some(response)));
                        continue;
                    }
                    let (head, buffered) = *response;
                    if probe == BodyProbe::Unclear {
                        return judge.fail(buffered.into_error());
                    }
                    return Poll::Ready(Ok(judge.complete(head, WholeBody::Buffered(Box::new(buffered)))));
                }
                StateProj::Reading(response) => {
                    let (_, buffered) = &mut **response.as_mut().expect("polled after completion");
                    if buffered.poll_read_error_body(cx).is_pending() {
                        let elapsed = ready!(judge.timer.poll_elapsed(cx));
                        return judge.fail(elapsed.into());
                    }
                    let (mut head, buffered) = *response.take().expect("just read");
                    judge.classify_failure(&mut head, &buffered.bytes());
                    let body = judge.whole(WholeBody::Buffered(Box::new(buffered)));
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Holding(response) => {
                    let (_, stream) = &mut **response.as_mut().expect("polled after completion");
                    let result = ready!(stream.poll_hold(cx));
                    let (mut head, mut stream) = *response.take().expect("just held");
                    match result {
                        HoldResult::Commit => {
                            judge.record_outcome(&mut head, Outcome::Success);
                            head.extensions.insert(stream.outcome());
                        }
                        HoldResult::Failed(failure) => judge.record_outcome(&mut head, in_band(failure)),
                        HoldResult::Broken(error) => return judge.fail(error),
                    }
                    stream.commit();
                    return Poll::Ready(Ok(Response::from_parts(head, ResponseBody::stream(stream))));
                }
            }
        }
    }
}

/// Marks a failure that arrived in the body of a successful status.
fn in_band(failure: Failure) -> Outcome {
    match failure.kind {
        crate::FailureKind::Response => Failure { kind: crate::FailureKind::InBand, ..failure }.into(),
        _ => failure.into(),
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling(_) => "calling",
            State::Probing(_) => "probing",
            State::Reading(_) => "reading",
            State::Holding(_) => "holding",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
