use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::call::Call;
use super::judge::Verdict;
use super::{Ahead, Handle, errors};
use crate::replay::copy;
use crate::{BoxError, HttpService, Outcome, Payload, Rejection};
use tidegate_core::Collect;

/// Asks, judges what came back, waits, and asks again.
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Payload>>, B> {
    #[pin]
    state: State<S::Future, B>,
    /// Takes the next attempt; there is none if no attempt can follow.
    service: Option<S>,
    /// The request of the next attempt, if there can be one.
    next: Option<Request<Payload>>,
    call: Call,
}

#[pin_project(project = StateProj)]
enum State<F, B> {
    /// The body is read, so that it can be sent again.
    Collecting { head: Option<http::request::Parts>, body: Collect<B> },
    /// An attempt is under way.
    Calling(#[pin] F),
    /// The back-off.
    Waiting(#[pin] Sleep),
    /// The service is asked whether it can take another attempt.
    Readying,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<Payload>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// The body is here: `ready` is called at once, and copied only if another attempt can follow.
    pub(super) fn calling(
        ready: &mut S,
        mut request: Request<Payload>,
        handle: Handle,
        ahead: Ahead,
    ) -> Self {
        let mut call = Call::new(request.extensions_mut(), handle, ahead);
        let next = begin(&mut call, &mut request);
        let service = next.is_some().then(|| ready.clone());
        Self { state: State::Calling(ready.call(request)), service, next, call }
    }

    /// The body is yet to be read: `ready` is called when that has been done.
    pub(super) fn collecting(ready: S, mut request: Request<B>, handle: Handle, ahead: Ahead) -> Self {
        let call = Call::new(request.extensions_mut(), handle, ahead);
        let (head, body) = request.into_parts();
        let body = Payload::collect(body, call.body_cap());
        Self { state: State::Collecting { head: Some(head), body }, service: Some(ready), next: None, call }
    }
}

/// Makes the request ready for the attempt that begins, and a copy for the next one, unless none can follow.
fn begin(call: &mut Call, request: &mut Request<Payload>) -> Option<Request<Payload>> {
    let may_follow = call.begin();
    call.mark(request);
    if may_follow { copy(request) } else { None }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: HttpService<Payload>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<S::Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // The first attempt goes to the instance that the caller made ready.
                StateProj::Collecting { head, body } => {
                    let Poll::Ready(body) = Pin::new(body).poll(cx) else {
                        return Poll::Ready(Err(ready!(this.call.alarm.poll_past(cx)).into()));
                    };
                    let body = body?;
                    let head = head.take().expect("polled after completion");
                    let mut request = Request::from_parts(head, body);
                    *this.next = begin(this.call, &mut request);
                    let service = this.service.as_mut().expect("kept for this attempt");
                    this.state.set(State::Calling(service.call(request)));
                }
                StateProj::Calling(future) => {
                    let mut result = ready!(future.poll(cx)).map_err(Into::into);
                    match &mut result {
                        Ok(_) => this.call.has_reached = true,
                        Err(error) => this.call.qualify(error),
                    }
                    let outcome = outcome_of(&result);
                    let rejection = result.as_ref().err().and_then(|error| Rejection::find(&**error));
                    match this.call.judge(&outcome, rejection, this.next.is_some(), this.next.as_ref()) {
                        Verdict::Return => {
                            if let (Ok(response), Some(trail)) = (&mut result, this.call.trail()) {
                                response.extensions_mut().insert(trail);
                            }
                            return Poll::Ready(result);
                        }
                        Verdict::Again(wait) => {
                            // Now, and not after the wait: it may hold a connection, or a permit.
                            drop(result);
                            this.state.set(State::Waiting(tokio::time::sleep(wait)));
                        }
                    }
                }
                StateProj::Waiting(sleep) => {
                    ready!(sleep.poll(cx));
                    this.state.set(State::Readying);
                }
                StateProj::Readying => {
                    let service = this.service.as_mut().expect("kept for this attempt");
                    let Poll::Ready(ready) = service.poll_ready(cx) else {
                        let mut error = ready!(this.call.alarm.poll_past(cx)).into();
                        this.call.qualify(&mut error);
                        return Poll::Ready(Err(error));
                    };
                    ready.map_err(Into::into)?;
                    let mut request = this.next.take().expect("kept for this attempt");
                    *this.next = begin(this.call, &mut request);
                    this.state.set(State::Calling(service.call(request)));
                }
            }
        }
    }
}

fn outcome_of<B>(result: &Result<Response<B>, BoxError>) -> Outcome {
    match result {
        Ok(response) => Outcome::of(response),
        Err(error) => errors::outcome_of(&**error),
    }
}
