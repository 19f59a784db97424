use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::ResponseBody;
use super::call::GroupCall;
use super::members::Members;
use crate::body::CollectRequest;
use crate::rejected::{RejectedCall, record_rejection};
use crate::{BoxError, Error, HttpService, Payload};

/// Waits for the response of a member.
#[pin_project]
pub struct ResponseFuture<S, F, B>(#[pin] GroupFuture<S, F, B>);

#[pin_project(project = GroupFutureProj)]
enum GroupFuture<S, F, B> {
    OnlyMember(#[pin] F),
    Rejected(RejectedCall),
    /// Boxed: one allocation costs less than moving the state of the call with the future.
    Several(Pin<Box<SeveralMembers<S, F, B>>>),
}

/// A call to a group of several members.
#[pin_project]
struct SeveralMembers<S, F, B> {
    #[pin]
    state: State<S, F, B>,
    /// `None` while the body of the request is read.
    call: Option<GroupCall<S>>,
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
    request: CollectRequest<B>,
    members: Arc<Members<S>>,
}

impl<S, F, B> ResponseFuture<S, F, B> {
    #[inline]
    pub(super) const fn of_only_member(future: F) -> Self {
        Self(GroupFuture::OnlyMember(future))
    }

    pub(super) fn calling(members: Arc<Members<S>>, request: Request<Payload>) -> Self
    where
        S: Clone,
    {
        match GroupCall::start(members, request) {
            Ok((call, service)) => Self::of_several(State::Readying(service), Some(call)),
            Err(rejection) => Self(GroupFuture::Rejected(RejectedCall::new(rejection))),
        }
    }

    fn of_several(state: State<S, F, B>, call: Option<GroupCall<S>>) -> Self {
        Self(GroupFuture::Several(Box::pin(SeveralMembers { state, call })))
    }

    pub(super) fn collecting(members: Arc<Members<S>>, request: Request<B>) -> Self
    where
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let (head, body) = request.into_parts();
        let request = CollectRequest::new(head, body, Payload::DEFAULT_CAP);
        let collecting = Collecting { request, members };
        Self::of_several(State::Collecting(Box::new(collecting)), None)
    }
}

impl<S, F, B> Future for ResponseFuture<S, F, B>
where
    S: HttpService<Payload> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<S::Body>, S::Error>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<S::Body>>, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            GroupFutureProj::OnlyMember(future) => future
                .poll(cx)
                .map_ok(|response| response.map(|body| ResponseBody::new(body, None)))
                .map_err(Error::new),
            GroupFutureProj::Rejected(call) => call.poll(cx).map(Err),
            GroupFutureProj::Several(several) => several.as_mut().poll(cx),
        }
    }
}

impl<S, F, B> Future for SeveralMembers<S, F, B>
where
    S: HttpService<Payload> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<S::Body>, S::Error>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<S::Body>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let result = match (this.state.as_mut().project(), this.call.as_mut()) {
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
                    let Collecting { request, members } = &mut **collecting;
                    let record = |rejection, extensions: &Extensions| {
                        record_rejection(rejection, &members.group, None, extensions)
                    };
                    let request = ready!(request.poll(cx, record))?;
                    let (call, service) = GroupCall::start(Arc::clone(members), request)?;
                    *this.call = Some(call);
                    this.state.set(State::Readying(service));
                    continue;
                }
                (_, None) | (StateProj::Done, _) => unreachable!("polled after completion"),
            };
            let call = this.call.as_mut().expect("a member was called");
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

partial_debug!([S, F, B] ResponseFuture<S, F, B>, "ResponseFuture");
