use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::response_judge::{ResponseJudge, Stage};
use super::{ClassifiableBody, ResponseBody};
use crate::{BoxError, Error};

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
    /// Waiting for the body.
    Judging(Option<Stage<B>>),
}

impl<F, B: Body> ResponseFuture<F, B> {
    pub(super) fn new(future: F, judge: ResponseJudge) -> Self {
        Self { state: State::Calling(future), judge }
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
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Calling(future) => match future.poll(cx) {
                    Poll::Ready(Ok(response)) => this.judge.on_response(response, cx),
                    Poll::Ready(Err(error)) => this.judge.fail(Error::new(error)),
                    Poll::Pending => ready!(this.judge.poll_out_of_time(cx)),
                },
                StateProj::Judging(stage) => ready!(this.judge.poll_stage(stage, cx)),
            };
            match next {
                ControlFlow::Break(result) => return Poll::Ready(result),
                ControlFlow::Continue(stage) => this.state.set(State::Judging(Some(stage))),
            }
        }
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling(_) => "calling",
            State::Judging(stage) => stage.as_ref().map_or("complete", Stage::name),
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
