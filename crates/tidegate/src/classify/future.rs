use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use pin_project::pin_project;

use super::ClassifiableBody;
use super::body::WholeBody;
use super::clocks::IdleTimers;
use super::scanned_body::HoldResult;
use super::service::ClassifyConfig;
use super::usage_scanner::UsageScanner;
use super::{BufferedBody, ERROR_BODY_LIMIT, ResponseBody, ScannedBody};
use crate::timeout::AttemptTimer;
use crate::{AttemptUsage, BodyProbe, BoxError, Elapsed, Error, Failure, FailureKind, Outcome, Trail, clock};
use tidegate_core::{AnswerForm, ErrorBody, JsonDepth, StreamState};

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
    /// The answer is in the form that was not requested: it is read to its end and converted.
    Converting(Option<Box<(Parts, BufferedBody<B>, BodyProbe)>>),
    /// The response failed: its body is read to classify it.
    Reading(Option<Box<(Parts, BufferedBody<B>)>>),
    /// The response is a stream, which is held back until the commit point.
    Holding(Option<Box<(Parts, Box<ScannedBody<B>>)>>),
}

/// The longest answer that is converted from one form to the other.
const MAX_CONVERTED: usize = 16 * 1024 * 1024;

/// The next state, or the result of the call.
type NextState<F, B> = ControlFlow<Result<Response<ResponseBody<B>>, Error>, State<F, B>>;

/// What the response to a request has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The answer of a model. A success has to show it.
    Answer(AnswerForm),
    /// Any response to a POST, which may be an error with the status of a success.
    Created,
    /// The state of another object: a GET.
    Read,
    /// A head without its body: the response to a HEAD.
    Head,
}

/// Classifies the response of one attempt, and records its outcome and usage.
pub(super) struct ResponseJudge {
    pub(super) config: Arc<ClassifyConfig>,
    pub(super) expected: Expected,
    /// Whether the connection counts the bytes of the body, so that it reports one that is cut short.
    pub(super) is_counted: bool,
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
        if head.status.is_success() {
            let failure = outcome.failure().cloned().unwrap_or_else(Failure::no_answer);
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
        self.expected == Expected::Created
            && head.status.is_success()
            && self.config.classifier.probe_body(head, &[]) == BodyProbe::Unclear
            && body.size_hint().lower() <= ERROR_BODY_LIMIT as u64
            && !body.is_end_stream()
    }

    /// The form of the answer that the response has to show.
    fn answer_form(&self) -> Option<AnswerForm> {
        match self.expected {
            Expected::Answer(form) => Some(form),
            _ => None,
        }
    }

    /// Reads how the length of the body is known. A `content-length` that is not that of the body is removed:
    /// an answer in chunks would be cut off there.
    fn read_length<B: Body>(&mut self, head: &mut Parts, body: &B) {
        let exact = body.size_hint().exact();
        self.is_counted = exact.is_some();
        let is_of_another_body = self.expected == Expected::Head || head.status == StatusCode::NOT_MODIFIED;
        if let Some(length) = head.headers.get(CONTENT_LENGTH)
            && !is_of_another_body
            && exact
                .is_none_or(|exact| length.to_str().ok().and_then(|text| text.parse().ok()) != Some(exact))
        {
            head.headers.remove(CONTENT_LENGTH);
        }
    }

    /// The head announces a stream: its idle timers run.
    fn start_timers(&mut self) -> &mut IdleTimers {
        let now = clock::now();
        let clocks = self.config.clocks;
        let timers = self.timers.get_or_insert_with(|| Box::new(IdleTimers::since(now, clocks)));
        timers.on_head(now);
        timers
    }

    /// A stream that is held back until its first token.
    fn hold<F, B: ClassifiableBody>(
        &mut self,
        head: Parts,
        body: BufferedBody<B>,
        scanner: Box<dyn tidegate_core::Scan>,
    ) -> State<F, B> {
        self.start_timers();
        let timers =
            self.timers.take().map_or_else(|| IdleTimers::since(clock::now(), self.config.clocks), |it| *it);
        let timer = std::mem::take(&mut self.timer);
        let stream = Box::new(ScannedBody::new(body, scanner, timers, timer, self.attempt.take()));
        State::Holding(Some(Box::new((head, stream))))
    }

