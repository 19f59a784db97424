use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::{CallGuard, ResponseBody};
use crate::guarded_body::poll_guarded;
use crate::{BoxError, Outcome, Rejection};

/// Waits for the response, and records its outcome in the circuit.
#[pin_project]
pub struct ResponseFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project(project = StateProj)]
enum State<F> {
    Calling {
        #[pin]
        future: F,
        guard: Option<CallGuard>,
    },
    Rejected(Option<Rejection>),
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn calling(future: F, guard: CallGuard) -> Self {
        Self { state: State::Calling { future, guard: Some(guard) } }
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        Self { state: State::Rejected(Some(rejection)) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Calling { future, guard } => poll_guarded(future, cx, |response| {
                let mut guard = guard.take().expect("polled after completion");
                let outcome = response.map_or_else(|error| Outcome::of_error(&**error), Outcome::of);
                match response {
                    // A successful head is half of a success: the body decides.
                    Ok(response) if outcome == Outcome::Success => {
                        guard.commit(response.extensions().get().cloned());
                        Some(guard)
                    }
                    _ => {
                        guard.settle(&outcome);
                        None
                    }
                }
            }),
            StateProj::Rejected(rejection) => {
                Poll::Ready(Err(rejection.take().expect("polled after completion").into()))
            }
        }
    }
}
