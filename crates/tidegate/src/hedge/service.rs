use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Handle, HedgeLayer};
use crate::fallback::{self, Fallback};
use crate::{BoxError, Error, FallbackLayer, HttpService, Payload};

/// Sends a request once more when its first token is late; see the [module page](crate::hedge).
///
/// It is a [`Fallback`] with one target.
#[derive(Clone, Debug)]
pub struct Hedge<S> {
    target: Fallback<S>,
    handle: Handle,
}

impl<S> Hedge<S> {
    /// The wrapped service.
    pub const fn get_ref(&self) -> &S {
        self.target.get_ref()
    }

    /// The wrapped service, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        self.target.get_mut()
    }

    /// The wrapped service, without the hedges.
    pub fn into_inner(self) -> S {
        self.target.into_inner()
    }

    send_method!();

    /// The handle of the statistics that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Hedge<S> {
        let of_service = self.for_service();
        let handle = of_service.share();
        Hedge { target: FallbackLayer::new().hedge(of_service).layer(inner), handle }
    }
}

impl<S, B> Service<Request<B>> for Hedge<S>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<fallback::ResponseBody<S::Body>>;
    type Error = Error;
    type Future = fallback::ResponseFuture<S, S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<B>>::poll_ready(&mut self.target, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.target.call(request)
    }
}