    /// The next state once the body is identified, or the response if it is a success.
    fn on_probe<F, B: ClassifiableBody>(
        &mut self,
        mut head: Parts,
        mut body: BufferedBody<B>,
        probe: BodyProbe,
    ) -> NextState<F, B> {
        let form = self.answer_form();
        let classifier = Arc::clone(&self.config.classifier);
        let probe = match probe {
            BodyProbe::Unclear if body.broke_off() => {
                return ControlFlow::Break(Err(self.failed(body.into_error())));
            }
            BodyProbe::Unclear
                if form.is_some() && body.has_ended() && !classifier.is_answer(&body.bytes()) =>
            {
                BodyProbe::Error
            }
            BodyProbe::Unclear => BodyProbe::Success,
            identified => identified,
        };
        match (probe, form) {
            (BodyProbe::Error, _) => {
                return ControlFlow::Continue(State::Reading(Some(Box::new((head, body)))));
            }
            (BodyProbe::Success, Some(AnswerForm::Events))
            | (BodyProbe::Events, Some(AnswerForm::Document)) => {
                body.extend_to(MAX_CONVERTED);
                return ControlFlow::Continue(State::Converting(Some(Box::new((head, body, probe)))));
            }
            (BodyProbe::Events, _) => {
                if let Some(scanner) = classifier.scan_answer(&mut head, &body.bytes()) {
                    return ControlFlow::Continue(self.hold(head, body, scanner));
                }
            }
            _ if form.is_some() => label_json(&mut head),
            _ => {}
        }
        let mut response = self.complete(head, WholeBody::Buffered(Box::new(body)));
        if !self.is_counted {
            response.body_mut().expect_closed();
        }
        ControlFlow::Break(Ok(response))
    }

    /// An answer in the form that was requested, from a complete one in the other form.
    fn convert<B: ClassifiableBody>(
        &mut self,
        mut head: Parts,
        body: BufferedBody<B>,
        probe: BodyProbe,
    ) -> Result<Response<ResponseBody<B>>, Error> {
        if body.broke_off() {
            return Err(body.into_error());
        }
        if !body.is_whole() {
            return Err(Failure::no_answer().into());
        }
        let classifier = &self.config.classifier;
        let bytes = body.bytes();
        let converted = if probe == BodyProbe::Events {
            let mut scanner = classifier.scan_answer(&mut head, &bytes).ok_or_else(Failure::no_answer)?;
            scanner.push(&bytes);
            scanner.finish();
            match scanner.state() {
                StreamState { failure: Some(failure), .. } => {
                    return Err(in_band_failure(failure.clone()).into());
                }
                StreamState { has_finished: false, .. } => return Err(body.into_error()),
                _ => classifier.events_to_document(&bytes),
            }
        } else {
            classifier.document_to_events(&bytes)
        };
        let converted = converted.ok_or_else(Failure::no_answer)?;
        if probe == BodyProbe::Events {
            head.headers.remove(CONTENT_TYPE);
            label_json(&mut head);
        } else {
            // The usage is read from the document, while the head is still that of one.
            label_json(&mut head);
            if let Some(attempt) = self.attempt.take()
                && let Some(scanner) = classifier.usage_scanner(&head)
            {
                UsageScanner::new(scanner, attempt)
                    .on_frame(Some(&Ok(Frame::data(Bytes::copy_from_slice(&bytes)))), true);
            }
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        }
        remove_body_headers(&mut head);
        Ok(self.complete(head, WholeBody::Own(converted)))
    }

    /// The body of a failed response. One that is cut short is replaced by an error body of our own, so that
    /// the caller gets the status and the code, and not a broken connection.
    fn error_body<B: ClassifiableBody>(
        &mut self,
        head: &mut Parts,
        body: BufferedBody<B>,
    ) -> ResponseBody<B> {
        let is_open =
            |bytes: &[u8]| matches!(bytes.first(), Some(b'{' | b'[')) && JsonDepth::of(bytes).is_open();
        let is_cut = !self.is_counted && body.has_ended() && is_open(body.bytes().trim_ascii_start());
        if !body.broke_off() && !is_cut {
            return self.whole(WholeBody::Buffered(Box::new(body)));
        }
        let error = match head.extensions.get::<Outcome>().and_then(Outcome::failure) {
            Some(failure) => ErrorBody::of_error(failure),
            None => ErrorBody::of_error(&body.into_error()),
        };
        remove_body_headers(head);
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.whole(WholeBody::Own(error.to_json().into()))
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
        let classifier = &self.config.classifier;
        buffered.poll_probe(cx, |bytes| match self.answer_form() {
            Some(form) => classifier.probe_answer(head, form, bytes),
            None => classifier.probe_body(head, bytes),
        })
    }

    /// Probes a body of which nothing was read. The first frame may be available already, and nearly always
    /// identifies the body.
    fn poll_identified<F, B: ClassifiableBody>(
        &mut self,
        head: Parts,
        mut body: BufferedBody<B>,
        cx: &mut Context<'_>,
    ) -> NextState<F, B> {
        match self.poll_probe(&head, &mut body, cx) {
            Poll::Ready(probe) => self.on_probe(head, body, probe),
            Poll::Pending => ControlFlow::Continue(State::Probing(Some(Box::new((head, body))))),
        }
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
        Poll::Ready(Err(self.failed(error)))
    }

