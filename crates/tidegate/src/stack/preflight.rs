use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::Signals;
use crate::rejected::record_rejection;
use crate::{BoxError, HttpService, Rejection, Trail};

/// Rejects a call before it queues, if one of the gates below is certain to reject it.
#[derive(Clone, Debug)]
pub struct Preflight<S> {
    inner: S,
    signals: Signals,
}

#[derive(Clone, Debug)]
pub(super) struct PreflightLayer {
    signals: Signals,
}

impl PreflightLayer {
    pub(super) fn new(signals: Signals) -> Self {
        Self { signals }
    }

    pub(super) fn signals(&self) -> Signals {
        self.signals.clone()
    }
}

impl<S> Layer<S> for PreflightLayer {
    type Service = Preflight<S>;

    fn layer(&self, inner: S) -> Preflight<S> {
        Preflight { inner, signals: self.signals() }
    }
}

impl<S, B> Service<Request<B>> for Preflight<S>
where
    S: HttpService<B>,
{
    type Response = Response<S::Body>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> ResponseFuture<S::Future> {
        if let Some(trail) = Trail::of(request.extensions()) {
            trail.enter(self.signals.target());
        }
        match self.signals.rejection_before_queue(&request) {
            None => ResponseFuture::Calling(self.inner.call(request)),
            Some(rejection) => ResponseFuture::Rejected(Some(record_rejection(
                rejection,
                self.signals.target(),
                request.extensions(),
            ))),
        }
    }
}

/// The future of the response, or of a rejection.
#[pin_project(project = ResponseFutureProj)]
pub enum ResponseFuture<F> {
    /// The inner service was called.
    Calling(#[pin] F),
    /// A gate would have rejected the call.
    Rejected(Option<Rejection>),
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseFutureProj::Calling(future) => future.poll(cx).map_err(Into::into),
            ResponseFutureProj::Rejected(rejection) => {
                Poll::Ready(Err(rejection.take().expect("polled after completion").into()))
            }
        }
    }
}
