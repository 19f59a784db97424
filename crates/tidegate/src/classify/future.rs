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

use super::body::Plain;
use super::clocks::Silence;
use super::counted::Counted;
use super::service::Rules;
use super::stream::Verdict;
use super::{BufferedBody, ERROR_BODY_LIMIT, ResponseBody, ScannedBody};
use crate::{AttemptUsage, BodyProbe, BoxError, Failure, Outcome, Rejection, Trail, clock};

/// Waits for the answer: the beginning of a good one, the body of a failed one, the first token of a stream.
#[pin_project]
pub struct ResponseFuture<F, B> {
    #[pin]
    state: State<F, B>,
    judge: Judge,
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

pub(super) struct Judge {
    pub(super) rules: Arc<Rules>,
    /// Something was asked of a model, and not how something else fares.
    pub(super) is_question: bool,
    /// The clocks of a stream that was asked for, from the call on.
    pub(super) silence: Option<Box<Silence>>,
    pub(super) trail: Option<Trail>,
    /// Told what is used, if somebody wants to know.
    pub(super) attempt: Option<AttemptUsage>,
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(future: F, judge: Judge) -> Self {
        Self { state: State::Calling(future), judge }
    }
}

impl Judge {
    /// What a failed answer says.
    fn judge(&mut self, head: &mut Parts, body: &[u8]) {
        let mut outcome = self.rules.classifier.classify(head, body, SystemTime::now());
        // The status was given before it was known.
        if head.status.is_success()
            && let Outcome::Failure(failure) = outcome
        {
            self.failed(failure.code.http_status());
            outcome = in_band(failure);
        }
        self.settle(head, outcome);
    }

    /// Writes down what the attempt came to: a failure where everybody finds it.
    fn settle(&self, head: &mut Parts, outcome: Outcome) {
        self.tell(&outcome);
        // A failed status is taken for a failure where nothing else is said.
        if outcome != Outcome::Success || head.status.as_u16() >= 400 {
            head.extensions.insert(outcome);
        }
    }

    /// A failed answer has used no tokens; what was turned down as it is, not even those of the prompt.
    fn failed(&mut self, status: StatusCode) {
        match &mut self.attempt {
            Some(attempt) if status.is_client_error() => attempt.refused(),
            Some(attempt) => attempt.begin(),
            None => {}
        }
    }

    /// Whether an answer has to be looked into before it is believed. An error of more than we would read is none.
    fn doubts<B: Body>(&self, head: &Parts, body: &B) -> bool {
        self.is_question
            && head.status.is_success()
            && self.rules.classifier.opening(head, &[]) == BodyProbe::Unclear
            && body.size_hint().lower() <= ERROR_BODY_LIMIT as u64
            && !body.is_end_stream()
    }

    /// A good answer in one piece.
    fn answered<B>(&mut self, head: Parts, body: Plain<B>) -> Response<ResponseBody<B>> {
        self.tell(&Outcome::Success);
        let counted = self.attempt.take().and_then(|attempt| {
            let scanner = self.rules.classifier.meter(&head)?;
            Some(Counted::new(scanner, attempt))
        });
        let body = match counted {
            Some(counted) => ResponseBody::counted(body, counted),
            None => ResponseBody::plain(body),
        };
        Response::from_parts(head, body)
    }

    fn poll_opening<B>(
        &self,
        head: &Parts,
        held: &mut BufferedBody<B>,
        cx: &mut Context<'_>,
    ) -> Poll<BodyProbe>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        held.poll_opening(cx, |beginning| self.rules.classifier.opening(head, beginning))
    }

    fn tell(&self, outcome: &Outcome) {
        if let Some(trail) = &self.trail {
            trail.attempt(outcome);
        }
    }

