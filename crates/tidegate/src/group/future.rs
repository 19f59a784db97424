use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tidegate_core::Collect;
use tower_service::Service;

use super::ResponseBody;
use super::call::GroupCall;
use super::members::Members;
use crate::deadline_timer::DeadlineTimer;
use crate::{BoxError, Deadline, Error, HttpService, Payload};

/// Waits for the response of a member.
#[pin_project]
pub struct ResponseFuture<S, F, B> {
    #[pin]
    state: State<S, F, B>,
    /// `None` for a group of one. Boxed: one allocation costs less than moving it with the future.
    call: Option<Box<GroupCall<S>>>,
}

#[pin_project(project = StateProj)]
enum State<S, F, B> {
    /// The body of the request is read, so that it can be sent to several members. Boxed: rare and large.
    Collecting(Box<Collecting<S, B>>),
    /// The next member is made ready.
    Readying(S),
    Calling(#[pin] F),
    Done,
}

/// A request while its body is being read.
struct Collecting<S, B> {
    head: Option<http::request::Parts>,
    body: Collect<B>,
    deadline_timer: DeadlineTimer,
    members: Arc<Members<S>>,
}

impl<S, F, B> ResponseFuture<S, F, B> {
    pub(super) const fn of_only_member(future: F) -> Self {
        Self { state: State::Calling(future), call: None }
    }

    pub(super) fn calling(members: Arc<Members<S>>, request: Request<Payload>) -> Self
    where
        S: Clone,
    {
        let (call, service) = GroupCall::start(members, request);
        Self { state: State::Readying(service), call: Some(Box::new(call)) }
    }

    pub(super) fn collecting(members: Arc<Members<S>>, request: Request<B>) -> Self
    where
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let deadline_timer = DeadlineTimer::new(Deadline::of(request.extensions()));
        let (head, body) = request.into_parts();
        let body = Payload::collect(body, Payload::DEFAULT_CAP);
        let collecting = Collecting { head: Some(head), body, deadline_timer, members };
        Self { state: State::Collecting(Box::new(collecting)), call: None }
    }
}

impl<S, F, B> Future for ResponseFuture<S, F, B>
where
    S: HttpService<Payload> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<S::Body>, S::Error>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<S::Body>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let result = match (this.state.as_mut().project(), this.call.as_deref_mut()) {
                (StateProj::Calling(future), None) => {
                    let result = ready!(future.poll(cx)).map_err(Error::new);
                    return Poll::Ready(
                        result.map(|response| response.map(|body| ResponseBody::new(body, None))),
                    );
                }
                (StateProj::Calling(future), Some(_)) => ready!(future.poll(cx)).map_err(Error::new),
                (StateProj::Readying(service), Some(call)) => match ready!(call.poll_ready(service, cx)) {
                    Ok(()) => {
                        let future = service.call(call.take_request());
                        this.state.set(State::Calling(future));
                        continue;
                    }
                    Err(error) => Err(error),
                },
                (StateProj::Collecting(collecting), _) => {
                    let Collecting { head, body, deadline_timer, members } = &mut **collecting;
                    let Poll::Ready(body) = Pin::new(body).poll(cx) else {
                        return deadline_timer.poll_expired(cx).map(|rejection| Err(rejection.into()));
                    };
                    let head = head.take().expect("polled after completion");
                    let request = Request::from_parts(head, body?);
                    let (call, service) = GroupCall::start(Arc::clone(members), request);
                    *this.call = Some(Box::new(call));
                    this.state.set(State::Readying(service));
                    continue;
                }
                (StateProj::Readying(_), None) | (StateProj::Done, _) => {
                    unreachable!("polled after completion")
                }
            };
            let call = this.call.as_deref_mut().expect("a group of one has returned");
            match call.step(result) {
                ControlFlow::Continue(service) => this.state.set(State::Readying(service)),
                ControlFlow::Break(result) => {
                    this.state.set(State::Done);
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl<S, F, B> fmt::Debug for ResponseFuture<S, F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Collecting(_) => "collecting",
            State::Readying(_) => "readying a member",
            State::Calling(_) => "calling",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
