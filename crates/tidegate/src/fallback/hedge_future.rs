use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use sync_wrapper::SyncWrapper;
use tower_service::Service;

use super::body_source::BodySource;
use super::target::{TargetFuture, TargetService};
use crate::{BoxError, Error, Payload};

/// The attempt of a hedge. `F` is the future of the first target.
pub(super) enum HedgeFuture<F> {
    /// Boxed once per hedge: a call that is not hedged allocates nothing for it.
    First(Pin<Box<F>>),
    Other(TargetFuture),
}

impl<F> HedgeFuture<F> {
    /// Calls a clone of the first target, if it is ready now.
    pub(super) fn at_first<S>(
        mut first: S,
        request: impl FnOnce() -> Option<Request<Payload>>,
        cx: &mut Context<'_>,
    ) -> Option<Self>
    where
        S: Service<Request<Payload>, Future = F>,
    {
        let Poll::Ready(Ok(())) = first.poll_ready(cx) else { return None };
        Some(Self::First(Box::pin(first.call(request()?))))
    }

    /// Calls another target, if it is ready now.
    pub(super) fn at_other(
        mut target: TargetService,
        request: impl FnOnce() -> Option<Request<Payload>>,
        cx: &mut Context<'_>,
    ) -> Option<Self> {
        let Poll::Ready(Ok(())) = target.poll_ready(cx) else { return None };
        Some(Self::Other(SyncWrapper::new(target.call(request()?))))
    }
}

impl<F, R, E> Future for HedgeFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Error: Into<BoxError>>,
    E: Into<BoxError> + 'static,
{
    type Output = Result<Response<BodySource<R>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::First(future) => future
                .as_mut()
                .poll(cx)
                .map_ok(|response| response.map(BodySource::first))
                .map_err(Error::new),
            Self::Other(future) => {
                let polled = future.get_mut().as_mut().poll(cx);
                polled.map_ok(|response| response.map(BodySource::Other))
            }
        }
    }
}