    fn broken<T>(&mut self, error: BoxError) -> Poll<Result<T, BoxError>> {
        // What is told by a stream has been told; and what a layer below us refused was never sent.
        if let Some(attempt) = self.attempt.take()
            && Rejection::find(&*error).is_some()
        {
            attempt.withdraw();
        }
        self.tell(&Outcome::of_error(&*error));
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
                        let Some(silence) = &mut judge.silence else { return Poll::Pending };
                        let elapsed = ready!(silence.poll_elapsed(cx));
                        return judge.broken(elapsed.into());
                    };
                    let (mut head, body) = match result {
                        Ok(response) => response.into_parts(),
                        Err(error) => return judge.broken(error.into()),
                    };
                    if head.status.as_u16() >= 400 {
                        judge.failed(head.status);
                        if judge.rules.classifier.wants_body(&head) {
                            this.state.set(State::Reading(Some(Box::new((head, BufferedBody::new(body))))));
                            continue;
                        }
                        judge.judge(&mut head, &[]);
                    } else if let Some(scanner) = judge.rules.classifier.scan(&head) {
                        let silence = judge.silence.take();
                        let now = clock::now();
                        let begun = || Silence::since(now, judge.rules.clocks);
                        let mut silence = silence.map_or_else(begun, |silence| *silence);
                        silence.begin(now);
                        let stream = Box::new(ScannedBody::new(body, scanner, silence, judge.attempt.take()));
                        this.state.set(State::Holding(Some(Box::new((head, stream)))));
                        continue;
                    } else if judge.doubts(&head, &body) {
                        let mut held = BufferedBody::new(body);
                        // Its first piece may be there already, and nearly always says enough.
                        if judge.poll_opening(&head, &mut held, cx) == Poll::Ready(BodyProbe::Answer) {
                            return Poll::Ready(Ok(judge.answered(head, Plain::Buffered(Box::new(held)))));
                        }
                        this.state.set(State::Probing(Some(Box::new((head, held)))));
                        continue;
                    } else {
                        return Poll::Ready(Ok(judge.answered(head, Plain::Untouched(body))));
                    }
                    let body = ResponseBody::plain(Plain::Untouched(body));
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Probing(answer) => {
                    let (head, held) = &mut **answer.as_mut().expect("polled after completion");
                    let Poll::Ready(opening) = judge.poll_opening(head, held, cx) else {
                        // A stream was asked for, and is missed for as long as nothing else has come.
                        let Some(silence) = &mut judge.silence else { return Poll::Pending };
                        let elapsed = ready!(silence.poll_elapsed(cx));
                        return judge.broken(elapsed.into());
                    };
                    let answer = answer.take().expect("just looked at");
                    if opening == BodyProbe::Error {
                        this.state.set(State::Reading(Some(answer)));
                        continue;
                    }
                    let (head, held) = *answer;
                    if opening == BodyProbe::Unclear {
                        return judge.broken(held.into_error());
                    }
                    return Poll::Ready(Ok(judge.answered(head, Plain::Buffered(Box::new(held)))));
                }
                StateProj::Reading(answer) => {
                    let (_, held) = &mut **answer.as_mut().expect("polled after completion");
                    ready!(held.poll_read(cx));
                    let (mut head, held) = *answer.take().expect("just read");
                    judge.judge(&mut head, &held.text());
                    let body = ResponseBody::plain(Plain::Buffered(Box::new(held)));
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Holding(answer) => {
                    let (_, stream) = &mut **answer.as_mut().expect("polled after completion");
                    let verdict = ready!(stream.poll_hold(cx));
                    let (mut head, stream) = *answer.take().expect("just held");
                    match verdict {
                        Verdict::Commit => {
                            judge.settle(&mut head, Outcome::Success);
                            head.extensions.insert(stream.finish());
                        }
                        Verdict::Failed(failure) => judge.settle(&mut head, in_band(failure)),
                        Verdict::Broken(error) => return judge.broken(error),
                    }
                    return Poll::Ready(Ok(Response::from_parts(head, ResponseBody::stream(stream))));
                }
            }
        }
    }
}

/// A failure that came where an answer should have been.
fn in_band(failure: Failure) -> Outcome {
    match failure.cause {
        crate::FailureKind::Answer => Failure { cause: crate::FailureKind::InBand, ..failure }.into(),
        _ => failure.into(),
    }
}
