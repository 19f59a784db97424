use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::body::{GuardedBody, until_end};
use super::gate::{AdmissionGate, AttemptGuard, BodyGuardOf, QueuedAttempt, ResponseHead};
use crate::rejected::record_rejection;
use crate::{BoxError, Error, HttpService, Outcome, Rejection};

/// Waits for admission, then for the response.
///
/// The future of the inner service is a parameter of its own, so that this type is complete without a look at the bounds
/// of any service.
#[pin_project]
pub struct ResponseFuture<S, F, G: AdmissionGate, B> {
    #[pin]
    state: State<S, F, G, B>,
}

#[pin_project(project = StateProj)]
enum State<S, F, G: AdmissionGate, B> {
    // The future is declared before the guard: what it holds is free before the guard is released.
    Calling {
        #[pin]
        future: F,
        guard: Option<G::Guard>,
    },
    Rejected(Option<Rejection>),
    /// The result was returned.
    Done,
    // Rare and large, so boxed: every outer layer moves this future.
    Queued(Box<Queued<S, G, B>>),
}

/// An attempt that waits, with the service that was made ready for it.
struct Queued<S, G: AdmissionGate, B> {
    queued: G::Queued,
    service: S,
    request: Option<Request<B>>,
    gate: G,
}

impl<S, F, G: AdmissionGate, B> ResponseFuture<S, F, G, B> {
    #[inline]
    pub(super) fn calling(future: F, guard: G::Guard) -> Self {
        Self { state: State::Calling { future, guard: Some(guard) } }
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        Self { state: State::Rejected(Some(rejection)) }
    }

    pub(super) fn queued(gate: G, queued: G::Queued, service: S, request: Request<B>) -> Self {
        Self { state: State::Queued(Box::new(Queued { queued, service, request: Some(request), gate })) }
    }
}

impl<S, F, G, B, R> Future for ResponseFuture<S, F, G, B>
where
    S: HttpService<B, Body = R> + Service<Request<B>, Future = F>,
    F: Future<Output = Result<Response<R>, <S as Service<Request<B>>>::Error>>,
    G: AdmissionGate,
    B: Body + 'static,
    R: Body<Error: Into<BoxError>>,
{
    type Output = Result<Response<GuardedBody<R, BodyGuardOf<G>>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Queued(waiting) => {
                    let Queued { queued, service, request, gate } = &mut **waiting;
                    let pending = request.as_mut().expect("polled after completion");
                    let admitted = ready!(queued.poll_admitted(pending, cx));
                    let request = request.take().expect("checked above");
                    match admitted {
                        Ok(guard) => {
                            let future = service.call(request);
                            state.set(State::Calling { future, guard: Some(guard) });
                        }
                        Err(rejection) => {
                            let rejection = record_rejection(rejection, gate.target(), request.extensions());
                            // What other gates have admitted is returned now, not when the caller drops this future.
                            state.set(State::Done);
                            return Poll::Ready(Err(rejection.into()));
                        }
                    }
                }
                StateProj::Calling { future, guard } => {
                    // The response is taken apart once: the compiler copies its three hundred bytes at each step that
                    // gives them another name.
                    return match future.poll(cx) {
                        Poll::Pending => Poll::Pending,
                        Poll::Ready(Ok(response)) => {
                            let guard = guard.take().expect("polled after completion");
                            let guard =
                                guard.on_head(ResponseHead::of(&response), &Outcome::borrow(&response));
                            let guard = until_end(guard, response.body());
                            Poll::Ready(Ok(response.map(|body| GuardedBody::new(body, guard))))
                        }
                        Poll::Ready(Err(error)) => {
                            let (error, guard) =
                                (Error::new(error), guard.take().expect("polled after completion"));
                            // What the inner future still holds is free before the guard is released.
                            state.set(State::Done);
                            guard.on_error(&error, &Outcome::of_error(&error));
                            Poll::Ready(Err(error))
                        }
                    };
                }
                StateProj::Done => unreachable!("polled after completion"),
                StateProj::Rejected(rejection) => {
                    return Poll::Ready(Err(rejection.take().expect("polled after completion").into()));
                }
            }
        }
    }
}

impl<S, F, G: AdmissionGate, B> fmt::Debug for ResponseFuture<S, F, G, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { .. } => "calling",
            State::Rejected(_) => "rejected",
            State::Done => "done",
            State::Queued(_) => "queued",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
