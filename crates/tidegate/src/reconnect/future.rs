use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use pin_project::pin_project;
use tidegate_core::{NotProcessed, NotProcessedReason, Verdict};
use tower_service::Service;

use super::connections::BusyConnection;
use super::detect::not_processed;
use super::service::ReconnectShared;
use crate::events::Decision;
use crate::{BoxError, Error, HttpService, Payload, Trail};

/// Waits for the response head, of the second request if the first was not processed.
#[pin_project]
pub struct ResponseFuture<S, F> {
    #[pin]
    state: State<S, F>,
    /// Declared after the state: the request is dropped before its connection is judged.
    connection: BusyConnection,
    /// The same request, if it can be sent again and has not been.
    again: Option<Box<Request<Payload>>>,
    shared: Arc<ReconnectShared<S>>,
}

#[pin_project(project = StateProj)]
enum State<S, F> {
    Calling(#[pin] F),
    /// Waiting for the service of the second request. Rare, so boxed.
    Readying(Box<(S, Request<Payload>)>),
}

impl<S, F> ResponseFuture<S, F> {
    pub(super) fn new(
        future: F,
        connection: BusyConnection,
        again: Option<Box<Request<Payload>>>,
        shared: Arc<ReconnectShared<S>>,
    ) -> Self {
        Self { state: State::Calling(future), connection, again, shared }
    }
}

impl<S, F, B, E> Future for ResponseFuture<S, F>
where
    S: HttpService<Payload, Body = B> + Service<Request<Payload>, Future = F, Error = E> + Clone,
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError> + 'static,
{
    type Output = Result<Response<B>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Calling(future) => {
                    let result = ready!(future.poll(cx)).map_err(Error::new);
                    let (reason, request) = match result {
                        Ok(response) => {
                            let is_misdirected = response.status() == StatusCode::MISDIRECTED_REQUEST;
                            if is_misdirected {
                                this.connection.poison();
                            }
                            this.connection.release();
                            this.shared.used.record(response.extensions());
                            let Some(request) = this.again.take().filter(|_| is_misdirected) else {
                                return Poll::Ready(Ok(response));
                            };
                            (NotProcessedReason::Misdirected, request)
                        }
                        Err(error) => {
                            this.connection.release();
                            let Some(reason) = not_processed(&error, &this.shared.used) else {
                                return Poll::Ready(Err(error));
                            };
                            let Some(request) = this.again.take() else {
                                return Poll::Ready(Err(Error::new(NotProcessed::new(reason, error))));
                            };
                            (reason, request)
                        }
                    };
                    record(reason, &request);
                    this.state.set(State::Readying(Box::new((this.shared.fresh.clone(), *request))));
                }
                StateProj::Readying(second) => {
                    let (service, request) = &mut **second;
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(Error::new(error)));
                    }
                    *this.connection = this.shared.capture(request);
                    let future = service.call(std::mem::take(request));
                    this.state.set(State::Calling(future));
                }
            }
        }
    }
}

/// Records that `request` is sent again.
fn record(reason: NotProcessedReason, request: &Request<Payload>) {
    let trail = Trail::of(request.extensions());
    if let Some(trail) = trail {
        trail.push(Verdict::SentAgain(reason));
    }
    let target = trail.and_then(Trail::target);
    Decision::SentAgain(reason).emit(target.as_deref().unwrap_or_default(), None);
}

partial_debug!([S, F] ResponseFuture<S, F>, "ResponseFuture");
