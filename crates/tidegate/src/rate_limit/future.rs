use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project::pin_project;
use tower_service::Service;

use super::queue::ReserveFuture;
use super::reservation::Reservation;
use super::{Handle, ResponseBody};
use crate::guarded_body::poll_guarded;
use crate::rejected::record_rejection;
use crate::{BoxError, HttpService, Outcome, Rejection};

/// Waits in the queue and then for the response, and applies the limits that the response reports.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<B>>, B> {
    #[pin]
    state: State<S, S::Future, B>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    Queued(Box<QueuedCall<S, B>>),
    // The future comes first: it is dropped first, so that the wire records its use before the reservation
    // settles.
    Calling {
        #[pin]
        future: F,
        reservation: Option<Reservation>,
    },
    Rejected(Option<Rejection>),
}

/// A call that waits. It is boxed: one allocation for it, and a future of half the size for all other calls.
struct QueuedCall<S, B> {
    queued: ReserveFuture,
    ready: S,
    request: Option<Request<B>>,
    handle: Handle,
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    #[inline]
    pub(super) fn calling(future: S::Future, reservation: Reservation) -> Self {
        Self { state: State::Calling { future, reservation: Some(reservation) } }
    }

    pub(super) fn queued(queued: ReserveFuture, ready: S, request: Request<B>, handle: Handle) -> Self {
        let queued_call = QueuedCall { queued, ready, request: Some(request), handle };
        Self { state: State::Queued(Box::new(queued_call)) }
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        Self { state: State::Rejected(Some(rejection)) }
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: HttpService<B>,
{
    type Output = Result<Response<ResponseBody<S::Body>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                // The call has its reservation: call the instance that was made ready.
                StateProj::Queued(queued_call) => {
                    let QueuedCall { queued, ready, request, handle } = &mut **queued_call;
                    let reserved = ready!(queued.as_mut().poll(cx));
                    let mut request = request.take().expect("polled after completion");
                    match reserved {
                        Ok(reserved) => {
                            let reservation = Reservation::new(handle.clone(), Some(reserved), &mut request);
                            let future = ready.call(request);
                            state.set(State::Calling { future, reservation: Some(reservation) });
                        }
                        Err(rejection) => {
                            let rejection =
                                record_rejection(rejection, handle.0.target(), request.extensions());
                            return Poll::Ready(Err(rejection.into()));
                        }
                    }
                }
                // The response head is here. It may carry a `Retry-After` and the remaining quota.
                StateProj::Calling { future, reservation } => {
                    return poll_guarded(future, cx, |response| {
                        let reserved = reservation.as_mut().expect("polled after completion");
                        let is_open = match response {
                            Ok(response) => reserved.on_head(response.headers(), &Outcome::of(response)),
                            Err(error) => reserved.on_error(error),
                        };
                        let reservation = reservation.take();
                        reservation.filter(|_| is_open).map(Box::new)
                    });
                }
                StateProj::Rejected(rejection) => {
                    return Poll::Ready(Err(rejection.take().expect("polled after completion").into()));
                }
            }
        }
    }
}
