use std::mem;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::queue::{RateDecision, RateQueue};
use super::reservation::Reservation;
use super::{Handle, ResponseBody, ResponseFuture};
use crate::keyed::Keyed;
use crate::rejected::record_rejection;
use crate::{BoxError, HttpService};

/// Limits the rate of requests to a provider; see the [module page](crate::rate_limit).
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    handle: Handle,
    keys: Option<Keyed<Handle>>,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, handle: Handle, keys: Option<Keyed<Handle>>) -> Self {
        Self { inner, handle, keys }
    }

    /// Returns the limit that this service shares with its clones. The limits of keys are separate.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Returns the limit that applies to this request.
    fn handle_for<B>(&self, request: &Request<B>) -> Handle {
        match &self.keys {
            None => self.handle.clone(),
            Some(keys) => keys.of(request, || self.handle.for_key(request)),
        }
    }
}

impl<S, B> Service<Request<B>> for RateLimit<S>
where
    S: HttpService<B> + Clone,
    B: 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S, B> {
        let handle = self.handle_for(&request);
        let cost = handle.cost(&request);
        match RateQueue::admit(&handle, cost, request.extensions()) {
            RateDecision::Admitted(reserved) => {
                let reservation = Reservation::new(handle, reserved, &mut request);
                ResponseFuture::calling(self.inner.call(request), reservation)
            }
            RateDecision::Queued(queued) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::queued(queued, ready, request, handle)
            }
            RateDecision::Rejected(rejection) => {
                ResponseFuture::rejected(record_rejection(rejection, handle.0.target(), request.extensions()))
            }
        }
    }
}
