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

use super::clocks::Silence;
use super::counted::Counted;
use super::service::Rules;
use super::stream::Verdict;
use super::{Held, Judged, ResponseBody};
use crate::{Attempt, BoxError, Failure, Outcome, Rejection, Trail, clock};

/// Waits for the answer: the head of a good one, the body of a failed one, the first token of a stream.
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
    /// The answer is a failed one, and its body says what it means. Boxed, like what follows: a good answer that is no
    /// stream has no need of the room.
    Reading(Option<Box<(Parts, Held<B>)>>),
    /// The answer is a stream, and is held back until it is known to be one.
    Holding(Option<Box<(Parts, Box<Judged<B>>)>>),
}

pub(super) struct Judge {
    pub(super) rules: Arc<Rules>,
    /// The clocks of a stream that was asked for, from the call on.
    pub(super) silence: Option<Box<Silence>>,
    pub(super) trail: Option<Trail>,
    /// Told what is used, if somebody wants to know.
    pub(super) attempt: Option<Attempt>,
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(future: F, judge: Judge) -> Self {
        Self { state: State::Calling(future), judge }
    }
}

impl Judge {
    /// What a head says; a success says it nowhere.
    fn judge(&self, head: &mut Parts, body: &[u8]) {
        self.settle(head, self.rules.classifier.classify(head, body, SystemTime::now()));
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
                            this.state.set(State::Reading(Some(Box::new((head, Held::new(body))))));
                            continue;
                        }
                        judge.judge(&mut head, &[]);
                    } else if let Some(scanner) = judge.rules.classifier.scan(&head) {
                        let silence = judge.silence.take();
                        let now = clock::now();
                        let begun = || Silence::since(now, judge.rules.clocks);
                        let mut silence = silence.map_or_else(begun, |silence| *silence);
                        silence.begin(now);
                        let stream = Box::new(Judged::new(body, scanner, silence, judge.attempt.take()));
                        this.state.set(State::Holding(Some(Box::new((head, stream)))));
                        continue;
                    } else {
                        judge.tell(&Outcome::Success);
                        if let Some(attempt) = judge.attempt.take()
                            && let Some(scanner) = judge.rules.classifier.meter(&head)
                        {
                            let counted = Counted::new(scanner, attempt);
                            let body = ResponseBody::counted(body, counted);
                            return Poll::Ready(Ok(Response::from_parts(head, body)));
                        }
                    }
                    return Poll::Ready(Ok(Response::from_parts(head, ResponseBody::untouched(body))));
                }
                StateProj::Reading(answer) => {
                    let (_, held) = &mut **answer.as_mut().expect("polled after completion");
                    ready!(held.poll_read(cx));
                    let (mut head, held) = *answer.take().expect("just read");
                    judge.judge(&mut head, &held.text());
                    return Poll::Ready(Ok(Response::from_parts(head, ResponseBody::held(held))));
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

/// A failure that came as an event where an answer should have been.
fn in_band(failure: Failure) -> Outcome {
    match failure.cause {
        crate::Cause::Answer => Failure { cause: crate::Cause::InBand, ..failure }.into(),
        _ => failure.into(),
    }
}
