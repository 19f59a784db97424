use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::Response;
use http::response::Parts;
use http_body::Body;
use http_body_util::Either;
use pin_project::pin_project;

use super::{Held, ResponseBody};
use crate::{BoxError, Classify, Outcome, Trail};

/// Waits for the answer, and for the body of a failed one.
#[pin_project]
pub struct ResponseFuture<F, B> {
    #[pin]
    state: State<F, B>,
    judge: Judge,
}

#[pin_project(project = StateProj)]
enum State<F, B> {
    Calling(#[pin] F),
    Reading(Option<(Parts, Held<B>)>),
}

struct Judge {
    classifier: Arc<dyn Classify>,
    trail: Option<Trail>,
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(future: F, classifier: Arc<dyn Classify>, trail: Option<Trail>) -> Self {
        Self { state: State::Calling(future), judge: Judge { classifier, trail } }
    }
}

impl Judge {
    /// Writes down what the attempt came to: a failure where everybody finds it, a success nowhere.
    fn judge(&self, head: &mut Parts, body: &[u8]) {
        let outcome = self.classifier.classify(head, body, SystemTime::now());
        self.tell(&outcome);
        if outcome != Outcome::Success {
            head.extensions.insert(outcome);
        }
    }

    fn tell(&self, outcome: &Outcome) {
        if let Some(trail) = &self.trail {
            trail.attempt(outcome);
        }
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
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling(future) => match ready!(future.poll(cx)).map_err(Into::into) {
                    // A good answer: nothing to read, nothing to write.
                    Ok(response) if response.status().as_u16() < 400 => {
                        this.judge.tell(&Outcome::Success);
                        return Poll::Ready(Ok(response.map(Either::Left)));
                    }
                    Ok(response) => {
                        let (mut head, body) = response.into_parts();
                        if this.judge.classifier.wants_body(&head) {
                            this.state.set(State::Reading(Some((head, Held::new(body)))));
                        } else {
                            this.judge.judge(&mut head, &[]);
                            return Poll::Ready(Ok(Response::from_parts(head, Either::Left(body))));
                        }
                    }
                    Err(error) => {
                        this.judge.tell(&Outcome::of_error(&*error));
                        return Poll::Ready(Err(error));
                    }
                },
                // A failed answer: its body says what it means.
                StateProj::Reading(answer) => {
                    let (_, held) = answer.as_mut().expect("polled after completion");
                    ready!(held.poll_read(cx));
                    let (mut head, held) = answer.take().expect("just read");
                    this.judge.judge(&mut head, &held.text());
                    return Poll::Ready(Ok(Response::from_parts(head, Either::Right(held))));
                }
            }
        }
    }
}
