use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use pin_project::pin_project;
use tower_service::Service;

use super::TargetAddress;
use crate::rejected::record_rejection_of;
use crate::{Error, HttpService, Payload};

/// Addresses each request to one target, and sends it through `S`.
#[derive(Clone, Debug)]
pub struct Addressed<S> {
    inner: S,
    address: TargetAddress,
}

impl<S> Addressed<S> {
    /// `inner` for requests to the target at `address`.
    pub fn new(inner: S, address: TargetAddress) -> Self {
        Self { inner, address }
    }

    wrapped_service!(inner, "the address");
}

impl<S: HttpService<Payload>> Service<Request<Payload>> for Addressed<S> {
    type Response = S::Response;
    type Error = Error;
    type Future = AddressedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, mut request: Request<Payload>) -> Self::Future {
        match self.address.address(&mut request) {
            Ok(()) => AddressedFuture(State::Calling(self.inner.call(request))),
            Err(error) => {
                if let Some(rejection) = error.rejection() {
                    record_rejection_of(rejection.clone(), self.address.name(), request.extensions());
                }
                AddressedFuture(State::Rejected(Some(error)))
            }
        }
    }
}

/// Waits for the response of the target.
#[pin_project]
pub struct AddressedFuture<F>(#[pin] State<F>);

#[pin_project(project = StateProj)]
enum State<F> {
    Calling(#[pin] F),
    /// The request cannot be addressed to this target.
    Rejected(Option<Error>),
}

impl<F, T, E> Future for AddressedFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<crate::BoxError> + 'static,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Calling(future) => future.poll(cx).map_err(Error::new),
            StateProj::Rejected(error) => Poll::Ready(Err(error.take().expect("polled after completion"))),
        }
    }
}

partial_debug!([F] AddressedFuture<F>, "AddressedFuture");
