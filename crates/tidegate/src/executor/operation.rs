//! A function as the innermost service of a stack.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use pin_project::pin_project;
use tower_service::Service;

use crate::sync::unpoisoned;
use crate::{BoxError, Classifier, Failure, Outcome, Payload};

/// The result of the last run.
#[derive(Debug)]
pub(super) struct LastResult<T>(Mutex<Option<Result<T, BoxError>>>);

/// A function that is called for each request.
#[derive(Debug)]
pub(super) struct Operation<'a, O, C, T> {
    operation: &'a O,
    classify: &'a C,
    last: &'a LastResult<T>,
}

/// Runs the function once, and keeps its result.
#[pin_project]
pub(super) struct OperationFuture<'a, F, C, T> {
    #[pin]
    future: F,
    classify: &'a C,
    last: &'a LastResult<T>,
}

/// Reads the outcome that an [`Operation`] has put into its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct OperationClassifier;

/// The outcome of a run.
#[derive(Clone, Debug)]
struct RunOutcome(Outcome);

impl<T> LastResult<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn take(&self) -> Option<Result<T, BoxError>> {
        unpoisoned(self.0.lock()).take()
    }

    fn set(&self, result: Result<T, BoxError>) {
        // The earlier result is dropped without the lock.
        let _earlier = unpoisoned(self.0.lock()).replace(result);
    }
}

impl<'a, O, C, T> Operation<'a, O, C, T> {
    pub(super) const fn new(operation: &'a O, classify: &'a C, last: &'a LastResult<T>) -> Self {
        Self { operation, classify, last }
    }
}

impl<O, C, T> Clone for Operation<'_, O, C, T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, O, C, T, F, E> Service<Request<Payload>> for Operation<'a, O, C, T>
where
    O: Fn() -> F,
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
    C: Fn(&Result<T, BoxError>) -> Outcome,
{
    type Response = Response<Empty<Bytes>>;
    type Error = Failure;
    type Future = OperationFuture<'a, F, C, T>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Payload>) -> Self::Future {
        OperationFuture { future: (self.operation)(), classify: self.classify, last: self.last }
    }
}

impl<F, C, T, E> Future for OperationFuture<'_, F, C, T>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
    C: Fn(&Result<T, BoxError>) -> Outcome,
{
    type Output = Result<Response<Empty<Bytes>>, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx)).map_err(Into::into);
        let outcome = (this.classify)(&result);
        this.last.set(result);
        let mut response = Response::new(Empty::new());
        if outcome != Outcome::Success {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response.extensions_mut().insert(RunOutcome(outcome));
        }
        Poll::Ready(Ok(response))
    }
}

impl Classifier for OperationClassifier {
    fn needs_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, head: &Parts, _: &[u8], _: SystemTime) -> Outcome {
        head.extensions.get::<RunOutcome>().map_or(Outcome::Success, |outcome| outcome.0.clone())
    }
}
