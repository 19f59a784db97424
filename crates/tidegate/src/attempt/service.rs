use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::GuardedBody;
use super::future::ResponseFuture;
use super::gate::{Admission, BodyGuardOf, TakeReady};
use crate::rejected::record_rejection;
use crate::send::{SendFuture, send};
use crate::{Error, HttpService};

/// A service behind a gate. Every call is one attempt: it starts when the gate admits it, and its guard is released
/// when its response body has ended or is dropped.
#[derive(Clone, Debug)]
pub struct Gated<S, G> {
    inner: S,
    gate: G,
}

impl<S, G> Gated<S, G> {
    pub(crate) const fn new(inner: S, gate: G) -> Self {
        Self { inner, gate }
    }

    /// The wrapped service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service, without the gate.
    pub fn into_inner(self) -> S {
        self.inner
    }

    pub(crate) const fn gate(&self) -> &G {
        &self.gate
    }

    /// Sends one request through a clone of this service, which is made ready first.
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> SendFuture<Self, Request<B>, <Self as Service<Request<B>>>::Future>
    where
        Self: Service<Request<B>> + Clone,
    {
        send(self, request)
    }
}

impl<S, G, B> Service<Request<B>> for Gated<S, G>
where
    S: HttpService<B>,
    G: TakeReady<S> + Clone,
    B: Body + 'static,
{
    type Response = Response<GuardedBody<S::Body, BodyGuardOf<G>>>;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, G, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.gate.admit(&mut request) {
            Admission::Admitted(guard) => ResponseFuture::calling(self.inner.call(request), guard),
            Admission::Queued(queued) => {
                let service = G::take_ready(&mut self.inner, &queued);
                ResponseFuture::queued(self.gate.clone(), queued, service, request)
            }
            Admission::Rejected(rejection) => ResponseFuture::rejected(record_rejection(
                rejection,
                self.gate.target(),
                request.extensions(),
            )),
        }
    }
}
