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

/// Waits for its turn, then for the answer, and tells the gate what the answer says of the limit.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<B>>, B> {
    #[pin]
    state: State<S, S::Future, B>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    Queued(Box<QueuedCall<S, B>>),
    // The future comes first: what the wire has to tell is told before the reservation is settled.
    Calling {
        #[pin]
        future: F,
        reservation: Option<Reservation>,
    },
    Rejected(Option<Rejection>),
}

/// A call that has to wait. Boxed: one allocation for it, and a future of half the size for all the others.
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
        let waiting = QueuedCall { queued, ready, request: Some(request), handle };
        Self { state: State::Queued(Box::new(waiting)) }
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
                // Its turn came: call the instance that was made ready.
                StateProj::Queued(waiting) => {
                    let QueuedCall { queued, ready, request, handle } = &mut **waiting;
                    let reserved = ready!(queued.as_mut().poll(cx));
                    let mut request = request.take().expect("polled after completion");
                    match reserved {
                        Ok(reserved) => {
                            let reservation = Reservation::new(handle.clone(), Some(reserved), &mut request);
                            let future = ready.call(request);
                            state.set(State::Calling { future, reservation: Some(reservation) });
                        }
                        Err(rejection) => {
                            let rejection = record_rejection(rejection, handle.0.target(), request.extensions());
                            return Poll::Ready(Err(rejection.into()));
                        }
                    }
                }
                // The head is here: it may say when to come back, and how much is left.
                StateProj::Calling { future, reservation } => {
                    return poll_guarded(future, cx, |answer| {
                        let reservation_ref = reservation.as_mut().expect("polled after completion");
                        let is_open = match answer {
                            Ok(response) => reservation_ref.on_head(response.headers(), &Outcome::of(response)),
                            Err(error) => reservation_ref.on_error(error),
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
