use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Request, Response};
use pin_project::pin_project;
use tower_service::Service;

use super::Handle;
use super::gate::Queued;
use crate::refusal::refuse;
use crate::{BoxError, HttpService, Outcome, Rejection};

/// Waits for its turn, then for the answer, and tells the gate what the answer says of the limit.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<B>>, B> {
    #[pin]
    state: State<S, S::Future, B>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    Queued {
        queued: Queued,
        ready: S,
        request: Option<Request<B>>,
        handle: Handle,
    },
    Calling {
        #[pin]
        future: F,
        /// When the request was spent.
        spent: Option<Instant>,
        handle: Handle,
    },
    Refused(Option<Rejection>),
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(super) fn calling(future: S::Future, spent: Option<Instant>, handle: Handle) -> Self {
        Self { state: State::Calling { future, spent, handle } }
    }

    pub(super) fn queued(queued: Queued, ready: S, request: Request<B>, handle: Handle) -> Self {
        Self { state: State::Queued { queued, ready, request: Some(request), handle } }
    }

    pub(super) fn refused(rejection: Rejection) -> Self {
        Self { state: State::Refused(Some(rejection)) }
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: HttpService<B>,
{
    type Output = Result<Response<S::Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                // Its turn came: call the instance that was made ready.
                StateProj::Queued { queued, ready, request, handle } => {
                    let entered = ready!(queued.as_mut().poll(cx));
                    let request = request.take().expect("polled after completion");
                    match entered {
                        Ok(spent) => {
                            let handle = handle.clone();
                            let future = ready.call(request);
                            state.set(State::Calling { future, spent: Some(spent), handle });
                        }
                        Err(rejection) => {
                            let rejection = refuse(rejection, handle.0.target(), request.extensions());
                            return Poll::Ready(Err(rejection.into()));
                        }
                    }
                }
                // The head is here: it may say when to come back.
                StateProj::Calling { future, spent, handle } => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    match &result {
                        Ok(response) => handle.learn(&Outcome::of(response)),
                        // A gate below refused, so the request was never sent.
                        Err(error) if Rejection::find(&**error).is_some() => {
                            if let Some(spent) = *spent {
                                handle.refund(spent);
                            }
                        }
                        Err(error) => handle.learn(&Outcome::of_error(&**error)),
                    }
                    return Poll::Ready(result);
                }
                StateProj::Refused(rejection) => {
                    return Poll::Ready(Err(rejection.take().expect("polled after completion").into()));
                }
            }
        }
    }
}
