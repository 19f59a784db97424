use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::GuardedBody;
use super::future::ResponseFuture;
use super::gate::{Admission, BodyGuardOf, TakeReady};
use super::wire::{NoWire, Wire};
use crate::thread_shard::ByThread;
use crate::{Error, HttpService};

/// A service behind a gate and a wire. Every call is one attempt: it starts when the gate admits it, the wire
/// looks at its response, and its guard is released when its response body has ended or is dropped.
#[derive(Clone, Debug)]
pub struct Attempt<S, G, W = NoWire> {
    pub(super) inner: S,
    pub(super) gate: G,
    pub(super) wire: W,
}

impl<S, G> Attempt<S, G> {
    pub(crate) const fn new(inner: S, gate: G) -> Self {
        Self { inner, gate, wire: NoWire }
    }
}

impl<S, G, W> Attempt<S, G, W> {
    pub(crate) const fn with_wire(inner: S, gate: G, wire: W) -> Self {
        Self { inner, gate, wire }
    }

    wrapped_service!(inner, "this layer");

    send_method!();
}

impl<S, H: Clone, W> Attempt<S, ByThread<H>, W> {
    /// The handle of the state that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> H {
        (*self.gate).clone()
    }
}

impl<S, G, W, B> Service<Request<B>> for Attempt<S, G, W>
where
    S: HttpService<B>,
    G: TakeReady<S> + Clone,
    W: Wire<S::Body>,
    B: Body + 'static,
{
    type Response = Response<GuardedBody<W::Body, BodyGuardOf<G>>>;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, S::Body, G, W, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.gate.admit(&mut request) {
            Admission::Admitted(guard) => {
                let judge = self.wire.start(&mut request);
                ResponseFuture::calling(self.inner.call(request), judge, guard)
            }
            Admission::Queued(queued) => {
                let inner = G::take_ready(&mut self.inner, &queued);
                let ready = Self { inner, gate: self.gate.clone(), wire: self.wire.clone() };
                ResponseFuture::queued(queued, ready, request)
            }
            Admission::Rejected(rejection) => {
                ResponseFuture::rejected(self.gate.record_rejection(rejection, &request))
            }
        }
    }
}
