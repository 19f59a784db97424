use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::permit_future::PermitFuture;
use super::{Handle, Permit, ResponseBody};
use crate::guarded_body::poll_guarded;
use crate::rejected::record_rejection;
use crate::{BoxError, HttpService, Outcome, Rejection};

/// Response future of [`Backpressure`](super::Backpressure): waits for a permit, then for the response head.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<B>>, B> {
    #[pin]
    state: State<S, S::Future, B>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    Queued {
        #[pin]
        permit: PermitFuture,
        ready: S,
        request: Option<Request<B>>,
        handle: Handle,
    },
    // The future is the first field, so that its resources are dropped before the permit is released.
    Calling {
        #[pin]
        future: F,
        permit: Option<Permit>,
    },
    Rejected(Option<Rejection>),
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    #[inline]
    pub(super) fn calling(future: S::Future, permit: Permit) -> Self {
        Self { state: State::Calling { future, permit: Some(permit) } }
    }

    pub(super) fn queued(permit: PermitFuture, ready: S, request: Request<B>, handle: Handle) -> Self {
        Self { state: State::Queued { permit, ready, request: Some(request), handle } }
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        Self { state: State::Rejected(Some(rejection)) }
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: HttpService<B>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<S::Body>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                // The permit was granted: call the instance that was made ready.
                StateProj::Queued { permit, ready, request, handle } => {
                    let acquired = ready!(permit.poll(cx));
                    let request = request.take().expect("polled after completion");
                    match acquired {
                        Ok(mut permit) => {
                            permit.begin(handle, request.body());
                            let future = ready.call(request);
                            state.set(State::Calling { future, permit: Some(permit) });
                        }
                        Err(rejection) => {
                            let rejection =
                                record_rejection(rejection, handle.0.target(), request.extensions());
                            return Poll::Ready(Err(rejection.into()));
                        }
                    }
                }
                // At the response head the permit moves into the body.
                StateProj::Calling { future, permit } => {
                    return poll_guarded(future, cx, |response| {
                        let mut permit = permit.take().expect("polled after completion");
                        permit.on_head(|| {
                            response.map_or_else(|error| Outcome::of_error(&**error), Outcome::of)
                        });
                        response.is_ok().then_some(permit)
                    });
                }
                StateProj::Rejected(rejection) => {
                    return Poll::Ready(Err(rejection.take().expect("polled after completion").into()));
                }
            }
        }
    }
}
