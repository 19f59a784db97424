use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::call::RetryCall;
use super::policy::RetryDecision;
use super::shared::RetryShared;
use crate::body::CollectRequest;
use crate::rejected::record_rejection;
use crate::thread_shard::ByThread;
use crate::{BoxError, Error, HttpService, Payload};

/// Sends an attempt, decides about its result, waits and retries.
#[pin_project]
pub struct ResponseFuture<S, F, B> {
    #[pin]
    state: State<S, F, B>,
    call: Call<S>,
}

enum Call<S> {
    /// A call that is never retried. It is only counted.
    Single(Arc<RetryShared<S>>),
    // Boxed, since it holds the request of the next attempt: every outer layer moves this future.
    Retried(Box<RetryCall<S>>),
}

// Rare states are boxed: an enum is as large as its largest variant, and every outer layer moves it.
#[pin_project(project = StateProj)]
enum State<S, F, B> {
    /// The request body is being buffered, so that it can be sent again.
    Collecting(Box<Collecting<S, B>>),
    /// An attempt is in progress.
    Calling(#[pin] F),
    /// The back-off.
    Waiting(Pin<Box<Sleep>>),
    /// The service for the next attempt is being polled for readiness.
    Readying(Box<S>),
}

/// A request while its body is being buffered.
struct Collecting<S, B> {
    request: CollectRequest<B>,
    /// Takes the first attempt: the instance that the caller made ready.
    ready: S,
}

impl<S, F, B> ResponseFuture<S, F, B>
where
    S: Service<Request<Payload>, Future = F> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// Sends the first attempt of a request with a buffered body. `ready` is called at once, and the request
    /// is cloned only if another attempt may follow.
    #[inline]
    pub(super) fn calling(
        ready: &mut S,
        mut head: Parts,
        body: Payload,
        shared: &ByThread<Arc<RetryShared<S>>>,
    ) -> Self {
        if shared.handle.never_retries(&head.extensions) {
            shared.handle.reserve_for_fallback(&mut head.extensions);
            shared.handle.set_headers(&mut head, 1);
            let request = Request::from_parts(head, body);
            return Self {
                state: State::Calling(ready.call(request)),
                call: Call::Single(shared.of_thread()),
            };
        }
        let mut call = Box::new(RetryCall::new(&mut head.extensions, shared.of_thread()));
        let request = call.prepare(head, body, ready);
        Self { state: State::Calling(ready.call(request)), call: Call::Retried(call) }
    }

    /// Buffers the request body first; `ready` is called when that is complete.
    pub(super) fn collecting(ready: S, mut head: Parts, body: B, shared: Arc<RetryShared<S>>) -> Self {
        let call = Box::new(RetryCall::new(&mut head.extensions, shared));
        let request = CollectRequest::new(head, body, call.body_cap());
        let collecting = Collecting { request, ready };
        Self { state: State::Collecting(Box::new(collecting)), call: Call::Retried(call) }
    }
}

impl<S, F, B> Future for ResponseFuture<S, F, B>
where
    S: HttpService<Payload> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<S::Body>, S::Error>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<S::Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let call = match this.call {
            Call::Retried(call) => call,
            Call::Single(shared) => {
                let StateProj::Calling(future) = this.state.project() else {
                    unreachable!("a call that is never retried has no other state")
                };
                return poll_single(future, shared, cx);
            }
        };
        loop {
            match this.state.as_mut().project() {
                StateProj::Collecting(collecting) => {
                    let Collecting { request, ready } = &mut **collecting;
                    let record = |rejection, extensions: &Extensions| {
                        record_rejection(rejection, call.shared.handle.0.target(), None, extensions)
                    };
                    let (head, body) = ready!(request.poll(cx, record))?.into_parts();
                    let request = call.prepare(head, body, ready);
                    let future = ready.call(request);
                    this.state.set(State::Calling(future));
                }
                StateProj::Calling(future) => {
                    // The result is dropped before the wait, because it may hold a connection or a permit.
                    let mut result = ready!(future.poll(cx)).map_err(Error::new);
                    let decision = match &mut result {
                        Ok(response) => call.on_response(response),
                        Err(error) => call.on_error(error),
                    };
                    let RetryDecision::RetryAfter(wait) = decision else { return Poll::Ready(result) };
                    drop(result);
                    this.state.set(State::Waiting(Box::pin(tokio::time::sleep(wait))));
                }
                StateProj::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    let service = Box::new(call.shared.clone_service());
                    this.state.set(State::Readying(service));
                }
                StateProj::Readying(service) => {
                    // This future may not have been polled for longer than the wait.
                    let ready =
                        match (call.deadline_timer.passed(crate::clock::now()), service.poll_ready(cx)) {
                            (Some(rejection), _) => Err(call.reject_at_deadline(rejection).into()),
                            (None, Poll::Ready(ready)) => ready.map_err(Error::new),
                            (None, Poll::Pending) => {
                                let rejection = ready!(call.deadline_timer.poll_passed(cx));
                                Err(call.reject_at_deadline(rejection).into())
                            }
                        };
                    if let Err(error) = ready {
                        return Poll::Ready(Err(call.fail_readiness(error)));
                    }
                    let (head, body) = call.take_next().into_parts();
                    let request = call.prepare(head, body, service);
                    let future = service.call(request);
                    this.state.set(State::Calling(future));
                }
            }
        }
    }
}

/// Polls the only attempt of a call that is never retried.
#[inline]
fn poll_single<S, F, R, E>(
    attempt: Pin<&mut F>,
    shared: &RetryShared<S>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<R>, Error>>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError> + 'static,
{
    let result = ready!(attempt.poll(cx)).map_err(Error::new);
    let was_sent = result.as_ref().map_or_else(|error| error.rejection().is_none(), |_| true);
    if was_sent && !shared.handle.is_off() {
        shared.handle.record_sent_attempt(true);
    }
    Poll::Ready(result)
}

partial_debug!([S, F, B] ResponseFuture<S, F, B>, "ResponseFuture");
