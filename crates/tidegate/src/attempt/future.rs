use std::future::Future;
use std::mem;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::response::Parts;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::body::GuardedBody;
use super::gate::{AdmissionGate, AttemptGuard, BodyGuardOf, QueuedAttempt, ResponseHead};
use super::service::Attempt;
use super::wire::{StagePoll, Wire};
use crate::rejected::RejectedCall;
use crate::{BoxError, Error, HttpService, Outcome, Rejection};

/// Waits for admission, then for the response.
///
/// The future and the response body of the inner service are parameters of their own, so that this type is
/// complete without a look at the bounds of any service.
#[pin_project(project = ResponseFutureProj)]
pub struct ResponseFuture<S, F, R: Body, G: AdmissionGate, W: Wire<R>, B> {
    // Declared before the attempt: what the inner future holds is free before the guard is released.
    #[pin]
    state: State<S, F, G, W, W::Stage, B>,
    /// Set once the attempt is admitted, until it has a result.
    attempt: Option<Started<W::Judge, G::Guard>>,
}

struct Started<J, G> {
    judge: J,
    guard: G,
}

// Rare states are boxed: every outer layer moves this future.
#[pin_project(project = StateProj)]
enum State<S, F, G: AdmissionGate, W, T, B> {
    Calling(#[pin] F),
    /// The head has arrived, and the wire reads the body.
    Judging(Box<(Parts, Option<T>)>),
    Queued(Box<Queued<S, G, W, B>>),
    Rejected(RejectedCall),
    /// The result was returned.
    Done,
}

/// An attempt that waits, with the service that was made ready for it.
struct Queued<S, G: AdmissionGate, W, B> {
    queued: G::Queued,
    ready: Attempt<S, G, W>,
    request: Option<Request<B>>,
}

impl<S, F, R: Body, G: AdmissionGate, W: Wire<R>, B> ResponseFuture<S, F, R, G, W, B> {
    #[inline]
    pub(super) fn calling(future: F, judge: W::Judge, guard: G::Guard) -> Self {
        Self { state: State::Calling(future), attempt: Some(Started { judge, guard }) }
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        Self { state: State::Rejected(RejectedCall::new(rejection)), attempt: None }
    }

    pub(super) fn queued(queued: G::Queued, ready: Attempt<S, G, W>, request: Request<B>) -> Self {
        let queued = Queued { queued, ready, request: Some(request) };
        Self { state: State::Queued(Box::new(queued)), attempt: None }
    }
}

impl<S, F, R, G, W, B> Future for ResponseFuture<S, F, R, G, W, B>
where
    S: HttpService<B, Body = R> + Service<Request<B>, Future = F>,
    F: Future<Output = Result<Response<R>, <S as Service<Request<B>>>::Error>>,
    R: Body<Error: Into<BoxError>>,
    G: AdmissionGate,
    W: Wire<R>,
    B: Body + 'static,
{
    type Output = Result<Response<GuardedBody<W::Body, BodyGuardOf<G>>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match (this.state.as_mut().project(), this.attempt.as_mut()) {
                (StateProj::Calling(future), Some(Started { judge, .. })) => {
                    let error = match future.poll(cx) {
                        Poll::Ready(Ok(response)) => {
                            let (mut head, body) = response.into_parts();
                            match W::on_response(judge, &mut head, body, cx) {
                                ControlFlow::Break(Ok(body)) => {
                                    let attempt = this.attempt.take().expect("matched above");
                                    return Poll::Ready(Ok(attempt.respond(head, body)));
                                }
                                ControlFlow::Break(Err(error)) => error,
                                ControlFlow::Continue(stage) => {
                                    this.state.set(State::Judging(Box::new((head, Some(stage)))));
                                    continue;
                                }
                            }
                        }
                        Poll::Ready(Err(error)) => {
                            let error = Error::new(error);
                            W::on_error(judge, &error);
                            error
                        }
                        Poll::Pending => ready!(W::poll_overdue(judge, cx)),
                    };
                    return Poll::Ready(Err(this.fail(error)));
                }
                (StateProj::Judging(response), Some(Started { judge, .. })) => {
                    let (head, stage) = &mut **response;
                    let current = stage.take().expect("polled after completion");
                    match W::poll_stage(judge, head, current, cx) {
                        StagePoll::Pending(current) => {
                            *stage = Some(current);
                            return Poll::Pending;
                        }
                        StagePoll::Ready(ControlFlow::Continue(next)) => *stage = Some(next),
                        StagePoll::Ready(ControlFlow::Break(Ok(body))) => {
                            let head = mem::replace(head, Response::new(()).into_parts().0);
                            let attempt = this.attempt.take().expect("matched above");
                            return Poll::Ready(Ok(attempt.respond(head, body)));
                        }
                        StagePoll::Ready(ControlFlow::Break(Err(error))) => {
                            return Poll::Ready(Err(this.fail(error)));
                        }
                    }
                }
                (StateProj::Queued(queued), _) => match ready!(queued.poll_started(cx)) {
                    Ok((future, started)) => {
                        this.state.set(State::Calling(future));
                        *this.attempt = Some(started);
                    }
                    Err(rejection) => {
                        // What other gates have admitted is returned now, not when the caller drops this
                        // future.
                        this.state.set(State::Done);
                        return Poll::Ready(Err(rejection.into()));
                    }
                },
                (StateProj::Rejected(call), _) => return call.poll(cx).map(Err),
                (StateProj::Done, _) | (_, None) => unreachable!("polled after completion"),
            }
        }
    }
}

impl<S, G: AdmissionGate, W, B: Body + 'static> Queued<S, G, W, B> {
    /// Ready with the attempt and its future once it is admitted, or with its rejection.
    #[allow(clippy::type_complexity, reason = "a name would need the same parameters")]
    fn poll_started<R: Body>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(S::Future, Started<W::Judge, G::Guard>), Rejection>>
    where
        S: Service<Request<B>>,
        W: Wire<R>,
    {
        let Self { queued, ready, request } = self;
        let pending = request.as_mut().expect("polled after completion");
        let admitted = ready!(queued.poll_admitted(pending, cx));
        let mut request = request.take().expect("checked above");
        Poll::Ready(match admitted {
            Ok(guard) => {
                let judge = ready.wire.start(&mut request);
                Ok((ready.inner.call(request), Started { judge, guard }))
            }
            Err(rejection) => Err(ready.gate.record_rejection(rejection, &request)),
        })
    }
}

impl<J, G: AttemptGuard> Started<J, G> {
    #[inline]
    fn respond<B: Body>(self, head: Parts, body: B) -> Response<GuardedBody<B, G::Body>> {
        if !G::IS_NEEDED {
            return Response::from_parts(head, GuardedBody::unguarded(body));
        }
        let guard = self.guard.on_head(ResponseHead::of(&head), &Outcome::borrow_head(&head));
        Response::from_parts(head, GuardedBody::new(body, guard))
    }
}

impl<S, F, R: Body, G: AdmissionGate, W: Wire<R>, B> ResponseFutureProj<'_, S, F, R, G, W, B> {
    #[cold]
    fn fail(mut self, error: Error) -> Error {
        // What the inner future still holds is free before the guard is released.
        self.state.set(State::Done);
        if let Some(Started { guard, .. }) = self.attempt.take() {
            guard.on_error(&error, &Outcome::of_error(&error));
        }
        error
    }
}

partial_debug!([S, F, R: Body, G: AdmissionGate, W: Wire<R>, B] ResponseFuture<S, F, R, G, W, B>, "ResponseFuture");
