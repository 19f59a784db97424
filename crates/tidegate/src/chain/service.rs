use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use pin_project::pin_project;
use tower_service::Service;

use super::{Addressed, AddressedFuture, NamedTarget};
use crate::fallback::{self, Fallback};
use crate::group::{self, Group};
use crate::rejected::{RejectedCall, record_rejection};
use crate::stack::{self, CallLimits};
use crate::{BoxError, Error, HttpService, Payload, Resilience, Signals, translate};

/// A chain of targets by name around the client `C`; see the [module page](mod@crate::chain).
///
/// `Clone`, `Send` and `Sync` if `C` is; clones share their state.
#[derive(Clone, Debug)]
pub struct Chain<C> {
    fallback: Fallback<Group<NamedTarget<Resilience<C>>>>,
    call_limits: CallLimits,
    signals: Vec<Signals>,
    groups: Vec<group::Handle>,
}

// Written out like those of the stack, so that they are complete without a look at the bounds of any service.
type NamedTargetFuture<C, F, R> = translate::ResponseFuture<
    Addressed<Resilience<C>>,
    AddressedFuture<stack::ResponseFuture<C, F, R, Payload>>,
    stack::ResponseBody<R>,
    Payload,
>;
type ClientGroupFuture<C, F, R> =
    group::ResponseFuture<NamedTarget<Resilience<C>>, NamedTargetFuture<C, F, R>, Payload>;
type CallFuture<C, F, R, B> =
    fallback::ResponseFuture<Group<NamedTarget<Resilience<C>>>, ClientGroupFuture<C, F, R>, B>;
type CallBody<R> =
    fallback::ResponseBody<group::ResponseBody<translate::ResponseBody<stack::ResponseBody<R>>>>;

/// Waits for the response of the chain. `F` is the future of the client, `R` its response body.
#[pin_project]
pub struct ResponseFuture<C, F, R: Body<Data = Bytes>, B>(#[pin] ResponseState<C, F, R, B>);

#[pin_project(project = ResponseStateProj)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every call is the large one, and a box would cost it an allocation; it is smaller without metrics"
)]
enum ResponseState<C, F, R: Body<Data = Bytes>, B> {
    Calling(#[pin] CallFuture<C, F, R, B>),
    Rejected(RejectedCall),
}

/// The body of a response, in the dialect of the caller. It holds permits, reservations and the admission of
/// the circuit of its target until it ends.
#[pin_project]
pub struct ResponseBody<R: Body<Data = Bytes>>(#[pin] CallBody<R>);

impl<C> Chain<C> {
    pub(super) fn new(
        fallback: Fallback<Group<NamedTarget<Resilience<C>>>>,
        call_limits: CallLimits,
        signals: Vec<Signals>,
        groups: Vec<group::Handle>,
    ) -> Self {
        Self { fallback, call_limits, signals, groups }
    }

    send_method!();

    /// The state of the targets, in their order, and of each member of a group.
    #[must_use]
    pub fn signals(&self) -> &[Signals] {
        &self.signals
    }

    /// The places of the chain, in their order; a target is a group of one member.
    #[must_use]
    pub fn groups(&self) -> &[group::Handle] {
        &self.groups
    }

    /// Resets the [gates](Signals::reset) of each target, and ends the cooldown of each member of a group
    /// that is left out after a failure.
    #[doc(alias = "reset_resilience_state")]
    pub fn reset(&self) {
        for signals in &self.signals {
            signals.reset();
            self.groups.iter().for_each(|group| _ = group.reset(signals.target()));
        }
    }

    /// How often each target was called and succeeded.
    #[must_use]
    pub fn handle(&self) -> fallback::Handle {
        self.fallback.handle()
    }
}

impl<C, B> Service<Request<B>> for Chain<C>
where
    C: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<C::Body>>;
    type Error = Error;
    type Future = ResponseFuture<C, C::Future, C::Body, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<B>>::poll_ready(&mut self.fallback, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.call_limits.apply_to(&mut request) {
            Ok(()) => ResponseFuture(ResponseState::Calling(self.fallback.call(request))),
            Err(rejection) => {
                let target = self.signals.first().map_or("", |signals| signals.target());
                let rejection = record_rejection(rejection, target, None, request.extensions());
                ResponseFuture(ResponseState::Rejected(RejectedCall::new(rejection)))
            }
        }
    }
}

impl<C, F, R, B> Future for ResponseFuture<C, F, R, B>
where
    C: HttpService<Payload, Body = R> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<R>, C::Error>>,
    R: Body<Data = Bytes, Error: Into<BoxError>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            ResponseStateProj::Calling(future) => {
                future.poll(cx).map_ok(|response| response.map(ResponseBody))
            }
            ResponseStateProj::Rejected(call) => call.poll(cx).map(Err),
        }
    }
}

impl<R: Body<Data = Bytes>> ResponseBody<R> {
    /// The body without its type parameter, in a box.
    pub fn boxed(self) -> BoxBody<Bytes, Error>
    where
        R: Send + Sync + 'static,
    {
        BodyExt::boxed(self)
    }
}

impl<R: Body<Data = Bytes>> Body for ResponseBody<R> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.project().0.poll_frame(cx)
    }

    forward_end!(0);
}

partial_debug!([R: Body<Data = Bytes>] ResponseBody<R>, "ResponseBody");
partial_debug!([C, F, R: Body<Data = Bytes>, B] ResponseFuture<C, F, R, B>, "ResponseFuture");