    /// Records an attempt that ended in `error`.
    fn failed(&mut self, error: Error) -> Error {
        let outcome = Outcome::of_error(&error);
        let is_not_processed =
            outcome.failure().is_some_and(|failure| failure.kind == FailureKind::NotProcessed);
        // A stream has recorded its usage already. A request that an inner layer rejected was never sent.
        if let Some(attempt) = self.attempt.take()
            && (is_not_processed || error.rejection().is_some())
        {
            attempt.withdraw();
        }
        self.record_attempt(&outcome);
        error
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
                    // A provider that changes the protocol of the connection does not answer.
                    if head.status.is_informational() {
                        return judge.fail(Failure::no_answer().into());
                    }
                    judge.read_length(&mut head, &body);
                    if head.status.as_u16() >= 400 {
                        judge.record_failed_status(head.status);
                        if judge.config.classifier.needs_body(&head) {
                            this.state.set(State::Reading(Some(Box::new((head, BufferedBody::new(body))))));
                            continue;
                        }
                        judge.classify_failure(&mut head, &[]);
                    } else if let Some(form) = judge.answer_form() {
                        if !head.status.is_success() {
                            judge.record_outcome(&mut head, Failure::no_answer().into());
                            let body = judge.whole(WholeBody::untouched(body));
                            return Poll::Ready(Ok(Response::from_parts(head, body)));
                        }
                        match judge.config.classifier.probe_answer(&head, form, &[]) {
                            BodyProbe::Success => {
                                return Poll::Ready(Ok(judge.complete(head, WholeBody::untouched(body))));
                            }
                            BodyProbe::Events => _ = judge.start_timers(),
                            BodyProbe::Unclear | BodyProbe::Error => {}
                        }
                        match judge.poll_identified(head, BufferedBody::new(body), cx) {
                            ControlFlow::Break(result) => return Poll::Ready(result),
                            ControlFlow::Continue(next) => this.state.set(next),
                        }
                        continue;
                    } else if let Some(scanner) = judge.config.classifier.scan(&head) {
                        let next = judge.hold(head, BufferedBody::new(body), scanner);
                        this.state.set(next);
                        continue;
                    } else if judge.needs_probe(&head, &body) {
                        match judge.poll_identified(head, BufferedBody::new(body), cx) {
                            ControlFlow::Break(result) => return Poll::Ready(result),
                            ControlFlow::Continue(next) => this.state.set(next),
                        }
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
                    let (head, buffered) = *response.take().expect("checked above");
                    match judge.on_probe(head, buffered, probe) {
                        ControlFlow::Break(result) => return Poll::Ready(result),
                        ControlFlow::Continue(next) => this.state.set(next),
                    }
                }
                StateProj::Converting(response) => {
                    let (_, buffered, _) = &mut **response.as_mut().expect("polled after completion");
                    if buffered.poll_read(cx).is_pending() {
                        let elapsed = ready!(judge.poll_elapsed(cx));
                        return judge.fail(elapsed.into());
                    }
                    let (head, buffered, probe) = *response.take().expect("just read");
                    return match judge.convert(head, buffered, probe) {
                        Ok(response) => Poll::Ready(Ok(response)),
                        Err(error) => judge.fail(error),
                    };
                }
                StateProj::Reading(response) => {
                    let (_, buffered) = &mut **response.as_mut().expect("polled after completion");
                    if buffered.poll_read_error_body(cx).is_pending() {
                        let elapsed = ready!(judge.timer.poll_elapsed(cx));
                        return judge.fail(elapsed.into());
                    }
                    let (mut head, buffered) = *response.take().expect("just read");
                    judge.classify_failure(&mut head, &buffered.bytes());
                    let body = judge.error_body(&mut head, buffered);
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
    in_band_failure(failure).into()
}

fn in_band_failure(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Response => Failure { kind: FailureKind::InBand, ..failure },
        _ => failure,
    }
}

/// Labels a body that is JSON as such.
fn label_json(head: &mut Parts) {
    let is_json = |media: &HeaderValue| media.to_str().is_ok_and(|media| media.contains("json"));
    if !head.headers.get(CONTENT_TYPE).is_some_and(is_json) {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// Removes the headers that describe a body which is replaced.
fn remove_body_headers(head: &mut Parts) {
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG] {
        head.headers.remove(name);
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling(_) => "calling",
            State::Probing(_) => "probing",
            State::Converting(_) => "converting",
            State::Reading(_) => "reading",
            State::Holding(_) => "holding",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
